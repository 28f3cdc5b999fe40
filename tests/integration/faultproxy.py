"""Between an operator and the real API server: answers of a bad day, lost answers, slow ones, watches that are cut.

    async with FaultProxy.before(plane, tmp_path) as proxy:
        proxy.policy = Storm(seed=7, share=0.2)            # or any function Request -> Action | None
        …start an operator with KUBECONFIG=proxy.kubeconfig…
        proxy.cut_watches()

Plain HTTP on a free port of the loopback interface; towards the server it is the cluster's administrator.
"""

import asyncio
import json
import random
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import aiohttp
import yaml
from aiohttp import web

from controlplane.controlplane import ControlPlane

_HOP_BY_HOP: Final = {"host", "connection", "content-length", "transfer-encoding"}
_REASONS: Final = {409: "Conflict", 429: "TooManyRequests", 500: "InternalError", 503: "ServiceUnavailable"}


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked."""

    verb: str
    path: str
    is_watch: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """The server does not see the request; the client gets this status."""

    status: int
    retry_after: int | None = None


@dataclass(frozen=True, slots=True)
class Drop:
    """The connection is cut: before the server has seen the request, or after it has carried it out."""

    carried_out: bool


@dataclass(frozen=True, slots=True)
class Delay:
    """The request waits so long, then goes on."""

    seconds: float


Action = Answer | Drop | Delay
Policy = Callable[[Request], Action | None]


@dataclass
class Storm:
    """Each request that is no watch goes wrong with a probability, in one of the ways; a seed gives the same draws."""

    seed: int
    share: float
    ways: Sequence[Action] = (
        Answer(409), Answer(429, retry_after=1), Answer(500), Answer(503), Drop(carried_out=False),
        Drop(carried_out=True), Delay(0.2),
    )  # fmt: skip

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def __call__(self, request: Request) -> Action | None:
        if request.is_watch or self._random.random() >= self.share:
            return None
        return self._random.choice(self.ways)


@dataclass
class FaultProxy:
    """See the module. Made by `before`."""

    upstream: str
    session: aiohttp.ClientSession
    tls: ssl.SSLContext
    kubeconfig: Path
    policy: Policy = lambda _: None
    done: list[tuple[Request, Action]] = field(default_factory=list)
    """What went wrong, in order."""
    _watches: dict[int, web.Request] = field(default_factory=dict)
    """By `id`: requests have no hash."""

    @classmethod
    @asynccontextmanager
    async def before(cls, plane: ControlPlane, folder: Path) -> AsyncIterator["FaultProxy"]:
        """Serve in this event loop until the block is left."""
        async with aiohttp.ClientSession(auto_decompress=False, timeout=aiohttp.ClientTimeout(total=None)) as session:
            proxy = cls(plane.url, session, plane.tls, folder / "through-the-proxy.kubeconfig")
            application = web.Application(client_max_size=64 * 1024 * 1024)
            application.router.add_route("*", "/{path:.*}", proxy._handle)
            runner = web.AppRunner(application, access_log=None, shutdown_timeout=1)
            await runner.setup()
            try:
                await web.TCPSite(runner, "127.0.0.1", 0).start()
                proxy.kubeconfig.write_text(_kubeconfig(f"http://127.0.0.1:{runner.addresses[0][1]}"))
                yield proxy
            finally:
                proxy.cut_watches()
                await runner.cleanup()

    def cut_watches(self) -> int:
        """As an API server does to slow watchers, and at its end; how many there were."""
        watches = list(self._watches.values())
        for request in watches:
            _abort(request)
        return len(watches)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        asked = Request(request.method, request.path, request.query.get("watch", "") in ("true", "1"))
        action = self.policy(asked)
        if action is not None:
            self.done.append((asked, action))
        match action:
            case Answer():
                return _status(action)
            case Drop(carried_out=False):
                return _abort(request)
            case Delay():
                await asyncio.sleep(action.seconds)
        return await self._forward(request, asked.is_watch, is_lost=isinstance(action, Drop))

    async def _forward(self, request: web.Request, is_watch: bool, *, is_lost: bool) -> web.StreamResponse:
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP}
        # Without a body no type of one: the server answers 415 to what aiohttp would say.
        url, body = self.upstream + request.raw_path, await request.read() or None
        try:
            async with self.session.request(request.method, url, headers=headers, data=body, ssl=self.tls) as answer:
                if is_lost:
                    await answer.read()
                    return _abort(request)
                kept = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP_BY_HOP}
                response = web.StreamResponse(status=answer.status, headers=kept)
                await response.prepare(request)
                if is_watch:
                    self._watches[id(request)] = request
                async for chunk in answer.content.iter_any():
                    await response.write(chunk)
                await response.write_eof()
                return response
        except (aiohttp.ClientError, ConnectionError):
            return _abort(request)
        finally:
            self._watches.pop(id(request), None)


def _abort(request: web.Request) -> web.Response:
    """No answer at all."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


def _status(answer: Answer) -> web.Response:
    body = {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "code": answer.status,
        "reason": _REASONS.get(answer.status, ""),
        "message": "a fault of the test",
    }
    headers = {} if answer.retry_after is None else {"Retry-After": str(answer.retry_after)}
    return web.Response(status=answer.status, text=json.dumps(body), content_type="application/json", headers=headers)


def _kubeconfig(server: str) -> str:
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "proxy",
            "clusters": [{"name": "proxy", "cluster": {"server": server}}],
            "users": [{"name": "proxy", "user": {}}],
            "contexts": [{"name": "proxy", "context": {"cluster": "proxy", "user": "proxy"}}],
        }
    )
