"""The rules of the CRD without a server: their words are the table's, and the loader says the same of each object."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from annotated_types import Ge, Gt, Le
from pydantic.fields import FieldInfo

from neuron_api import cel
from neuron_api.cel import Rule, values
from neuron_api.findings.finding import Finding, Severity, errors_of
from neuron_api.findings.registry import ENTRIES
from neuron_api.loading import device_count
from neuron_api.loading.loader import load_object
from neuron_api.manifest import crd, envelope
from neuron_api.manifest.openapi import config_schema
from neuron_api.platform import instances
from neuron_api.platform.devices import devices
from neuron_api.resource.accelerator import Accelerator
from neuron_api.resource.scheduling import GangScheduler
from neuron_api.resource.spec import DeviceCountScope, Platform
from neuron_api.schema.key_path import all_paths, choices, field_of
from refusals import ACCEPTED, CASES, HF, Case, job, names, put

Json = dict[str, Any]

LEFT_TO_THE_OPERATOR = {
    "what a text is, which an object is not": "1001 1002 1003 1004 1005",
    "files of other programs, which are no objects of this kind": "1007",
    "what interpolations resolve to": "1101 1102 1103 1104 1106 1107",
    "overrides": "1201 1202 1203",
    "names of keys: kubectl's own strict validation in closed sections": "1301 1302",
    "lengths, which the schema itself bounds": "1405",
    "fractions and open types, of which CEL sees only whether they are there": "2107 2404 2513 2518 2603 2605 2614",
    "mappings of any keys": "2218 2219 2222 2224",
    "a null that means something looks absent to CEL": "2202",
    "sizes in config.json, which the object does not have": "2323 2915 2916",
    "forms and names inside texts": "2211 2223 2406 2418 2508 2510 2907",
    "what this release does": "4001 4002",
}
"""Codes of errors without a rule, and why."""

CROSS = [*cel.config_rules(), *cel.platform_rules()]
SCHEMA = values.add(config_schema())


def node(key: str) -> Json:
    """The schema at a key path."""
    found = SCHEMA
    for part in key.split("."):
        found = found["properties"][part]
    return found


def single() -> Iterator[Rule]:
    """All rules of single keys."""
    for key, info in all_paths():
        yield from values.key_rules(key, info, node(key))


RULES = [*CROSS, *single()]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.number}-{rule.key}")
def test_a_rule_is_an_error_of_a_key_that_exists_in_the_tables_words(rule: Rule) -> None:
    entry = ENTRIES[f"NTJ-{rule.number}"]
    assert entry.severity is Severity.ERROR
    assert rule.key.startswith("spec.platform.") or field_of(rule.key) is not None
    assert rule.message.startswith(f"{rule.key}: {rule.expected or entry.cause}")
    assert rule.message.endswith(f" {rule.remedy or entry.remedy} [{entry.code}]")


ENUMS = {str(one) for enum in (Accelerator, DeviceCountScope, GangScheduler) for one in enum}


@pytest.mark.parametrize(
    "wire",
    [*cel.spec_rules(), *cel.spec_validations("spec.scheduling"), *cel.spec_validations("spec.elasticPolicy")],
    ids=lambda wire: wire["message"],
)
def test_words_of_enumerations_are_written_as_the_api_has_them(wire: Json) -> None:
    """A value that no object can have makes a rule that never refuses, or always: of every rule of `spec`, whatever
    differs from a value of an enumeration by capital letters only."""
    words = set(re.findall(r'"([^"]*)"', wire["rule"]))
    assert {word for word in words if word.lower() in {one.lower() for one in ENUMS}} <= ENUMS


LEGAL: dict[str, Json] = {
    "nothing": {},
    "null": {"scheduling": {"gang": "Kueue", "queueName": "team", "scheduleTimeoutSeconds": None}},
    "a default queue": {"scheduling": {"gang": "Volcano"}, "startupPolicy": {"admissionSeconds": 9}},
    "both for another gang": {"scheduling": {"gang": "Volcano", "topology": {"required": "a", "preferred": "b"}}},
    "an elastic job": {
        "elasticPolicy": {"minNodes": 2, "maxNodes": 4, "nodes": 4, "shrinkAfterSeconds": 60},
        "startupPolicy": {"schedulingSeconds": 61},
        "scheduling": {"gang": "None"},
    },
    "a maximum below the default": {"elasticPolicy": {"maxNodes": 1}},
    "one node without storage": {"config": {"trainer": {"num_nodes": 1}}, "storage": None},
    "nodes that are interpolated": {"config": {"trainer": {"num_nodes": "${n}"}}, "storage": []},
}
ILLEGAL: list[tuple[Json, str]] = [
    ({"scheduling": {"gang": "Kueue"}}, "spec.scheduling.queueName"),
    ({"scheduling": {"gang": "Kueue", "queueName": None}}, "spec.scheduling.queueName"),
    ({"scheduling": {"queueName": "team"}}, "spec.scheduling.queueName"),
    ({"scheduling": {"gang": "None", "queueName": "team"}}, "spec.scheduling.queueName"),
    ({"scheduling": {"gang": "Workload", "queueName": "team"}}, "spec.scheduling.queueName"),
    ({"scheduling": {"gang": "Volcano", "scheduleTimeoutSeconds": 9}}, "spec.scheduling.scheduleTimeoutSeconds"),
    ({"scheduling": {"gang": "Volcano", "maxPriorityBoost": 9}}, "spec.scheduling.maxPriorityBoost"),
    ({"scheduling": {"gang": "Kueue", "queueName": "a", "topology": {"required": "a", "preferred": "b"}}},
     "spec.scheduling.topology"),
    ({"startupPolicy": {"admissionSeconds": 9}}, "spec.startupPolicy.admissionSeconds"),
    ({"startupPolicy": {"admissionSeconds": 9}, "scheduling": {"gang": "None"}},
     "spec.startupPolicy.admissionSeconds"),
    ({"config": {"trainer": {"num_nodes": 2}}}, "spec.storage"),
    ({"config": {"trainer": {"num_nodes": 2}}, "storage": [{"claimName": "a", "mountPath": "/a", "readOnly": True}]},
     "spec.storage"),
    ({"elasticPolicy": {"minNodes": 4, "maxNodes": 2}}, "spec.elasticPolicy.minNodes"),
    ({"elasticPolicy": {"minNodes": 4, "maxNodes": 2, "nodes": 3}}, "spec.elasticPolicy.minNodes"),
    ({"elasticPolicy": {"minNodes": 2, "nodes": 1}}, "spec.elasticPolicy.nodes"),
    ({"elasticPolicy": {"maxNodes": 4, "nodes": 5}}, "spec.elasticPolicy.nodes"),
    ({"elasticPolicy": {}, "scheduling": {"gang": "Volcano"}}, "spec.elasticPolicy"),
    ({"elasticPolicy": {}, "restartPolicy": {"rejoinTimeoutSeconds": 300}}, "spec.elasticPolicy.shrinkAfterSeconds"),
    ({"elasticPolicy": {"shrinkAfterSeconds": 900}}, "spec.elasticPolicy.shrinkAfterSeconds"),
    ({"elasticPolicy": {"shrinkAfterSeconds": 60}, "startupPolicy": {"schedulingSeconds": 60}},
     "spec.elasticPolicy.shrinkAfterSeconds"),
    ({"config": None}, "spec.config"),
    ({"configFrom": {"configMapKeyRef": {"name": "a", "key": "b"}}}, "spec.config"),
]  # fmt: skip
"""One for each rule of the spec beside the configuration, and what is near it; tests/integration/test_queues.py asks
the API server."""


def manifest(spec: Json) -> Json:
    return {"apiVersion": "neurontraining.dev/v1alpha1", "kind": "NeuronTrainingJob", "metadata": {"name": "x"},
            "spec": {"config": {}} | spec}  # fmt: skip


@pytest.mark.parametrize(("spec", "key"), ILLEGAL)
def test_a_manifest_is_refused_without_a_server_in_the_words_of_the_api_server(spec: Json, key: str) -> None:
    parts = ("spec", "spec.scheduling", "spec.elasticPolicy")
    wires = [wire for part in parts for wire in cel.spec_validations(part)]
    [finding] = errors_of(envelope.check(manifest(spec)))
    assert finding.key == key
    assert str(finding) in [wire["message"] for wire in wires]


@pytest.mark.parametrize("spec", LEGAL.values(), ids=LEGAL)
def test_what_is_near_a_rule_of_the_spec_is_accepted(spec: Json) -> None:
    assert envelope.check(manifest(spec)) == ()


def test_every_rule_of_the_spec_beside_the_configuration_has_a_case() -> None:
    seen = {str(finding) for spec, _ in ILLEGAL for finding in envelope.check(manifest(spec))}
    assert seen == {str(rule.finding) for rule in cel.BESIDE_CONFIG}


def test_a_code_is_asked_once_for_a_key() -> None:
    asked = [(rule.number, rule.key, rule.expected) for rule in RULES]
    assert len(asked) == len(set(asked))


def test_every_error_has_a_rule_or_a_reason_why_not() -> None:
    left = {f"NTJ-{number}" for numbers in LEFT_TO_THE_OPERATOR.values() for number in numbers.split()}
    ruled = {f"NTJ-{rule.number}" for rule in RULES}
    errors = {code for code, entry in ENTRIES.items() if entry.severity is Severity.ERROR}
    assert ruled | left == errors
    assert not ruled & left


def test_every_rule_between_keys_has_a_refused_object() -> None:
    assert {rule.number for rule in CROSS} <= {case.code for case in CASES}


def test_the_file_stays_well_below_what_an_annotation_holds() -> None:
    """262,144 bytes: client-side apply keeps the whole object in one, as JSON without spaces."""
    stored = json.dumps(yaml.safe_load(crd.to_yaml()), separators=(",", ":"))
    assert len(stored.encode()) < 235_000


@pytest.mark.slow
def test_no_rule_asks_for_a_message_of_its_own() -> None:
    """The API server estimates them at more than a CRD may cost."""
    assert "messageExpression" not in crd.to_yaml()


# ---- the loader says the same ----------------------------------------------------------------------------------------


def findings(made: Json) -> tuple[Finding, ...]:
    """Errors of the loader and of the platform, as the operator asks for them."""
    spec = made["spec"]
    given, instance_type = load_object(spec["config"]), spec["platform"].get("instanceType")
    meaning = DeviceCountScope(spec.get("deviceCountScope", "Auto"))
    platform = Platform.model_validate(spec["platform"])
    loaded = device_count.resolve_device_count(
        given, lambda more: load_object(spec["config"], more), instances.instance(platform), meaning
    )
    if loaded.config is None or platform.accelerator is not Accelerator.NEURON:
        return loaded.errors
    return (*loaded.errors, *errors_of(devices(loaded.config, instance_type, instances.stated_devices(platform))[1]))


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=[f"{case.code}-{case.key}" for case in CASES])
def test_the_loader_names_the_same_code_and_key(case: Case) -> None:
    told = [(finding.code, finding.key) for finding in findings(job(case.base, "x", case.changes))]
    assert (f"NTJ-{case.code}", case.key) in told


@pytest.mark.parametrize("base", sorted({case.base for case in names().values()}))
def test_the_files_that_are_changed_are_legal(base: str) -> None:
    assert findings(job(base, "x", {})) == ()


@pytest.mark.parametrize("name", ACCEPTED)
def test_the_loader_accepts_what_the_rules_accept(name: str) -> None:
    assert findings(job(HF, "x", ACCEPTED[name])) == ()


def broken(info: FieldInfo) -> Iterator[int]:
    """Numbers just outside the bounds."""
    for item in info.metadata:
        match item:
            case Ge(ge=int(bound)):
                yield bound - 1
            case Gt(gt=int(bound)):
                yield bound
            case Le(le=int(bound)):
                yield bound + 1


BOUNDS = [
    (key, value) for key, info in all_paths() if node(key).get("x-kubernetes-int-or-string") for value in broken(info)
]


@pytest.mark.parametrize(("key", "value"), BOUNDS)
def test_a_number_out_of_bounds_has_the_loaders_words(key: str, value: int) -> None:
    config = job(HF, "x", {})["spec"]["config"]
    put(config, key, value)
    told = [one for one in load_object(config).errors if (one.code, one.key) == ("NTJ-1403", key)]
    expected = {rule.expected for rule in single() if (rule.number, rule.key) == (1403, key)}
    assert len(told) == 1
    assert any(f"{words}, got " in told[0].message for words in expected)


@pytest.mark.slow
@pytest.mark.parametrize("key", [key for key, _ in all_paths() if node(key).get("x-kubernetes-int-or-string")])
def test_a_word_for_a_number_has_the_loaders_code(key: str) -> None:
    config = job(HF, "x", {})["spec"]["config"]
    put(config, key, "eight")
    assert ("NTJ-1402", key) in [(one.code, one.key) for one in load_object(config).errors]


@pytest.mark.slow
@pytest.mark.parametrize("key", [key for key, info in all_paths() if choices(info)])
def test_a_value_that_is_not_on_the_list_has_the_loaders_words(key: str) -> None:
    config = job(HF, "x", {})["spec"]["config"]
    put(config, key, "nonsense")
    told = [one for one in load_object(config).errors if (one.code, one.key) == ("NTJ-1404", key)]
    expected = next(rule.expected for rule in single() if (rule.number, rule.key) == (1404, key))
    assert len(told) == 1
    assert f"{expected}, got " in told[0].message
