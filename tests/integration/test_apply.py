"""What `kubectl apply` refuses by itself, in our words, with and without --dry-run=server; and what it lets through.

All objects of a table go through kubectl together (112 in 3 s), and each is a test of its own.
"""

import json
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pytest
import yaml
from annotated_types import Ge, Gt, Le
from pydantic.fields import FieldInfo

from bounds import BOUND
from controlplane import toolchain
from controlplane.controlplane import ControlPlane
from neuron_api import cel
from neuron_api.cel import Rule, values
from neuron_api.manifest.openapi import config_schema
from neuron_api.schema.key_path import all_paths
from refusals import ACCEPTED, CASES, HF, Case, job, names

Json = dict[str, Any]

NAMESPACE = "refusals"
_REFUSED = r'^(?:Error from server .*?NeuronTrainingJob\S*|The NeuronTrainingJob) "(.+?)" is invalid: '
WAYS = ((), ("--dry-run=server",))
INTERPOLATION = "${oc.env:ANY}"
SCHEMA = values.add(config_schema())

FAULT_BY_PRESENCE = (
    *(case.key for case in CASES if case.code == 2101),
    "data.fine_tuning",
    "exp_manager.checkpoint_callback_params.train_time_interval",
    "model.optim.sched.warmup_ratio",
)
"""Keys of open type of which CEL sees only that they are there, which is the fault, whatever they resolve to."""


def apply(plane: ControlPlane, jobs: Iterable[Json], *flags: str) -> tuple[str, dict[str, str]]:
    """What kubectl prints, and the refusals by the object's name."""
    kubectl = toolchain.programs("kubectl")["kubectl"]
    command = [str(kubectl), f"--kubeconfig={plane.kubeconfig}", "--namespace", NAMESPACE, "apply", *flags, "-f", "-"]
    text = yaml.safe_dump_all(jobs)
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=BOUND, check=False)
    parts = re.split(_REFUSED, done.stderr, flags=re.MULTILINE)
    assert "Error" not in parts[0], parts[0]
    return done.stdout, dict(zip(parts[1::2], parts[2::2], strict=True))


def where(key: str) -> str:
    """As the API server writes a path."""
    return key if key.startswith("spec.") else f"spec.config.{key}"


@pytest.fixture(scope="module")
def plane(control_plane: ControlPlane) -> Iterator[ControlPlane]:
    """With a namespace for this file."""
    control_plane.kubectl("create", "namespace", NAMESPACE)
    yield control_plane
    control_plane.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


# ---- refused ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def refusals(plane: ControlPlane) -> Mapping[tuple[str, ...], Mapping[str, str]]:
    """By way and name of the case."""
    jobs = [job(case.base, name, case.changes) for name, case in names().items()]
    return {way: apply(plane, jobs, *way)[1] for way in WAYS}


@pytest.mark.parametrize("way", WAYS, ids=["apply", "dry-run"])
@pytest.mark.parametrize(("name", "case"), names().items(), ids=[f"{case.code}-{case.key}" for case in CASES])
def test_it_is_refused_in_the_words_of_its_code(
    refusals: Mapping[tuple[str, ...], Mapping[str, str]], name: str, case: Case, way: tuple[str, ...]
) -> None:
    said = refusals[way].get(name, "was accepted")
    assert f"{where(case.key)}: " in said
    rules = [rule for rule in rules_of_all_keys() if (rule.number, rule.key) == (case.code, case.key)]
    assert any(rule.message in said for rule in rules), said
    assert "some validation rules were not checked" not in said
    assert "evaluat" not in said  # no rule itself has failed


def test_nothing_that_was_refused_is_stored(
    plane: ControlPlane, refusals: Mapping[tuple[str, ...], Mapping[str, str]]
) -> None:
    stored = plane.kubectl("--namespace", NAMESPACE, "get", "neurontrainingjobs", "-o", "name").split()
    assert not [name for name in stored if name.rpartition("/")[2].startswith("case-")]


def rules_of_all_keys() -> list[Rule]:
    """Every rule that has a code."""
    single = (rule for key, info in all_paths() for rule in values.key_rules(key, info, node(key)))
    return [*cel.config_rules(), *cel.platform_rules(), *single]


def node(key: str) -> Json:
    """The schema at a key path."""
    found = SCHEMA
    for part in key.split("."):
        found = found["properties"][part]
    return found


def wrong(rule: Rule, info: FieldInfo) -> int | str:
    """A value that the rule of this single key refuses."""
    if rule.number != 1403:
        return "nonsense"
    for item in info.metadata:
        match item:
            case Ge(ge=int(bound)) if rule.expected == f"must be {bound} or more":
                return bound - 1
            case Gt(gt=int(bound)) if rule.expected == f"must be greater than {bound}":
                return bound
            case Le(le=int(bound)) if rule.expected == f"must be {bound} or less":
                return bound + 1
    raise AssertionError(f"{rule.key} has no bound for {rule.expected!r}")


def test_every_rule_of_a_single_key_refuses_and_says_so(plane: ControlPlane) -> None:
    """All at once: an object with as many wrong values as fit, then one with the keys that have another rule."""
    left = [(rule, info) for key, info in all_paths() for rule in values.key_rules(key, info, node(key))]
    assert len(left) > 140
    while left:
        now = {rule.key: (rule, info) for rule, info in left}
        left = [(rule, info) for rule, info in left if now[rule.key][0] is not rule]
        made = job(HF, "wrong", {key: wrong(rule, info) for key, (rule, info) in now.items()})
        _, said = apply(plane, [made])
        assert all(f"{where(key)}: " in said["wrong"] for key in now)
        assert [rule.message for rule, _ in now.values() if rule.message not in said["wrong"]] == []


# ---- let through -----------------------------------------------------------------------------------------------------


def unknown(case: Case) -> Mapping[str, Any]:
    """The case's changes with an interpolation in place of each value that can be one."""
    known = {key: value for key, value in case.changes.items() if not can_be_text(key, value)}
    return known | {key: INTERPOLATION for key, value in case.changes.items() if can_be_text(key, value)}


def can_be_text(key: str, value: object) -> bool:
    """Whether the schema takes a string there that is no fault by itself."""
    if key.startswith("spec.") or isinstance(value, dict) or key in FAULT_BY_PRESENCE:
        return False
    found = node(key)
    return found.get("type") == "string" or "type" not in found


UNKNOWN = {name: case for name, case in names().items() if unknown(case) != dict(case.changes)}


@pytest.fixture(scope="module")
def interpolated(plane: ControlPlane) -> Mapping[str, str]:
    """What is said about the cases with interpolations, by name."""
    return apply(plane, [job(case.base, name, unknown(case)) for name, case in UNKNOWN.items()], "--dry-run=server")[1]


@pytest.mark.parametrize(("name", "case"), UNKNOWN.items(), ids=[f"{c.code}-{c.key}" for c in UNKNOWN.values()])
def test_an_interpolation_is_left_to_the_operator(interpolated: Mapping[str, str], name: str, case: Case) -> None:
    assert f"[NTJ-{case.code}]" not in interpolated.get(name, "")


def test_every_rule_that_reads_a_number_or_a_text_was_asked_with_an_interpolation() -> None:
    left = {case.code for case in CASES} - {case.code for case in UNKNOWN.values()}
    switches = {1305, 2101, 2201, 2207, 2212, 2213, 2511, 2515, 2602, 2604, 2606, 2705, 2901, 2906, 2910}
    sections = {2411, 2409, 2507, 2617}
    platform = {3001, 3002, 3017}
    assert left <= switches | sections | platform | {2612}


@pytest.mark.parametrize("changes", ACCEPTED.values(), ids=ACCEPTED)
def test_what_is_close_to_a_fault_is_accepted_and_stored_as_it_is(
    plane: ControlPlane, changes: Mapping[str, Any]
) -> None:
    made = job(HF, "legal", changes)
    _, refused = apply(plane, [made])
    assert refused == {}
    text = plane.kubectl("--namespace", NAMESPACE, "get", "neurontrainingjob", "legal", "-o", "json")
    assert json.loads(text)["spec"] == without_nulls(made["spec"])
    plane.kubectl("--namespace", NAMESPACE, "delete", "neurontrainingjob", "legal")


def without_nulls(value: Any) -> Any:
    """What `kubectl apply` sends: it leaves out what is null."""
    if not isinstance(value, dict):
        return value
    return {key: without_nulls(item) for key, item in value.items() if item is not None}
