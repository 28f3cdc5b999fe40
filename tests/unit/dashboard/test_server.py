"""The dashboard's server over real HTTP on loopback: who may ask, what is answered, and when the source is watched."""

import asyncio
import json
import math
import socket
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from yarl import URL

from bounds import BOUND
from neuron_api.resource.overview import Curve, Curves, JobDetail, JobSummary
from neuron_dashboard import server
from neuron_dashboard.access import Access
from neuron_dashboard.live import LiveUpdates
from neuron_dashboard.source import Snapshot, SourceError

Json = dict[str, Any]


def job(name: str = "tiny", step: int = 1) -> JobSummary:
    return JobSummary(namespace="team", name=name, phase="Running", step=step)


@dataclass
class Jobs:
    """A source whose jobs the test sets."""

    title: str = "namespace team of test"
    can_change: bool = True
    now: list[JobSummary] = field(default_factory=lambda: [job()])
    changes: list[tuple[str, bool]] = field(default_factory=list)
    watches: int = 0
    reads: int = 0
    broken: str = ""
    ended: threading.Event = field(default_factory=threading.Event)
    """Set when a watch has ended."""
    _news: threading.Event = field(default_factory=threading.Event)
    _problem: Exception | None = None

    def show(self, jobs: Sequence[JobSummary]) -> None:
        self.now = list(jobs)
        self._news.set()

    def watch(self, show: Snapshot, stopped: threading.Event) -> None:
        self.watches += 1
        if self.broken:
            message, self.broken = self.broken, ""
            raise SourceError(message)
        while not stopped.is_set():
            self._news.clear()
            show(self.now)
            self._news.wait()
            problem, self._problem = self._problem, None
            if problem is not None:
                raise problem
        self.ended.set()

    def fail(self, problem: Exception) -> None:
        """Let the watch break."""
        self._problem = problem
        self._news.set()

    def interrupt(self) -> None:
        self._news.set()

    def job(self, key: str) -> JobDetail:
        self.reads += 1
        if key != "team/tiny":
            raise SourceError(f"there is no job {key}", 404)
        return JobDetail(**job().model_dump(), explanation="<b>tiny</b> waits for nothing.")

    def curves(self, key: str) -> Curves:
        return Curves(origin="a test", steps=(1, 2), logged=2, curves=(Curve(label="loss", values=(1.0, None)),))

    def log(self, key: str) -> str:
        raise SourceError("you may not get pods/log", 403)

    def set_suspend(self, key: str, *, suspend: bool) -> str:
        self.changes.append((key, suspend))
        return "done"


@dataclass
class Site:
    """A running server, and a browser that has been given the token."""

    source: Jobs
    port: int
    address: str
    client: aiohttp.ClientSession

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def log_in(self) -> None:
        async with self.client.get(self.address) as answer:
            assert answer.status == 200
            assert "token" not in str(answer.url)

    async def status(self, path: str, **headers: str) -> int:
        async with self.client.get(f"{self.base}{path}", headers=headers, allow_redirects=False) as answer:
            return answer.status


@asynccontextmanager
async def running(source: Jobs) -> AsyncIterator[Site]:
    said: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    listener = socket.create_server((server.LOOPBACK, 0))
    task = asyncio.create_task(server.serve(source, listener, opens_browser=False, say=said.set_result))
    address = (await asyncio.wait_for(said, BOUND)).strip()
    jar = aiohttp.CookieJar(unsafe=True)  # Cookies of addresses without a name.
    try:
        async with aiohttp.ClientSession(cookie_jar=jar) as client:
            yield Site(source, listener.getsockname()[1], address, client)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with running(Jobs()) as made:
        await made.log_in()
        yield made


# ---- who may ask -------------------------------------------------------------------------------------------------

PATHS = ("/", "/static/app.js", "/api/about", "/api/job?key=team/tiny", "/api/updates")


@pytest.mark.parametrize("path", PATHS)
async def test_nothing_is_answered_without_the_token(path: str) -> None:
    async with running(Jobs()) as site:
        assert await site.status(path) == 401
        assert await site.status(f"{path}{'&' if '?' in path else '?'}token=wrong") == 401
        assert site.source.reads == site.source.watches == 0


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "localhost.:{port}"]
)
async def test_a_foreign_host_header_is_refused_with_the_token_too(site: Site, path: str, host: str) -> None:
    assert await site.status(path, Host=host.format(port=site.port)) == 403


@pytest.mark.parametrize("host", ["localhost:{port}", "[::1]:{port}", "127.0.0.1:{port}"])
async def test_its_own_names_are_answered(site: Site, host: str) -> None:
    cookies = "; ".join(f"{cookie.key}={cookie.value}" for cookie in site.client.cookie_jar)
    assert await site.status("/api/about", Host=host.format(port=site.port), Cookie=cookies) == 200


@pytest.mark.parametrize("site_header", ["cross-site", "same-site"])
@pytest.mark.parametrize("path", ["/api/job?key=team/tiny", "/api/updates", "/static/app.js"])
async def test_a_request_of_another_page_is_refused(site: Site, path: str, site_header: str) -> None:
    assert await site.status(path, **{"Sec-Fetch-Site": site_header}) == 403
    assert await site.status(path, **{"Sec-Fetch-Site": site_header, "Sec-Fetch-Mode": "navigate"}) == 403
    assert await site.status(path, Origin="http://evil.example") == 403
    assert await site.status(path, Origin="null") == 403
    assert site.source.reads == 0


async def test_a_link_on_another_page_may_open_this_one(site: Site) -> None:
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert await site.status("/", **headers) == 200


async def change(site: Site, *, content: str = '{"key": "team/tiny", "suspend": true}', **headers: str) -> int:
    headers = {"Content-Type": "application/json"} | headers
    async with site.client.post(f"{site.base}/api/suspend", data=content, headers=headers) as answer:
        return answer.status


async def test_a_change_needs_the_origin_of_this_page_and_json(site: Site) -> None:
    assert await change(site) == 403
    assert await change(site, Origin="http://evil.example") == 403
    assert await change(site, Origin=f"https://127.0.0.1:{site.port}") == 403
    assert await change(site, Origin=site.base, **{"Content-Type": "text/plain"}) == 415
    assert site.source.changes == []
    assert await change(site, Origin=site.base) == 200
    assert site.source.changes == [("team/tiny", True)]


@pytest.mark.parametrize(
    "content", ["", "[]", "[" * 9_000, "{}", '{"key": "x", "suspend": "yes"}', "\xff", '{"key": 1}']
)
async def test_a_change_that_is_none_is_refused(site: Site, content: str) -> None:
    assert await change(site, content=content, Origin=site.base) == 400
    assert site.source.changes == []


async def test_a_body_without_an_end_is_refused(site: Site) -> None:
    assert await change(site, content="x" * 20_000, Origin=site.base) == 413


async def test_the_cookie_is_for_this_page_alone_and_every_answer_trusts_nobody() -> None:
    async with running(Jobs()) as site, site.client.get(site.address, allow_redirects=False) as answer:
        assert answer.status == 303
        assert answer.headers["Location"] == "/"
        cookie = answer.headers["Set-Cookie"]
        assert all(part in cookie for part in ("HttpOnly", "SameSite=Strict", "Path=/"))
        await site.log_in()
        for path in (*PATHS[:-1], "/no-such-page"):
            async with site.client.get(f"{site.base}{path}") as page:
                policy = page.headers["Content-Security-Policy"]
                assert "default-src 'none'" in policy
                assert "unsafe" not in policy
                assert "frame-ancestors 'none'" in policy
                assert page.headers["X-Content-Type-Options"] == "nosniff"
                assert page.headers["Cache-Control"] == "no-store"
                assert "Access-Control-Allow-Origin" not in page.headers


def test_each_server_has_a_token_of_its_own() -> None:
    tokens = {Access(1).token for _ in range(10)}
    assert len(tokens) == 10
    assert min(map(len, tokens)) >= 40


async def test_nothing_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    async with running(Jobs()) as site:
        await site.log_in()
        token = site.address.partition("token=")[2]
    assert token not in caplog.text


# ---- what is answered --------------------------------------------------------------------------------------------


async def test_the_page_and_its_parts_are_served_and_nothing_else(site: Site) -> None:
    async with site.client.get(f"{site.base}/") as page:
        text = await page.text()
    assert '<script type="module" src="/static/app.js">' in text
    for part in ("app.js", "style.css", "vendor/preact.js", "vendor/uPlot.esm.js", "vendor/uPlot.min.css", "icon.svg"):
        assert await site.status(f"/static/{part}") == 200
    for part in ("../server.py", "..%2Fserver.py", "vendor/LICENSE.preact", "", "vendor", ".hidden.js", "no.js"):
        assert await site.status(f"/static/{part}") == 404
    assert await site.status("/api/suspend") == 405


async def test_a_job_its_curves_and_what_may_not_be_read(site: Site) -> None:
    async with site.client.get(f"{site.base}/api/job", params={"key": "team/tiny"}) as answer:
        body = await answer.json()
        assert (answer.status, answer.content_type) == (200, "application/json")
        assert body["explanation"] == "<b>tiny</b> waits for nothing."
    async with site.client.get(f"{site.base}/api/curves", params={"key": "team/tiny"}) as answer:
        assert (await answer.json())["curves"][0]["values"] == [1.0, None]
    async with site.client.get(f"{site.base}/api/job", params={"key": "team/other"}) as answer:
        assert (answer.status, await answer.json()) == (404, {"error": "there is no job team/other"})
    async with site.client.get(f"{site.base}/api/log", params={"key": "team/tiny"}) as answer:
        assert (answer.status, await answer.json()) == (403, {"error": "you may not get pods/log"})


# ---- live --------------------------------------------------------------------------------------------------------


async def next_event(stream: aiohttp.ClientResponse) -> Json:
    while True:
        line = await asyncio.wait_for(stream.content.readline(), BOUND)
        if line.startswith(b"data: "):
            update: Json = json.loads(line.removeprefix(b"data: "))
            return update


async def test_a_page_gets_all_jobs_and_then_what_changes(site: Site) -> None:
    async with site.client.get(f"{site.base}/api/updates") as stream:
        assert stream.content_type == "text/event-stream"
        assert [one["name"] for one in (await next_event(stream))["reset"]] == ["tiny"]
        site.source.show([job(step=2), job("other")])
        update = await next_event(stream)
        assert {one["name"]: one["step"] for one in update["changed"]} == {"tiny": 2, "other": 1}
        site.source.show([job("other")])
        assert await next_event(stream) == {"changed": [], "removed": ["team/tiny"]}


async def test_the_source_is_watched_once_for_all_pages_and_not_without_one(site: Site) -> None:
    assert site.source.watches == 0
    async with site.client.get(f"{site.base}/api/updates") as first:
        await next_event(first)
        async with site.client.get(f"{site.base}/api/updates") as second:
            assert (await next_event(second))["reset"]
            assert site.source.watches == 1
            assert not site.source.ended.is_set()
    assert await asyncio.to_thread(site.source.ended.wait, BOUND)
    async with site.client.get(f"{site.base}/api/updates") as again:
        assert (await next_event(again))["reset"]
        assert site.source.watches == 2


async def test_a_source_that_fails_is_named_and_watched_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("neuron_dashboard.live._RETRY", 0.01)
    async with running(Jobs(broken="the API server is away")) as site:
        await site.log_in()
        async with site.client.get(f"{site.base}/api/updates") as stream:
            assert await next_event(stream) == {"problem": "the API server is away; trying again"}
            assert (await next_event(stream))["reset"]


async def test_a_problem_ends_when_the_source_is_back_with_the_same_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("neuron_dashboard.live._RETRY", 0.01)
    source = Jobs()
    updates = LiveUpdates(source)
    async with updates.page() as page:
        first = await asyncio.wait_for(page.get(), BOUND)
        source.fail(SourceError("the API server is away"))
        assert await asyncio.wait_for(page.get(), BOUND) == {"problem": "the API server is away; trying again"}
        assert await asyncio.wait_for(page.get(), BOUND) == first


@pytest.mark.parametrize(
    "problem",
    [
        PermissionError(13, "Permission denied", "/runs/metrics.jsonl"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
        TypeError("'NoneType' object cannot be interpreted as an integer"),
        json.JSONDecodeError("Expecting value", "<html>", 0),
    ],
)
async def test_no_exception_ends_the_watch(
    problem: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("neuron_dashboard.live._RETRY", 0.01)
    source = Jobs()
    updates = LiveUpdates(source)
    async with updates.page() as page:
        first = await asyncio.wait_for(page.get(), BOUND)
        source.fail(problem)
        assert type(problem).__name__ in (await asyncio.wait_for(page.get(), BOUND))["problem"]
        assert await asyncio.wait_for(page.get(), BOUND) == first
    assert problem in [record.exc_info[1] for record in caplog.records if record.exc_info]


async def test_a_watch_that_ends_by_itself_is_not_begun_again_at_once() -> None:
    class Short(Jobs):
        def watch(self, show: Snapshot, stopped: threading.Event) -> None:
            self.watches += 1
            show(self.now)
            if self.watches == 100:
                stopped.set()

    source = Short()
    updates = LiveUpdates(source)
    async with updates.page() as page:
        await asyncio.wait_for(page.get(), BOUND)
    assert source.watches < 3


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
async def test_a_number_that_is_none_is_null_in_the_stream(site: Site, number: float) -> None:
    async with site.client.get(f"{site.base}/api/updates") as stream:
        await next_event(stream)
        site.source.show([job(step=2).model_copy(update={"loss": number})])
        assert (await next_event(stream))["changed"][0].get("loss") is None


@pytest.mark.parametrize("cookie", ["\udcff", "\ud800", "ÿ", "токен", "%FF", ""])
async def test_a_cookie_in_any_encoding_is_refused(site: Site, cookie: str) -> None:
    name = f"neuron-dashboard-{site.port}"
    head = f"GET /api/about HTTP/1.1\r\nHost: 127.0.0.1:{site.port}\r\nConnection: close\r\n"
    head += f"Cookie: {name}={cookie}\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    writer.write(head.encode(errors="surrogatepass" if cookie == "\ud800" else "surrogateescape"))
    answer = await asyncio.wait_for(reader.read(), BOUND)
    writer.close()
    assert answer.startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize("token", ["%FF", "%ED%A0%80", "%C3%BF"])
async def test_a_token_in_any_encoding_is_refused(site: Site, token: str) -> None:
    async with site.client.get(URL(f"{site.base}/?token={token}", encoded=True)) as answer:
        assert answer.status == 401


async def test_changes_at_once_are_one_message() -> None:
    source = Jobs(now=[job(f"job-{number}") for number in range(500)])
    updates = LiveUpdates(source)
    async with updates.page() as page:
        assert len((await asyncio.wait_for(page.get(), BOUND))["reset"]) == 500
        for step in range(2, 50):
            source.show([job(f"job-{number}", step) for number in range(500)])
        messages = [await asyncio.wait_for(page.get(), BOUND)]
        while messages[-1]["changed"][0]["step"] < 49:
            messages.append(await asyncio.wait_for(page.get(), BOUND))
        assert len(messages) < 10
    assert not updates.is_watching


async def test_a_port_that_is_taken_is_an_error_of_the_system() -> None:
    with socket.create_server((server.LOOPBACK, 0)) as taken, pytest.raises(OSError, match="in use"):
        server.run(Jobs(), port=taken.getsockname()[1], opens_browser=False, say=print)
