"""Flux's health expressions in the API server's CEL (cel-go, Flux's library as well), over recorded statuses.

A ValidatingAdmissionPolicy over a kind of its own says no to every object, and in its words which expression holds, in
Flux's order. The expressions name `status` and `metadata`; a policy has them in `object`.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from bounds import BOUND
from controlplane.controlplane import ControlPlane
from controlplane.errors import CommandFailed
from controlplane.shell import wait_until

Json = dict[str, Any]

ROOT = Path(__file__).parents[2]
SIGHTINGS = ROOT / "tests" / "data" / "sightings"
EXPRESSIONS = ROOT / "helm" / "neuron-training-operator" / "files" / "flux-health.yaml"
HEALTH = {
    "starting": "InProgress",
    "image": "Failed",
    "loading": "InProgress",
    "running": "Current",
    "restarting": "InProgress",
    "succeeded": "Current",
    "failed": "Failed",
    "claim": "Failed",
    "invalid": "Failed",
}
"""Stage to kstatus's word. `created` has no status: the expressions fail, which Flux counts as in progress."""
ORDER = {"inProgress": "InProgress", "failed": "Failed", "current": "Current"}
"""In the order in which Flux asks; none of them is in progress."""
GROUP = "probe.neurontraining.dev"

CRD = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": f"probes.{GROUP}"},
    "spec": {
        "group": GROUP,
        "scope": "Namespaced",
        "names": {"plural": "probes", "singular": "probe", "kind": "Probe", "listKind": "ProbeList"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}


def policy() -> list[Json]:
    (one,) = yaml.safe_load(EXPRESSIONS.read_text())
    variables = [
        {"name": name, "expression": re.sub(r"(?<![.\w'])(status|metadata)\.", r"object.\1.", one[name])}
        for name in ORDER
    ]
    # Variables are evaluated when they are asked for.
    told = "".join(f"variables.{name} ? 'health={word}' : " for name, word in ORDER.items()) + "'health=InProgress'"
    spec = {
        "failurePolicy": "Fail",
        "matchConstraints": {
            "resourceRules": [
                {"apiGroups": [GROUP], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["probes"]}
            ]
        },
        "variables": variables,
        "validations": [{"expression": "false", "messageExpression": told}],
    }
    api = "admissionregistration.k8s.io/v1"
    name = {"name": "flux-health"}
    return [
        {"apiVersion": api, "kind": "ValidatingAdmissionPolicy", "metadata": name, "spec": spec},
        {
            "apiVersion": api,
            "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": name,
            "spec": {"policyName": "flux-health", "validationActions": ["Deny"]},
        },
    ]


def said(plane: ControlPlane, status: Json | None) -> str:
    """The API server's words about an object with this status; empty when it has none to say."""
    probe: Json = {"apiVersion": f"{GROUP}/v1", "kind": "Probe", "metadata": {"name": "probe"}}
    if status is not None:
        probe["status"] = status
    try:
        plane.kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(probe))
    except CommandFailed as refused:
        return str(refused)
    return ""


def health(words: str) -> str:
    """As Flux decides; empty where an expression failed."""
    found = re.search(r"health=(\w+)", words)
    return found.group(1) if found else ""


@pytest.fixture(scope="module")
def plane(control_plane: ControlPlane) -> ControlPlane:
    for body in (CRD, *policy()):
        control_plane.kubectl("apply", "-f", "-", stdin=json.dumps(body))
    told = {"conditions": [], "observedGeneration": 1}
    wait_until("the policy to be in force", lambda: bool(health(said(control_plane, told))), seconds=BOUND)
    return control_plane


def recorded(stage: str) -> Json | None:
    status: Json | None = json.loads((SIGHTINGS / f"{stage}.json").read_text())["job"].get("status")
    return status


def test_every_recorded_stage_has_a_health() -> None:
    assert {path.stem for path in SIGHTINGS.glob("*.json")} == {*HEALTH, "created"}


@pytest.mark.parametrize("stage", HEALTH)
def test_the_expressions_give_what_kstatus_gives(plane: ControlPlane, stage: str) -> None:
    assert health(said(plane, recorded(stage))) == HEALTH[stage]


def test_a_status_of_an_older_spec_is_in_progress(plane: ControlPlane) -> None:
    status = recorded("running")
    assert status is not None
    assert health(said(plane, {**status, "observedGeneration": 0})) == "InProgress"
    assert health(said(plane, {"observedGeneration": 1})) == "InProgress"


def test_without_a_status_the_expressions_fail_and_decide_nothing(plane: ControlPlane) -> None:
    assert recorded("created") is None
    words = said(plane, None)
    assert "denied request: failed expression: false" in words  # the API server's, when no message could be made
    assert health(words) == ""
