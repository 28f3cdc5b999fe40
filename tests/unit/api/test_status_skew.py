"""A status that another release has written: read, kept, and written back without loss.

The kind: operator and CRD (or two operators, after a roll-back) of different releases. Tried: unknown words in every
place that has words, unknown fields at every level, unknown conditions, a phase that this release does not know with
and without an end, values of another type, elements that lack a field. What a real API server makes of it is tested in
tests/integration/test_status_skew.py, what the operator does about a refusal in tests/unit/operator.
"""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any, Final

import pytest

from builders import make_job
from neuron_api.manifest import crd
from neuron_api.resource.job import drop_parts, parse, parse_path
from neuron_api.resource.reasons import Reason
from neuron_api.resource.status import JobStatus, Phase

Json = dict[str, Any]

NEWER: Final[Json] = {
    "phase": "Draining",
    "attempt": 2,
    "conditions": [
        {
            "type": "Audited", "status": "True", "reason": "NoFindings", "message": "all well",
            "lastTransitionTime": "2026-11-24T12:00:00Z", "observedGeneration": 3, "severity": "Info",
        },
        {
            "type": "Ready", "status": "False", "reason": "DriverUpgrading", "message": "wait",
            "lastTransitionTime": "2026-11-24T12:00:00Z", "observedGeneration": 3,
        },
    ],
    "restarts": [
        {
            "restartScope": "Node", "cause": "DriverUpgraded", "time": "2026-11-24T12:00:00Z", "attempt": 1,
            "driver": "2.27",
        },
    ],
    "countedFailures": [{"cause": "DriverUpgraded", "time": "2026-11-24T12:00:00Z"}],
    "checkpointGate": {"reason": "LicenceExpired", "message": "renew it", "time": "2026-11-24T12:00:00Z"},
    "progress": {"step": 7, "furthestStep": 9, "flops": "312T"},
    "pods": [{"name": "tiny-2-0", "uid": "u", "zone": "a"}],
    "energy": {"joules": 12},
}  # fmt: skip


def read(status: Json) -> JobStatus:
    return parse({**make_job().body, "status": deepcopy(status)}).status


def wire(status: JobStatus) -> Json:
    return status.model_dump(mode="json", by_alias=True, exclude_none=True)


def assert_within(part: Any, whole: Any, path: str = "status") -> None:
    if isinstance(part, dict):
        for key, value in part.items():
            assert key in whole, f"{path}.{key} is lost"
            assert_within(value, whole[key], f"{path}.{key}")
    elif isinstance(part, list):
        assert len(part) == len(whole), path
        for index, value in enumerate(part):
            assert_within(value, whole[index], f"{path}[{index}]")
    else:
        assert part == whole, path


def test_words_and_fields_of_a_newer_release_are_kept_as_they_are() -> None:
    assert_within(NEWER, wire(read(NEWER)))


def test_a_known_word_is_a_member_of_its_enumeration() -> None:
    status = read({"phase": "Running", "countedFailures": [{"cause": "Hang", "time": "2026-11-24T12:00:00Z"}]})
    assert status.phase is Phase.RUNNING
    assert status.counted_failures[0].cause is Reason.HANG


@pytest.mark.parametrize(
    ("status", "finished"),
    [
        ({"phase": "Succeeded"}, True),
        ({"phase": "Running", "completionTime": "2026-11-24T12:00:00Z"}, False),
        ({"phase": "Archived", "completionTime": "2026-11-24T12:00:00Z"}, True),
        ({"phase": "Draining"}, False),
    ],
)
def test_a_job_in_a_phase_of_another_release_is_over_when_it_has_an_end(status: Json, finished: bool) -> None:
    assert read(status).finished is finished


@pytest.mark.parametrize(
    ("status", "lost"),
    [
        ({"attempt": 3, "topology": "2x2"}, "topology"),
        ({"attempt": 3, "restarts": [{"cause": "Hang"}, {"note": 1}]}, "restarts.0"),
        ({"attempt": 3, "pods": [{"name": "a", "uid": "b"}, {"name": ["c"], "uid": "d"}]}, "pods.1"),
        ({"attempt": 3, "conditions": {"Ready": True}}, "conditions"),
        ({"attempt": 3, "startTime": "yesterday"}, "startTime"),
        ({"attempt": 3, "phase": 7}, "phase"),
    ],
)
def test_what_cannot_be_read_is_left_out_and_named_and_the_rest_stays(status: Json, lost: str) -> None:
    job = parse({**make_job().body, "status": status})
    assert job.status.attempt == 3
    assert any(one.startswith(f"status.{lost}") for one in job.unread), job.unread


def test_a_status_that_can_be_read_names_nothing() -> None:
    assert parse({**make_job().body, "status": NEWER}).unread == ()


def test_a_status_that_is_no_object_is_an_empty_one() -> None:
    assert parse({**make_job().body, "status": "Running"}).status == JobStatus()


@pytest.mark.parametrize(
    ("field", "path"),
    [
        ("status.restarts[2].cause", ("status", "restarts", 2, "cause")),
        ("status.conditions[0]", ("status", "conditions", 0)),
        ("status", ("status",)),
        ("", ()),
    ],
)
def test_fields_are_read_as_the_api_server_writes_them(field: str, path: tuple[str | int, ...]) -> None:
    assert parse_path(field) == path


@pytest.mark.parametrize(
    ("paths", "rest"),
    [
        ([("a", 0)], {"a": [{"x": 2}], "b": 3}),
        ([("a", 0), ("a", 1)], {"a": [], "b": 3}),
        ([("a", 0, "x"), ("a", 0)], {"a": [{"x": 2}], "b": 3}),
        ([("a", 1, "missing")], {"a": [{"x": 1}], "b": 3}),
        ([("b", "within", "a", "scalar")], {"a": [{"x": 1}, {"x": 2}]}),
        ([("missing",), ("a", 7), ()], {"b": 3}),
    ],
)
def test_parts_are_removed_and_nothing_else(paths: list[tuple[str | int, ...]], rest: Json) -> None:
    whole = {"a": [{"x": 1}, {"x": 2}], "b": 3}
    assert drop_parts(whole, paths) == rest
    assert whole == {"a": [{"x": 1}, {"x": 2}], "b": 3}


def words(schema: Json, path: str = "status") -> Iterator[str]:
    """Every enumeration in a schema."""
    if "enum" in schema:
        yield path
    for name, below in schema.get("properties", {}).items():
        yield from words(below, f"{path}.{name}")
    if "items" in schema:
        yield from words(schema["items"], f"{path}[]")


def test_no_word_of_the_status_is_closed_but_that_of_metav1_condition() -> None:
    schema = crd.definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    assert list(words(schema["properties"]["status"])) == ["status.conditions[].status"]


FORMER: Final[Json] = {
    "nodesReady": "1/2",
    "restarts": [
        {
            "rung": "Pod", "cause": "Hang", "time": "2026-11-24T12:00:00Z", "podUid": "u", "lines": ["a"],
            "passedOver": "step 8: cut off", "detectionSeconds": 1.5,
        },
    ],
    "excludedNodes": [
        {
            "node": "n", "hostname": "n", "reason": "HardwareFault", "since": "2026-11-24T12:00:00Z",
            "until": "2026-11-25T12:00:00Z",
        },
    ],
    "hold": {"reason": "NoCheckpointFound", "message": "decide", "time": "2026-11-24T12:00:00Z"},
    "progress": {"step": 7, "podUid": "u", "loss": 3.5},
}  # fmt: skip


def test_fields_are_read_by_their_former_names_and_written_by_those_of_today() -> None:
    job = parse({**make_job().body, "status": deepcopy(FORMER)})
    assert job.unread == ()
    written = wire(job.status)
    (line,), (node,) = written["restarts"], written["excludedNodes"]
    assert (line["restartScope"], line["podUID"], line["logTail"]) == ("Pod", "u", ["a"])
    assert (line["skippedCheckpoints"], line["detectionSeconds"]) == ("step 8: cut off", "1.5")
    assert (node["exclusionTime"], node["expirationTime"]) == ("2026-11-24T12:00:00Z", "2026-11-25T12:00:00Z")
    assert (written["checkpointGate"]["reason"], written["readyNodes"]) == ("NoCheckpointFound", 1)
    assert (written["progress"]["podUID"], written["progress"]["loss"]) == ("u", "3.5")
    former = {"nodesReady", "rung", "podUid", "lines", "passedOver", "since", "until", "hold"}
    assert former & {*written, *line, *node, *written["progress"]} == set()


def objects_of(schema: Json, path: str = "status") -> Iterator[tuple[str, Json]]:
    if schema.get("type") == "object":
        yield path, schema
    for name, below in schema.get("properties", {}).items():
        yield from objects_of(below, f"{path}.{name}")
    if "items" in schema:
        yield from objects_of(schema["items"], f"{path}[]")


def test_the_definition_keeps_fields_of_other_releases_everywhere_in_the_status() -> None:
    version = crd.definition()["spec"]["versions"][0]
    status = version["schema"]["openAPIV3Schema"]["properties"]["status"]
    objects = dict(objects_of(status))
    assert len(objects) > 8
    assert [path for path, schema in objects.items() if not schema.get("x-kubernetes-preserve-unknown-fields")] == []
