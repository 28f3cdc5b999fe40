"""A proxy in front of the API server that refuses some requests, and carries out some without saying so. Seeded."""

import asyncio
import random
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import yaml
from aiohttp import web

from localcluster.controlplane import ControlPlane

WRITES = ("POST", "PUT", "PATCH", "DELETE")
_HOP = ("host", "content-length", "transfer-encoding", "connection", "authorization")


class Proxy:
    """Plain HTTP towards the operator, the administrator's certificate towards the API server."""

    def __init__(self, plane: ControlPlane, session: aiohttp.ClientSession, seed: int, share: float) -> None:
        self._plane, self._session = plane, session
        self._random, self.share = random.Random(seed), share
        self.injected: Counter[str] = Counter()

    def fault(self, request: web.Request) -> str:
        """What becomes of a request: nothing unusual, an answer without the deed, or the deed without its answer."""
        lease = "/leases/" in request.path
        if lease or "watch" in request.query or self._random.random() >= self.share:
            return ""
        kinds = ["429", "500", *(["lost", "409"] if request.method in WRITES else [])]
        if request.method == "POST":
            kinds.remove("409")  # it would say that the object is there
        return self._random.choice(kinds)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Forward, or not."""
        fault = self.fault(request)
        if fault:
            self.injected[fault] += 1
        if fault in ("409", "429", "500"):
            headers = {"Retry-After": "1"} if fault == "429" else {}
            body = {"kind": "Status", "code": int(fault), "reason": "Injected", "message": "injected"}
            return web.json_response(body, status=int(fault), headers=headers)
        headers = {key: value for key, value in request.headers.items() if key.lower() not in _HOP}
        timeout = aiohttp.ClientTimeout(total=None)
        data = await request.read()
        try:
            async with self._session.request(
                request.method, f"{self._plane.url}{request.path_qs}", data=data, headers=headers, timeout=timeout
            ) as answer:
                if fault == "lost":
                    await answer.read()
                    return web.json_response({"message": "lost"}, status=500)
                passed = {key: value for key, value in answer.headers.items() if key.lower() not in _HOP}
                response = web.StreamResponse(status=answer.status, headers=passed)
                await response.prepare(request)
                async for piece in answer.content.iter_any():
                    await response.write(piece)
                await response.write_eof()
                return response
        except (aiohttp.ClientError, OSError):
            return web.json_response({"message": "no answer"}, status=503)


@asynccontextmanager
async def proxying(plane: ControlPlane, folder: Path, *, seed: int, share: float) -> AsyncIterator[tuple[Proxy, Path]]:
    """A proxy, and the kubeconfig that leads to it."""
    context = ssl.create_default_context(cafile=str(plane.authority.certificate))
    context.load_cert_chain(str(plane.admin.certificate), str(plane.admin.key))
    connector = aiohttp.TCPConnector(ssl=context, limit=0)
    async with aiohttp.ClientSession(connector=connector, trust_env=False, auto_decompress=False) as session:
        proxy = Proxy(plane, session, seed, share)
        application = web.Application(client_max_size=2**24)
        application.router.add_route("*", "/{path:.*}", proxy.handle)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        file = folder / "proxy.kubeconfig"
        file.write_text(yaml.safe_dump(_kubeconfig(f"http://{host}:{port}")))
        try:
            yield proxy, file
        finally:
            await asyncio.wait_for(runner.cleanup(), 10)


def _kubeconfig(server: str) -> dict[str, object]:
    return {
        "apiVersion": "v1", "kind": "Config", "current-context": "proxy",
        "clusters": [{"name": "proxy", "cluster": {"server": server}}],
        "users": [{"name": "proxy", "user": {"token": "the proxy has its own"}}],
        "contexts": [{"name": "proxy", "context": {"cluster": "proxy", "user": "proxy"}}],
    }  # fmt: skip
