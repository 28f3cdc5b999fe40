"""The web server: a page, its data, and a stream of changes; on loopback, for one person."""

import asyncio
import contextlib
import json
import socket
import webbrowser
from collections.abc import Callable
from importlib.resources import files
from typing import Any, Final

from aiohttp import web

from neuron_api.resource.wire_values import ApiObject

from .access import Access
from .live import LiveUpdates, event
from .source import Source, SourceError

LOOPBACK: Final = "127.0.0.1"
_BEAT: Final = 15.0
"""Seconds between comments in a stream, by which a page that is gone is noticed."""
_TYPES: Final = {".js": "text/javascript", ".css": "text/css", ".html": "text/html", ".svg": "image/svg+xml"}
_MAX_BODY: Final = 10_000
"""Bytes; a change is a key and a word."""


class Dashboard:
    """The handlers of one source."""

    def __init__(self, source: Source, access: Access) -> None:
        self._source, self._access = source, access
        self.updates = LiveUpdates(source)

    def application(self) -> web.Application:
        """Return the application; no other path is answered."""

        @web.middleware
        async def check(request: web.Request, handler: Any) -> web.StreamResponse:
            return await self._access.check(request, handler)

        application = web.Application(middlewares=[check], client_max_size=_MAX_BODY)
        application.on_response_prepare.append(self._access.protect)
        application.router.add_get("/", self._page)
        application.router.add_get("/static/{name:[A-Za-z0-9./-]+}", self._static)
        application.router.add_get("/api/about", self._title)
        application.router.add_get("/api/updates", self._stream)
        for name, read in (("job", self._source.job), ("curves", self._source.curves), ("log", self._read_log)):
            application.router.add_get(f"/api/{name}", self._reader(read))
        application.router.add_post("/api/suspend", self._change)
        return application

    async def _page(self, _: web.Request) -> web.Response:
        return _file("index.html")

    async def _static(self, request: web.Request) -> web.Response:
        return _file(request.match_info["name"])

    async def _title(self, _: web.Request) -> web.Response:
        return web.json_response({"title": self._source.title, "canChange": self._source.can_change})

    def _read_log(self, key: str) -> Any:
        return {"text": self._source.log(key)}

    def _reader(self, read: Callable[[str], Any]) -> Any:
        async def answer(request: web.Request) -> web.Response:
            return await _json(read, request.query.get("key", ""))

        return answer

    async def _change(self, request: web.Request) -> web.Response:
        if request.content_type != "application/json":
            raise web.HTTPUnsupportedMediaType
        try:
            body = json.loads(await request.read())
            key, suspend = str(body["key"]), body["suspend"]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise web.HTTPBadRequest from None
        if not isinstance(suspend, bool):
            raise web.HTTPBadRequest
        return await _json(lambda: {"text": self._source.set_suspend(key, suspend=suspend)})

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        async with self.updates.page() as updates:
            while True:
                try:
                    content = event(await asyncio.wait_for(updates.get(), _BEAT))
                except TimeoutError:
                    content = b":\n\n"
                try:
                    await response.write(content)
                except ConnectionError:
                    return response


async def _json(read: Callable[..., Any], *arguments: Any) -> web.Response:
    """Return what a blocking function gives, or its sentence about why not."""
    try:
        value = await asyncio.to_thread(read, *arguments)
    except SourceError as problem:
        return web.json_response({"error": str(problem)}, status=problem.status)
    if isinstance(value, ApiObject):
        text = value.model_dump_json(by_alias=True, exclude_none=True)
        return web.Response(text=text, content_type="application/json")
    return web.json_response(value)


def _file(name: str) -> web.Response:
    """Return a file of the page; nothing outside its folder has a name here."""
    parts = name.split("/")
    content_type = _TYPES.get(f".{name.rpartition('.')[2]}")
    path = files(__package__).joinpath("static", *parts)
    if content_type is None or not all(parts) or any(part.startswith(".") for part in parts) or not path.is_file():
        raise web.HTTPNotFound
    return web.Response(body=path.read_bytes(), content_type=content_type, charset="utf-8")


def run(source: Source, *, port: int, opens_browser: bool, say: Callable[[str], object]) -> None:
    """Serve until interrupted; `say` gets the address. Raises `OSError` where the port is taken."""
    listener = socket.create_server((LOOPBACK, port))
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(source, listener, opens_browser=opens_browser, say=say))


async def serve(source: Source, listener: socket.socket, *, opens_browser: bool, say: Callable[[str], object]) -> None:
    """Serve on a socket until cancelled. Requests are not logged: addresses have the token in them."""
    access = Access(listener.getsockname()[1])
    dashboard = Dashboard(source, access)
    # handler_cancellation: a page that is closed ends its stream at once, and with the last one the watch.
    runner = web.AppRunner(dashboard.application(), access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    await web.SockSite(runner, listener).start()
    say(f"{access.address}\n")
    if opens_browser:
        await asyncio.to_thread(webbrowser.open, access.address)
    try:
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()
        await dashboard.updates.close()
