"""A status that the API server does not take: as much as it takes is stored, and what cannot be is said.

The kind: a CRD of another release than the operator. It refuses a word, a value or a missing field (422), or drops
fields that it does not have without a word. Tried for parts that only people read and for decisions, one and several at
once, with and without room for the condition that explains it, and what happens once the CRD is the right one.
"""

import logging
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from builders import NOW, make_job, observed
from neuron_api.resource.job import parse
from neuron_api.resource.reasons import ConditionType, Reason
from neuron_api.resource.status import (
    CheckpointGateStatus,
    Condition,
    ConditionStatus,
    JobStatus,
    Phase,
    ProgressStatus,
    Restart,
    RestartScope,
)
from neuron_operator.kube.errors import ApiError, ConflictError, RefusedError, UnavailableError
from neuron_operator.kube.event_recorder import Recorder
from neuron_operator.kube.gateway import Kind
from neuron_operator.queue.workqueue import JobKey
from neuron_operator.readers.job_reader import Observation
from neuron_operator.status_writer import StatusWriter

from .fakes import FakeCluster

Json = dict[str, Any]
KEY = JobKey("team", "tiny")
JOB = ("neurontrainingjobs", "team", "tiny")


class Server(FakeCluster):
    """With a schema: fields that it refuses, fields that it drops."""

    def __init__(self) -> None:
        super().__init__()
        self.refuse: Callable[[Json], list[str]] = lambda _: []
        self.drop: list[tuple[str, ...]] = []
        self.answer: ApiError | None = None
        self.writes = 0
        self._store(JOB, make_job().body)

    async def replace(self, kind: Kind, body: Json, subresource: str = "") -> Json:
        self.writes += 1
        if self.answer:
            raise self.answer
        if fields := self.refuse(body["status"]):
            raise RefusedError(422, "Invalid", f"{fields[0]}: Unsupported value", None, tuple(fields))
        status = deepcopy(body["status"])
        for *parents, field in self.drop:
            below = status
            for parent in parents:
                below = below.get(parent, {})
            below.pop(field, None)
        return await super().replace(kind, {**body, "status": status}, subresource)

    @property
    def job(self) -> Json:
        return deepcopy(self.objects[JOB])

    @property
    def status(self) -> JobStatus:
        return parse(self.job).status

    @property
    def events(self) -> list[str]:
        return [one["note"] for (plural, _, _), one in self.objects.items() if plural == "events"]


class Writing:
    """A writer and its server."""

    def __init__(self) -> None:
        self.server, self.count = Server(), 0
        self.writer = StatusWriter(self.server, Recorder(self.server, "pod", lambda: NOW), self._counted)  # type: ignore[arg-type]

    async def write(self, status: JobStatus) -> Json | None:
        body = self.server.job
        return await self.writer.write(KEY, Observation(body, observed(parse(body))), status, NOW)

    def _counted(self) -> None:
        self.count += 1


def condition(kind: ConditionType, reason: Reason = Reason.RUNNING) -> Condition:
    return Condition(type=kind, status=ConditionStatus.FALSE, reason=reason, last_transition_time=NOW)


RUNNING = JobStatus(
    phase=Phase.RUNNING,
    attempt=1,
    conditions=(condition(ConditionType.READY), condition(ConditionType.ADMITTED, Reason.NOT_QUEUED)),
    progress=ProgressStatus(step=20, loss=3.5),
)
RESTARTED = RUNNING.model_copy(
    update={
        "attempt": 2,
        "restart_count": 1,
        "restarts": (Restart(restart_scope=RestartScope.GANG, cause=Reason.HARDWARE_FAULT, time=NOW, message="sram"),),
    }
)
HELD = RUNNING.model_copy(update={"checkpoint_gate": CheckpointGateStatus(reason=Reason.NO_CHECKPOINT_FOUND, time=NOW)})


def closed(field: str, *words: str) -> Callable[[Json], list[str]]:
    """A schema with an enumeration, and the field required: as the CRD had it before words were open."""
    parent, _, name = field.rpartition("[].")

    def refuse(status: Json) -> list[str]:
        elements = enumerate(status.get(parent, []))
        return [f"status.{parent}[{n}].{name}" for n, one in elements if one.get(name) not in words]

    return refuse


async def test_what_only_people_read_is_left_out_and_the_decisions_are_stored(caplog: pytest.LogCaptureFixture) -> None:
    given = Writing()
    given.server.refuse = closed("conditions[].reason", "Running")
    for _ in range(2):
        assert await given.write(RESTARTED) is not None
    stored = given.server.status
    assert [one.type for one in stored.conditions] == [ConditionType.READY]
    assert (stored.attempt, stored.restarts) == (2, RESTARTED.restarts)
    assert given.count == 2
    (line,) = [one.message for one in caplog.records if one.levelno == logging.ERROR]
    assert "team/tiny" in line
    assert "status.conditions[1].reason: Unsupported value" in line
    (note,) = given.server.events
    assert "Apply the CRD of the operator's release" in note
    assert "status.conditions[1].reason: Unsupported value" in note


async def test_the_same_fields_in_another_order_are_no_news(caplog: pytest.LogCaptureFixture) -> None:
    """Found on a real API server: each retry was an event more."""
    given = Writing()
    for fields in (("status.a", "status.b"), ("status.b", "status.a")):
        given.server.answer = RefusedError(422, "Invalid", f"refused: {fields}", None, fields)
        await given.write(RESTARTED)
    assert len([one for one in caplog.records if one.levelno == logging.ERROR]) == 1
    assert len(given.server.events) == 1
    given.server.answer = RefusedError(422, "Invalid", "no", None, ("status.b",))
    await given.write(RESTARTED)
    assert len(given.server.events) == 2


async def test_the_summary_names_the_job_and_the_remedy_until_the_status_is_stored() -> None:
    given = Writing()
    assert given.writer.summary() == ""
    given.server.refuse = closed("conditions[].reason", "Running")
    await given.write(RESTARTED)
    problem = "The API server does not store the status of team/tiny: status.conditions[1]"
    assert given.writer.summary().startswith(problem)
    assert "Apply the CRD of the operator's release" in given.writer.summary()
    given.server.refuse = lambda _: []
    await given.write(RESTARTED.model_copy(update={"attempt": 3}))
    assert given.writer.summary() == ""


@pytest.mark.parametrize(
    ("status", "field"),
    [(RESTARTED, "restarts[].cause"), (RESTARTED, "restarts[].restartScope"), (HELD, "checkpointGate")],
)
async def test_a_decision_that_is_refused_is_not_stored_in_part_and_the_job_says_why(
    status: JobStatus, field: str
) -> None:
    given = Writing()
    await given.write(RUNNING)
    before = given.server.status
    given.server.refuse = (
        closed(field) if "[]" in field else lambda value: [f"status.{field}.reason"] if field in value else []
    )
    assert await given.write(status) is None
    stored = given.server.status
    assert stored.model_copy(update={"conditions": ()}) == before.model_copy(update={"conditions": ()})
    told = {one.type: one for one in stored.conditions}
    assert told[ConditionType.STALLED].status is ConditionStatus.TRUE
    assert told[ConditionType.STALLED].reason is Reason.STATUS_REFUSED
    assert f"status.{field.partition('[')[0]}" in told[ConditionType.STALLED].message
    assert told[ConditionType.READY].status is ConditionStatus.FALSE
    assert ConditionType.ADMITTED in told
    writes = given.server.writes
    assert await given.write(status) is None
    assert given.server.writes == writes + 1, "it is said already"
    assert len(given.server.events) == 1


async def test_once_the_crd_takes_it_the_decision_is_stored() -> None:
    given = Writing()
    given.server.refuse = closed("restarts[].cause")
    assert await given.write(RESTARTED) is None
    given.server.refuse = lambda _: []
    assert await given.write(RESTARTED) is not None
    assert given.server.status == RESTARTED
    given.server.refuse = closed("restarts[].cause")
    await given.write(RESTARTED.model_copy(update={"attempt": 3}))
    assert len(given.server.events) == 2, "a second time is news"


async def test_where_nothing_is_taken_the_event_and_the_log_remain(caplog: pytest.LogCaptureFixture) -> None:
    given = Writing()
    given.server.refuse = lambda _: ["status"]
    assert await given.write(RUNNING) is None
    assert "status" not in given.server.job
    assert len(given.server.events) == 1
    assert "does not store the status" in caplog.text


async def test_a_refusal_that_names_no_field_of_the_status_is_no_endless_loop() -> None:
    for fields in ([""], ["spec.config.trainer"], ["status.nothing.like[7].it"]):
        given = Writing()
        given.server.refuse = lambda _, fields=fields: list(fields)  # type: ignore[misc]
        assert await given.write(RUNNING) is None
        assert given.server.writes <= 3


async def test_fields_that_are_dropped_are_reported_and_the_job_goes_on() -> None:
    given = Writing()
    given.server.drop = [("progress", "loss")]
    assert await given.write(RUNNING) is not None
    (note,) = given.server.events
    assert "status.progress.loss" in note


async def test_a_decision_that_is_dropped_is_not_acted_on() -> None:
    given = Writing()
    given.server.drop = [("checkpointGate",)]
    assert await given.write(HELD) is None
    stalled = next(one for one in given.server.status.conditions if one.type is ConditionType.STALLED)
    assert stalled.reason is Reason.STATUS_REFUSED
    assert "status.checkpointGate" in stalled.message


async def test_a_status_that_is_stored_whole_is_one_write_and_no_word(caplog: pytest.LogCaptureFixture) -> None:
    given = Writing()
    assert await given.write(RESTARTED) is not None
    assert given.server.status == RESTARTED
    assert (given.server.writes, given.count, given.server.events, caplog.text) == (1, 0, [], "")


async def test_parts_that_this_release_cannot_read_are_named_before_they_are_overwritten(
    caplog: pytest.LogCaptureFixture,
) -> None:
    given = Writing()
    given.server.objects[JOB]["status"] = {"topology": "2x2"}
    await given.write(RUNNING)
    await given.write(RUNNING)
    assert caplog.text.count("status.topology") == 1


@pytest.mark.parametrize(
    "problem",
    [
        ConflictError(409, "Conflict", "changed"),
        UnavailableError(503, "ServiceUnavailable", "away"),
        RefusedError(403, "Forbidden", "may not update neurontrainingjobs/status"),
    ],
)
async def test_every_other_answer_is_for_the_queue(problem: ApiError) -> None:
    given = Writing()
    given.server.answer = problem
    with pytest.raises(type(problem)):
        await given.write(RUNNING)
    assert given.server.events == []
