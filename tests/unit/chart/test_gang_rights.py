"""Rights for queues and gang schedulers: those of the schedulers that are named, and no others."""

import json

import pytest

from neuron_operator import settings
from neuron_operator.planning.scheduling.registry import ADAPTERS

from .test_chart import (
    CHART,
    JOB_RIGHTS,
    NO_USER_ROLES,
    Rights,
    container,
    flags,
    needs_helm,
    of_kind,
    refusal,
    render,
    rights,
)

PODGROUPS = {"list", "create", "patch", "delete"}
GANG_RIGHTS: dict[str, Rights] = {
    "Kueue": {
        ("kueue.x-k8s.io", "workloads"): {"get", "patch"},
        ("kueue.x-k8s.io", "localqueues"): {"get"},
        ("", "pods"): JOB_RIGHTS["", "pods"] | {"patch"},
    },
    "Volcano": {
        ("scheduling.volcano.sh", "podgroups"): PODGROUPS,
        ("scheduling.volcano.sh", "queues"): {"get"},
    },
    "Coscheduling": {("scheduling.x-k8s.io", "podgroups"): PODGROUPS},
    "Workload": {("scheduling.k8s.io", "podgroups"): PODGROUPS},
}


@needs_helm
@pytest.mark.parametrize("name", GANG_RIGHTS)
def test_rights_for_a_scheduler_of_gangs_come_with_its_name_and_alone(name: str) -> None:
    (role,) = of_kind(render(gangSchedulers=[name], **NO_USER_ROLES), "ClusterRole")
    assert rights(role) == JOB_RIGHTS | {("", "nodes"): {"get"}} | GANG_RIGHTS[name]
    (near,) = [r for r in of_kind(render(gangSchedulers=[name], watchNamespaces=["a"]), "Role")
               if r["metadata"]["namespace"] == "a"]  # fmt: skip
    own = {key: verbs for key, verbs in GANG_RIGHTS[name].items() if key[1] != "queues"}
    assert rights(near) == JOB_RIGHTS | own, "a Role cannot give Volcano's queues"
    assert flags(gangSchedulers=[name])["gang-schedulers"] == name


@needs_helm
def test_the_program_knows_every_scheduler_of_the_chart() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    names = schema["properties"]["gangSchedulers"]["items"]["enum"]
    found = settings.parse(container(gangSchedulers=names)["args"], environ={})
    assert found.options.gang_schedulers == set(ADAPTERS) == set(names)
    assert "gangSchedulers.0" in refusal(gangSchedulers=["slurm"]).replace("/", ".")
