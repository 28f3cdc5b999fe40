"""Who may ask: only the browser that was given the token, only by this server's own name, only from its own pages.

Loopback is no wall: every page that is open in the browser can send requests here, and a name that an attacker has
resolve to 127.0.0.1 makes them same-origin. So the Host header must be this server's (DNS rebinding), the token comes
once in the address and lives on in a SameSite=Strict cookie that scripts cannot read, and what changes something needs
this server's Origin.
"""

import hmac
import secrets
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

TOKEN: Final = "token"
_NAVIGATION: Final = ("same-origin", "none")
_LOGIN: Final = (
    "This page belongs to the person who started the dashboard. Open the address that the command has printed; it ends "
    "with a token.\n"
)
_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Access:
    """The token of one server, and the names that it has."""

    def __init__(self, port: int, token: str | None = None) -> None:
        self.port, self.token = port, token or secrets.token_urlsafe(32)
        self._cookie = f"neuron-dashboard-{port}"
        self._hosts = {f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]")}

    @property
    def address(self) -> str:
        """Return what to open in the browser."""
        return f"http://127.0.0.1:{self.port}/?{TOKEN}={self.token}"

    async def check(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer the request, or refuse it."""
        return self._refusal(request) or self._entry(request) or await _answer(request, handler)

    async def protect(self, _: web.Request, response: web.StreamResponse) -> None:
        """Add the headers of a page that trusts nobody, before any answer is sent."""
        response.headers.update(_HEADERS)

    def _refusal(self, request: web.Request) -> web.Response | None:
        if request.headers.get("Host", "") not in self._hosts:
            return _refuse(f"The dashboard is at 127.0.0.1:{self.port} only.\n", 403)
        site = request.headers.get("Sec-Fetch-Site", "none")
        is_entry = request.path == "/" and request.headers.get("Sec-Fetch-Mode") == "navigate"
        if site not in _NAVIGATION and not (is_entry and request.method == "GET"):
            return _refuse("Requests of other pages are refused.\n", 403)
        origin = request.headers.get("Origin")
        if origin is not None and not self._is_own(origin):
            return _refuse("Requests of other pages are refused.\n", 403)
        if request.method not in ("GET", "HEAD") and origin is None:
            return _refuse("A change needs the Origin of this page.\n", 403)
        return None

    def _entry(self, request: web.Request) -> web.Response | None:
        """Take the token out of the address, so that it stays in no history; refuse whoever has none."""
        named = request.query.get(TOKEN)
        if named is not None and self._is_token(named):
            response = web.Response(status=303, headers={"Location": request.path})
            response.set_cookie(self._cookie, self.token, httponly=True, samesite="Strict", path="/")
            return response
        if named is not None or not self._is_token(request.cookies.get(self._cookie, "")):
            return _refuse(_LOGIN, 401)
        return None

    def _is_token(self, text: str) -> bool:
        """Compare bytes: a header may have any, which aiohttp keeps as surrogates."""
        return hmac.compare_digest(text.encode(errors="surrogatepass"), self.token.encode())

    def _is_own(self, origin: str) -> bool:
        return origin.removeprefix("http://") in self._hosts and origin.startswith("http://")


async def _answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as problem:
        return _refuse(f"{problem.reason}\n", problem.status)


def _refuse(text: str, status: int) -> web.Response:
    return web.Response(text=text, status=status)
