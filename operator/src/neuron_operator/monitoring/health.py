"""/livez, /readyz and /metrics. Liveness looks at this process only: an API server that is down is no reason to end.

Alive: the event loop turns, and due keys do not wait forever while workers sleep (a hung worker, a deadlock).
Ready: the loop runs and the Lease was taken, or somebody else has it and this one stands by. A status that the API
server refuses does not make it unready: a roll-out, or a disruption budget, would wait for it while the operator
works. /readyz then has a second line, which names the remedy.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_1_0_0

LAG_LIMIT: Final = 30.0
WAIT_LIMIT: Final = 300.0
_BEAT: Final = 1.0


@dataclass(slots=True)
class HealthState:
    """What the probes look at."""

    monotonic: Callable[[], float]
    oldest_wait: Callable[[], float] = lambda: 0.0
    warning: Callable[[], str] = lambda: ""
    """What people should know of a process that is ready; empty: nothing."""
    is_started: bool = False
    _beat: float = 0.0

    async def heartbeat(self) -> None:
        """Show forever that the event loop turns."""
        while True:
            self._beat = self.monotonic()
            await asyncio.sleep(_BEAT)

    def illness(self) -> str:
        """Return why the process should be restarted; empty when it is well."""
        lag = self.monotonic() - self._beat
        if lag > LAG_LIMIT:
            return f"the event loop has not turned for {lag:.0f} s"
        waited = self.oldest_wait()
        if waited > WAIT_LIMIT:
            return f"a job has waited {waited:.0f} s for a worker"
        return ""


def application(vitals: HealthState, registry: CollectorRegistry) -> web.Application:
    """The three paths."""

    async def livez(_: web.Request) -> web.Response:
        illness = vitals.illness()
        return web.Response(text=f"{illness or 'ok'}\n", status=500 if illness else 200)

    async def readyz(_: web.Request) -> web.Response:
        if not vitals.is_started:
            return web.Response(text="the API server has not been reached yet\n", status=503)
        return web.Response(text="\n".join(filter(None, ("ok", vitals.warning()))) + "\n")

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_PLAIN_1_0_0})

    app = web.Application()
    app.add_routes([web.get("/livez", livez), web.get("/readyz", readyz), web.get("/metrics", metrics)])
    return app


@asynccontextmanager
async def serve(vitals: HealthState, registry: CollectorRegistry, host: str | None, port: int) -> AsyncIterator[int]:
    """Listen until the block is left; gives the port (0 asks for any)."""
    runner = web.AppRunner(application(vitals, registry), access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()
