"""A trainer's pod is the user's: what it answers at `GET /progress` may be anything, at any pace, for ever.

Each case is a real HTTP server that lies. How far this looked: the transport (too much, too slow, endless, cut into
pieces, compressed, redirected, no HTTP at all, headers without end), the document (other JSON, other types, numbers
that no status holds, times at the end of the calendar, text that is too long or commands a terminal), and what one pod
can do to the passes of other jobs. What a report that is well formed and wrong can do is in `test_lying_reports.py`.
"""

import asyncio
import gzip
import json
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

import pytest

from bounds import BOUND
from builders import make_job, make_pod
from neuron_api.resource import progress
from neuron_api.resource.progress import ProcessFailure, Progress, Recovery
from neuron_operator.readers.progress_reader import MAX_BYTES, HttpProgressReader, over_http, url_of

from .liar import Script, endless, raw, reply, serve, silence

JOB: Final = make_job().build()
POD: Final = replace(make_pod(JOB).ready().build(), address="127.0.0.1")
NOW: Final = datetime(2026, 11, 30, tzinfo=UTC)
GOOD: Final = b'{"step": 7}'


@asynccontextmanager
async def reading(port: int, **bounds: float) -> AsyncIterator[HttpProgressReader]:
    async with over_http(port=port, **({"patience": BOUND, "bound": BOUND} | bounds)) as reader:
        yield reader


async def answer_to(script: Script, **bounds: float) -> Progress | None:
    async with serve(script) as liar, reading(liar.port, **bounds) as reader, asyncio.timeout(BOUND):
        return await reader.read(POD)


def told(**values: Any) -> Script:
    return reply(json.dumps(values).encode())


# ---- the transport -----------------------------------------------------------------------------------------------


async def test_a_report_that_comes_in_pieces_is_read_whole() -> None:
    """TCP cuts where it likes: what is there first is not all of it."""
    body = json.dumps({"step": 7, "logDir": "x" * 3_000, "maxSteps": 100}).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    found = await answer_to(raw(head + body[:50], *(body[at : at + 500] for at in range(50, len(body), 500))))
    assert found is not None
    assert (found.step, found.max_steps) == (7, 100)


async def test_the_longest_report_of_an_honest_launcher_is_read() -> None:
    """32 failures and recoveries, every line as long as may be, in letters of three bytes."""
    failure = ProcessFailure(
        time=NOW, round=1, rank=1, local_rank=1, exit_code=1, message="語" * 5_000, lines=("語" * 5_000,) * 9
    )
    recovery = Recovery(round=1, resumed_from_step=1, steps_lost=0, passed_over="語" * 5_000)
    longest = Progress(step=7, failures=(failure,) * 32, recoveries=(recovery,) * 32)
    found = await answer_to(reply(progress.to_json(longest).encode()))
    assert found is not None
    assert len(found.failures) == 32


HUGE: Final = {
    "a body of 64 MB": reply(b" " * 64_000_000 + GOOD),
    "a body one byte too long": reply(b" " * (MAX_BYTES + 1 - len(GOOD)) + GOOD),
    "an endless body": endless(b" " * 65_536),
    "an endless body in chunks": endless(b"10000\r\n" + b" " * 65_536 + b"\r\n", "Transfer-Encoding: chunked"),
    "endless headers": endless(b"X: y\r\n"),
    "an endless header": endless(b"x" * 4_096, "X: y"),
    "an endless size of a chunk": endless(b"0" * 4_096, "Transfer-Encoding: chunked"),
    "endless informational answers": endless(b"HTTP/1.1 103 Early Hints\r\n\r\n"),
    "an endless Set-Cookie": endless(b"Set-Cookie: a=b; \x1b[31m\r\n"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", HUGE)
async def test_no_more_is_read_than_a_report_may_have(name: str) -> None:
    assert await answer_to(HUGE[name], bound=0.9) is None


def bomb() -> bytes:
    return gzip.compress(b" " * 50_000_000 + GOOD)


@pytest.mark.slow
async def test_nothing_is_unpacked() -> None:
    """50 kB that become 50 MB."""
    assert await answer_to(reply(bomb(), "Content-Encoding: gzip")) is None
    assert await answer_to(reply(gzip.compress(GOOD), "Content-Encoding: gzip")) is None
    assert await answer_to(reply(bomb(), "Content-Encoding: deflate")) is None


async def test_no_compression_is_asked_for() -> None:
    async with serve(reply(GOOD)) as liar, reading(liar.port) as reader:
        await reader.read(POD)
        assert "accept-encoding: identity" in liar.requests[0].lower()


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
@pytest.mark.parametrize("where", ["http://127.0.0.1:{port}/x", "/x", "//127.0.0.1:{port}/x"])
async def test_a_redirection_is_not_followed(status: str, where: str) -> None:
    """Else a pod could make the operator ask 169.254.169.254, or a service that lets only the operator in."""
    async with serve(reply(GOOD)) as other:
        assert await answer_to(reply(b"", f"Location: {where.format(port=other.port)}", status=status)) is None
        assert other.requests == []


async def test_a_redirection_with_a_good_body_is_no_report() -> None:
    assert await answer_to(reply(GOOD, "Location: file:///etc/passwd", status="302 Found")) is None


@pytest.mark.parametrize("status", ["201 Created", "204 No Content", "401 Unauthorized", "404 No", "500 No", "999 No"])
async def test_only_200_is_a_report(status: str) -> None:
    assert await answer_to(reply(GOOD, status=status)) is None


async def test_no_credential_is_sent_and_no_cookie_is_kept() -> None:
    async with serve(reply(GOOD, "Set-Cookie: a=b", "Connection: close")) as liar, reading(liar.port) as reader:
        for _ in range(2):
            assert await reader.read(POD) is not None
        assert len(liar.requests) == 2
        for request in liar.requests:
            names = {line.partition(":")[0].lower() for line in request.splitlines()[1:]}
            assert not names & {"authorization", "cookie", "proxy-authorization"}


NO_HTTP: Final = {
    "no HTTP": raw(b"SSH-2.0-OpenSSH_9.9\r\n"),
    "closed at once": raw(),
    "zeros": raw(bytes(1_000)),
    "HTTP/0.9": raw(GOOD),
    "HTTP/2": raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "two lengths": raw(b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\nContent-Length: 5\r\n\r\n" + GOOD),
    "a negative length": raw(b"HTTP/1.1 200 OK\r\nContent-Length: -11\r\n\r\n" + GOOD),
    "a length that is too long": raw(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n" + GOOD),
    "a length of many digits": raw(b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5_000 + b"\r\n\r\n" + GOOD),
    "a wrong size of a chunk": raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n" + GOOD),
    "a status that is no number": raw(b"HTTP/1.1 abc OK\r\n\r\n" + GOOD),
    "a header that is no text": raw(b"HTTP/1.1 200 \xff\xfe\r\nX\x00Y: \xff\r\n\r\n" + GOOD),
    "another protocol": raw(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n" + GOOD),
}


@pytest.mark.parametrize("name", NO_HTTP)
async def test_what_is_no_answer_is_no_report(name: str) -> None:
    assert await answer_to(NO_HTTP[name], bound=0.9) is None


@pytest.mark.parametrize(
    "kind", ["text/html", "application/x-python-pickle", "text/plain; charset=\x7f", "", "\x1b[31m"]
)
async def test_the_content_type_decides_nothing(kind: str) -> None:
    """The body is parsed as JSON, whatever it is said to be; a charset of the pod's choice is never looked up."""
    found = await answer_to(reply(GOOD, f"Content-Type: {kind}"))
    assert found is None or found.step == 7


# ---- the document ------------------------------------------------------------------------------------------------

NO_REPORT: Final = {
    "nothing": b"",
    "a list": b"[]",
    "a number": b"1",
    "text": b'"step"',
    "null": b"null",
    "HTML": b"<html>",
    "a pickle": b"\x80\x04\x95\x0e\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix",
    "not UTF-8": b'{"logDir": "\xff\xfe"}',
    "half of a pair": b'{"logDir": "\\ud800"}',
    "cut off": b'{"step": 7',
    "two documents": GOOD + GOOD,
    "100,000 deep": b"[" * 100_000,
    "100,000 deep, in a field": b'{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "a step of text": b'{"step": "many"}',
    "a step that is a list": b'{"step": [7]}',
    "a step that is an object": b'{"step": {"$ref": "#"}}',
    "a fraction of a step": b'{"step": 7.5}',
    "a negative step": b'{"step": -1}',
    "a step of 19 digits": b'{"step": 9999999999999999999}',
    "a step of 10**18": b'{"step": 1000000000000000000}',
    "a step of 4,000 digits": b'{"step": ' + b"9" * 4_000 + b"}",
    "a step of 200,000 digits": b'{"step": ' + b"9" * 200_000 + b"}",
    "a step without end": b'{"step": 1e999}',
    "no number of steps": b'{"step": NaN}',
    "a negative round": b'{"round": -1}',
    "a round of 10**18": b'{"round": 1000000000000000000}',
    "a negative attempt": b'{"attempt": -1}',
    "a negative maxSteps": b'{"maxSteps": -9}',
    "an unknown phase": b'{"phase": "Deleting"}',
    "a phase of another case": b'{"phase": "succeeded"}',
    "a time without a zone": b'{"lastStepTime": "2026-11-30T00:00:00"}',
    "a time at the end of the calendar": b'{"lastStepTime": "9999-12-31T23:59:59-14:00"}',
    "a time at its beginning": b'{"startTime": "0001-01-01T00:00:00+14:00"}',
    "a time of many digits": b'{"startTime": 99999999999999999999}',
    "a negative idle time": b'{"idleSeconds": -5}',
    "an endless idle time": b'{"idleSeconds": Infinity}',
    "no idle time": b'{"idleSeconds": NaN}',
    "33 failures": json.dumps({"failures": [
        {"time": "2026-11-30T00:00:00Z", "round": 0, "rank": 0, "localRank": 0, "exitCode": 1}] * 33}).encode(),
    "an exit code of 10**18": json.dumps({"failures": [
        {"time": "2026-11-30T00:00:00Z", "round": 0, "rank": 0, "localRank": 0, "exitCode": 10**18}]}).encode(),
    "a negative rank": json.dumps({"failures": [
        {"time": "2026-11-30T00:00:00Z", "round": 0, "rank": -1, "localRank": 0, "exitCode": 1}]}).encode(),
    "a failure without a time": b'{"failures": [{"round": 0, "rank": 0, "localRank": 0, "exitCode": 1}]}',
    "negative steps lost": b'{"recoveries": [{"round": 0, "resumedFromStep": 1, "stepsLost": -9}]}',
    "a checkpoint of a negative step": b'{"checkpoint": {"step": -1, "path": "x", "time": "2026-11-30T00:00:00Z"}}',
    "a checkpoint whose path is a list": b'{"checkpoint": {"step": 1, "path": ["x"], "time": "2026-11-30T00:00:00Z"}}',
    "a checkpoint that is a list": b'{"checkpoint": []}',
    "phases without end": json.dumps({"recoveries": [
        {"round": 0, "resumedFromStep": 0, "stepsLost": 0, "phases": {str(i): 1 for i in range(9_000)}}]}).encode(),
}  # fmt: skip


@pytest.mark.parametrize("name", NO_REPORT)
async def test_a_document_that_cannot_be_true_is_no_report(name: str) -> None:
    assert await answer_to(reply(NO_REPORT[name])) is None


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "null"])
@pytest.mark.parametrize("field", ["loss", "learningRate", "tokensPerSecond"])
async def test_a_number_that_is_none_is_left_out_and_the_report_stands(field: str, number: str) -> None:
    """A loss that is not a number is a diverged training, not a lie: the step still counts. JSON has no such number,
    and an API server refuses a status with one."""
    found = await answer_to(reply(f'{{"step": 7, "{field}": {number}}}'.encode()))
    assert found is not None
    assert found == Progress(step=7)


async def test_text_is_printable_and_short_when_it_comes_out_of_the_reader() -> None:
    """Before anything searches, logs, stores or shows it."""
    bad = "\x1b]0;owned\x07\x1b[2J\r\n\x00\u202e" + "x" * 20_000
    at = "2026-11-30T00:00:00Z"
    failure = {"time": at, "round": 0, "rank": 0, "localRank": 0, "exitCode": 1, "message": bad, "lines": [bad] * 2}
    found = await answer_to(
        told(
            step=7,
            logDir=bad,
            resume=[bad] * 2,
            configHash=bad,
            checkpoint={"step": 1, "path": bad, "time": at},
            failures=[failure],
            recoveries=[{"round": 0, "resumedFromStep": 0, "stepsLost": 0, "passedOver": bad}],
        )
    )
    assert found is not None
    assert found.checkpoint is not None
    texts = (
        found.log_dir, found.config_hash, found.checkpoint.path, found.failures[0].message,
        *found.failures[0].lines, *found.resume, found.recoveries[0].passed_over,
    )  # fmt: skip
    for text in texts:
        assert text.isprintable(), text[:80]
        assert len(text) <= 4_096
        assert "\\x1b]0;owned\\x07" in text
        assert "\\u202e" in text


async def test_a_report_that_is_not_understood_is_logged_in_one_short_line(caplog: pytest.LogCaptureFixture) -> None:
    """Neither what the pod sent nor a key of its choice gets into the log, and not at every look."""
    evil = "x\n2026-11-30 E neuron_operator: all nodes deleted\x1b[31m" + "y" * 100_000
    lies = reply(json.dumps({"step": evil, "recoveries": [{"phases": {evil: evil}}]}).encode())
    with caplog.at_level(logging.INFO):
        async with serve(lies) as liar, reading(liar.port) as reader:
            for _ in range(3):
                assert await reader.read(POD) is None
    (line,) = [record.getMessage() for record in caplog.records if record.name.startswith("neuron_operator")]
    assert len(line) < 400
    assert line.isprintable()
    assert POD.name in line
    assert "all nodes deleted" not in line


async def look_until_it_answers(reader: HttpProgressReader) -> Progress:
    for _ in range(10_000):
        if (found := await reader.read(POD)) is not None:
            return found
        await asyncio.sleep(0.01)
    raise AssertionError("it never answers")


# ---- one pod and the passes of others ----------------------------------------------------------------------------


async def test_silence_is_bounded_in_time() -> None:
    assert await answer_to(silence, bound=0.2) is None


async def test_a_drip_is_bounded_in_time() -> None:
    """A byte now and then resets a bound between two bytes, not one of the whole answer."""
    assert await answer_to(endless(b" ", "Content-Length: 99999", pause=0.02), bound=0.5) is None


async def test_a_pod_that_was_late_is_not_waited_for_again() -> None:
    """A pass has one of eight workers: pods that drip would hold all of them."""
    async with serve(silence) as liar, reading(liar.port, patience=0.05, bound=BOUND) as reader:
        async with asyncio.timeout(BOUND):
            assert await reader.read(POD) is None
        reader.patience = BOUND
        async with asyncio.timeout(BOUND / 2):
            assert await reader.read(POD) is None
        assert len(liar.requests) == 1, "one question at a time"


async def test_what_a_late_pod_said_meanwhile_is_there_at_the_next_look() -> None:
    gate = asyncio.Event()

    async def late(writer: asyncio.StreamWriter) -> None:
        await gate.wait()
        await reply(GOOD)(writer)

    async with serve(late) as liar, reading(liar.port, patience=0.05) as reader, asyncio.timeout(BOUND):
        assert await reader.read(POD) is None
        gate.set()
        found = await look_until_it_answers(reader)
        assert found.step == 7


async def test_a_pod_that_answers_in_time_again_is_waited_for_again() -> None:
    slow = [True]

    async def late_at_first(writer: asyncio.StreamWriter) -> None:
        if slow[0]:
            await asyncio.sleep(0.2)
        await reply(GOOD, "Connection: close")(writer)

    async with serve(late_at_first) as liar, reading(liar.port, patience=0.05) as reader, asyncio.timeout(BOUND):
        assert await reader.read(POD) is None
        slow[0], reader.patience = False, BOUND
        missing = 1
        while missing < 1_000 and reader.is_late(POD):
            missing += 1
            await reader.read(POD)
            await asyncio.sleep(0.01)
        for _ in range(3):
            assert await reader.read(POD) is not None


@pytest.mark.slow
async def test_an_honest_pod_is_read_while_hundreds_are_silent() -> None:
    """More of them than any pool of connections: their waiting is their own."""
    async with serve(silence) as liar, serve(reply(GOOD)) as honest, asyncio.timeout(BOUND):
        async with reading(liar.port, patience=0.01) as reader:
            for number in range(300):
                assert await reader.read(replace(POD, uid=f"liar-{number}")) is None
            reader.port, reader.patience = honest.port, BOUND
            begun = time.monotonic()
            found = await reader.read(replace(POD, uid="honest"))
            assert time.monotonic() - begun < BOUND / 2, "it did not wait for one of them to time out"
        assert found is not None


async def test_nothing_is_left_of_pods_that_are_gone() -> None:
    gone = [replace(POD, uid=f"gone-{number}") for number in range(20)]
    async with serve(silence) as liar, over_http(port=liar.port, patience=0.01, memory=0.0) as reader:
        for pod in gone:
            await reader.read(pod)
        await reader.read(replace(POD, uid="another", address=""))
        assert not any(reader.is_late(pod) for pod in gone)


async def test_a_pod_without_an_address_is_not_asked() -> None:
    async with serve(reply(GOOD)) as liar, reading(liar.port) as reader:
        assert await reader.read(replace(POD, address="")) is None
        assert liar.requests == []


@pytest.mark.parametrize(("address", "start"), [("10.0.0.1", "http://10.0.0.1:1/"), ("fd00::1", "http://[fd00::1]:1/")])
def test_addresses_of_both_families(address: str, start: str) -> None:
    assert url_of(replace(POD, address=address), 1).startswith(start)
