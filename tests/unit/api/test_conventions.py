"""The resource as Kubernetes' API conventions want it: words, names, numbers, defaults, columns.

The kind: a field that a user of other Kubernetes APIs reads wrongly, or that a client cannot hold. Looked at: every
field of spec (without spec.config, which is NxDT's) and of status, and every printer column.
"""

import re
from collections.abc import Iterator
from typing import Any, Final

import pytest

from neuron_api.manifest import crd
from neuron_api.resource.job import parse
from neuron_api.resource.status import JobStatus, ProgressStatus

Json = dict[str, Any]

VERSION: Final[Json] = crd.definition()["spec"]["versions"][0]
SCHEMA: Final[Json] = VERSION["schema"]["openAPIV3Schema"]["properties"]
COLUMNS: Final[list[Json]] = VERSION["additionalPrinterColumns"]


def fields(schema: Json, path: str) -> Iterator[tuple[str, Json]]:
    yield path, schema
    if path != "spec.config":
        for name, below in schema.get("properties", {}).items():
            yield from fields(below, f"{path}.{name}")
        if "items" in schema:
            yield from fields(schema["items"], f"{path}[]")


FIELDS: Final = [*fields(SCHEMA["spec"], "spec"), *fields(SCHEMA["status"], "status")]


def test_values_of_enumerations_are_in_pascal_case() -> None:
    found = {(path, value) for path, schema in FIELDS for value in schema.get("enum", ())}
    assert {(path, value) for path, value in found if not re.fullmatch(r"[A-Z][A-Za-z0-9]*", value)} == set()
    assert ("spec.platform.accelerator", "CPU") in found


def test_there_are_no_floating_point_numbers() -> None:
    assert [path for path, schema in FIELDS if schema.get("type") == "number"] == []


def test_times_are_called_times() -> None:
    names = [path.rpartition(".")[2] for path, schema in FIELDS if schema.get("format") == "date-time"]
    assert [name for name in names if not name.endswith("Time") and name != "time"] == []


def test_whole_abbreviations_are_in_capitals() -> None:
    names = {path.rpartition(".")[2] for path, _ in FIELDS}
    assert [name for name in names if re.search(r"(Uid|Id|Ip|Url|Cpu|Efa)(?![a-z])", name)] == []


def test_a_field_of_the_spec_with_a_default_names_it_and_none_is_written_to_the_object() -> None:
    leaves = [(path, schema) for path, schema in FIELDS if path.startswith("spec.") and schema.get("type") != "object"]
    silent = [
        path
        for path, schema in leaves
        if "[]" not in path and "Ref" not in path and "efault" not in schema.get("description", "") + path
    ]
    assert sorted(silent) == [
        "spec.platform.instanceType", "spec.scheduling.topology.preferred", "spec.scheduling.topology.required",
        "spec.storage",
    ]  # fmt: skip
    assert [path for path, schema in FIELDS if "default" in schema] == []


@pytest.mark.parametrize("value", [3.25, 1e-05, 1e22, 0.0, -1.5, float("inf"), 1000.0])
def test_a_decimal_number_comes_back_as_it_was_and_has_the_form_that_the_schema_asks_for(value: float) -> None:
    status = JobStatus(progress=ProgressStatus(loss=value))
    wire = status.model_dump(mode="json", by_alias=True, exclude_none=True)
    loss = wire["progress"]["loss"]
    schema = SCHEMA["status"]["properties"]["progress"]["properties"]["loss"]
    assert re.fullmatch(schema["pattern"], loss)
    assert len(loss) <= schema["maxLength"]
    assert JobStatus.model_validate(wire) == status


def test_a_loss_that_is_no_number_is_said_to_be_none() -> None:
    status = JobStatus(progress=ProgressStatus(loss=float("nan")))
    wire = status.model_dump(mode="json", by_alias=True)["progress"]["loss"]
    assert wire == "nan"
    assert re.fullmatch(SCHEMA["status"]["properties"]["progress"]["properties"]["loss"]["pattern"], wire)


def test_the_columns_of_kubectl_get_are_those_that_a_newcomer_reads() -> None:
    shown = [one["name"] for one in COLUMNS if not one.get("priority")]
    assert shown == [
        "Phase", "Nodes", "Step", "Max Steps", "Checkpoint", "Restarts", "Steps Lost", "Remaining", "Reason", "Age",
    ]  # fmt: skip


def test_a_column_shows_a_field_that_there_is_in_its_own_type() -> None:
    types = {path: schema["type"] for path, schema in FIELDS} | {"metadata.creationTimestamp": "string"}
    for one in COLUMNS:
        path = re.sub(r"\[\?.*\]", "[]", one["jsonPath"]).removeprefix(".")
        assert types[path] == {"date": "string"}.get(one["type"], one["type"]), one["name"]


def test_a_status_of_the_time_of_floating_point_numbers_can_be_read() -> None:
    spec = {"storage": [], "config": {}}
    metadata = {"name": "a", "namespace": "b", "uid": "c"}
    status = {"goodput": 0.5, "nodesReady": "2/2", "progress": {"step": 3, "loss": 2}}
    job = parse({"metadata": metadata, "spec": spec, "status": status})
    assert (job.status.goodput, job.unread) == (0.5, ())
    assert job.status.progress and job.status.progress.loss == 2.0
