"""The command line, kopf as a shell, and what wakes the queue."""

import inspect
from typing import Any

import kopf
import pytest

from neuron_api import contract
from neuron_operator import handlers, settings
from neuron_operator.workqueue import Key


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


def test_kopf_writes_nothing_and_watches_only_pods_of_jobs() -> None:
    made = settings.kopf_settings()
    assert made.posting.enabled is False
    assert made.peering.standalone is True
    assert made.scanning.disabled is True
    assert made.watching.label_selectors["v1", "pods"] == contract.LABEL_JOB
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
    assert set(found) == {"job", "pod"}
    for handler in found.values():
        assert inspect.signature(handler.fn).return_annotation is None
    registry = handlers.registry(lambda *_: None, lambda *_: None)
    for others in (registry._changing, registry._spawning, registry._indexing):
        assert not list(others.get_all_handlers())


async def test_a_job_event_and_a_pod_event_put_the_jobs_key_into_the_queue() -> None:
    added: list[tuple[Key, float]] = []
    seen: list[tuple[Key, str]] = []
    registry = handlers.registry(lambda key, after: added.append((key, after)), lambda *one: seen.append(one))
    found = {handler.id: handler.fn for handler in registry._watching.get_all_handlers()}
    await found["job"](namespace="ns", name="a", meta={"resourceVersion": "7"})  # type: ignore[misc, call-arg]
    await found["pod"](namespace="ns", labels={contract.LABEL_JOB: "a"})  # type: ignore[misc, call-arg]
    key = Key("ns", "a")
    assert added == [(key, 0.0), (key, handlers.GATHER_SECONDS)]
    assert seen == [(key, "7")]
    assert isinstance(registry, kopf.OperatorRegistry)
