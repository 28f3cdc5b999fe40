"""The command line, kopf as a shell, and what wakes the queue."""

import asyncio
import inspect
from typing import Any

import pytest

from neuron_operator import handlers, settings
from neuron_operator.queue.workqueue import JobKey


def test_defaults_come_from_the_pods_environment() -> None:
    parsed = settings.parse([], {"POD_NAME": "operator-1", "POD_NAMESPACE": "system"})
    assert (parsed.identity, parsed.lease_namespace, parsed.namespaces) == ("operator-1", "system", ())


def test_namespaces_are_a_comma_separated_list() -> None:
    assert settings.parse(["--namespaces", "a,b,"], {}).namespaces == ("a", "b")


@pytest.mark.parametrize("text", ["0", "-1", "soon"])
def test_an_interval_must_be_a_number_above_zero(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        settings.parse([f"--poll-seconds={text}"], {})
    assert "is not a number of seconds above 0" in capsys.readouterr().err


def test_there_is_at_least_one_worker(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        settings.parse(["--workers=0"], {})
    assert "'0' is not a number above 0" in capsys.readouterr().err


def test_kopf_writes_nothing() -> None:
    made = settings.kopf_settings()
    assert made.posting.enabled is False
    assert made.peering.standalone is True
    assert made.scanning.disabled is True
    assert made.queueing.worker_limit is None
    backoffs = made.networking.error_backoffs
    assert not isinstance(backoffs, float)
    assert 240 < sum(backoffs) < 420
    assert 240 < sum(backoffs) < 420  # it can be gone through again


def all_handlers() -> dict[str, Any]:
    registry = handlers.registry(lambda *_: None, lambda *_: None)
    return {handler.id: handler for handler in registry._watching.get_all_handlers()}


def test_every_handler_is_an_event_handler_that_returns_nothing() -> None:
    found = all_handlers()
    assert set(found) == {"job"}
    for handler in found.values():
        assert inspect.signature(handler.fn).return_annotation is None
    registry = handlers.registry(lambda *_: None, lambda *_: None)
    for others in (registry._changing, registry._spawning, registry._indexing):
        assert not list(others.get_all_handlers())


KEY = JobKey("ns", "a")


class Wakes:
    """What a handler did with events of a job whose version 8 the operator wrote itself."""

    def __init__(self) -> None:
        self.added: list[tuple[JobKey, float]] = []
        self.seen: list[str] = []
        registry = handlers.registry(
            lambda key, after: self.added.append((key, after)),
            lambda _, version: self.seen.append(version),
            lambda _, version: version == "8",
        )
        (self.handler,) = (one.fn for one in registry._watching.get_all_handlers())

    async def event(self, kind: str | None, version: str, observed: int = 0, **meta: Any) -> None:
        meta |= {"resourceVersion": version, "generation": 1}
        status = {"observedGeneration": observed}
        await self.handler(namespace="ns", name="a", type=kind, meta=meta, status=status)  # type: ignore[misc, call-arg]


@pytest.mark.parametrize("kind", [None, "ADDED", "DELETED", "MODIFIED"])
async def test_a_job_event_puts_its_key_into_the_queue(kind: str | None) -> None:
    wakes = Wakes()
    await wakes.event(kind, "7")
    assert (wakes.added, wakes.seen) == ([(KEY, 0.0)], ["7"])


async def test_the_echo_of_our_own_status_write_wakes_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handlers, "ECHO_SECONDS", 0.0)
    wakes = Wakes()
    await wakes.event("MODIFIED", "8", observed=1)
    await asyncio.sleep(0.01)
    assert (wakes.added, wakes.seen) == ([], ["8"])
    await wakes.event("MODIFIED", "9", observed=1)  # somebody else wrote the status
    await asyncio.sleep(0.01)
    assert wakes.added == [(KEY, 0.0)]


async def test_a_deletion_is_no_echo() -> None:
    wakes = Wakes()
    await wakes.event("MODIFIED", "8", observed=1, deletionTimestamp="2026-01-01T00:00:00Z")
    assert wakes.added == [(KEY, 0.0)]
