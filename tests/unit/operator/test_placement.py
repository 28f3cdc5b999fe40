"""What a pod asks of its node, and the variables of the platform."""

import copy
from typing import Any

import pytest

from builders import JobBuilder, accepted, make_job
from neuron_api import contract
from neuron_operator.planning.objects import desired, placement

CPU = make_job().nodes(2)


def on(instance_type: str, devices: int, **trainer: Any) -> JobBuilder:
    job = CPU.config("trainer.devices", devices).config("data.global_batch_size", 2048).trainium(instance_type)
    for key, value in trainer.items():
        job = job.config(f"trainer.{key}", value)
    return job


@pytest.mark.parametrize(
    ("job", "neuron", "efa"),
    [
        (on("trn1.2xlarge", 2, num_nodes=1), "1", None),
        (on("trn1.32xlarge", 32), "16", "8"),
        (on("trn1n.32xlarge", 32), "16", "16"),
        (on("trn2.48xlarge", 64), "16", "16"),
    ],
)
def test_neuron_devices_and_network_interfaces_are_asked_for(job: JobBuilder, neuron: str, efa: str | None) -> None:
    found = placement.resources(job.build(), accepted(job.build()))["requests"]
    assert found.get("aws.amazon.com/neuron") == neuron
    assert found.get("vpc.amazonaws.com/efa") == efa


def test_a_cpu_job_asks_for_nothing_of_the_platform() -> None:
    job = CPU.build()
    assert placement.resources(job, accepted(job)) == {}
    assert placement.environment(job, accepted(job)) == {}
    assert placement.node_fields(job) == {}


def test_a_trainium_job_goes_to_its_instance_type_and_tolerates_the_taint_of_its_nodes() -> None:
    fields = placement.node_fields(on("trn1.32xlarge", 32).build())
    assert fields["nodeSelector"] == {"node.kubernetes.io/instance-type": "trn1.32xlarge"}
    assert fields["tolerations"] == [{"key": "aws.amazon.com/neuron", "operator": "Exists", "effect": "NoSchedule"}]


@pytest.mark.parametrize(("job", "efa"), [(on("trn1.2xlarge", 2, num_nodes=1), False), (on("trn1.32xlarge", 32), True)])
def test_variables_of_the_network_are_set_where_it_is_there(job: JobBuilder, efa: bool) -> None:
    found = placement.environment(job.build(), accepted(job.build()))
    assert found["CCOM_SOCKET_IFNAME"] == "eth0"
    assert (found.get("FI_PROVIDER") == "efa") is efa


@pytest.mark.parametrize(
    ("job", "lnc"),
    [
        (on("trn1.32xlarge", 32), None),
        (on("trn2.48xlarge", 64), "2"),
        (on("trn2.48xlarge", 64, lnc=2), "2"),
        (on("trn2.48xlarge", 128, lnc=1), "1"),
    ],
)
def test_compiler_and_runtime_agree_on_logical_cores_where_there_is_a_choice(job: JobBuilder, lnc: str | None) -> None:
    found = placement.environment(job.build(), accepted(job.build()))
    assert found.get("NEURON_LOGICAL_NC_CONFIG") == found.get("NEURON_RT_VIRTUAL_CORE_SIZE") == lnc


@pytest.mark.parametrize(
    ("job", "peak"),
    [
        (on("trn1.32xlarge", 32).config("precision.type", "mixed_precision"), 190e12 / 2),
        (on("trn1.32xlarge", 32), 47.5e12 / 2),
        (on("trn2.48xlarge", 64).config("precision.type", "mixed_precision"), 667e12 / 4),
        (on("trn2.48xlarge", 128, lnc=1).config("precision.type", "autocast"), 667e12 / 8),
        (on("trn1.2xlarge", 2, num_nodes=1).config("precision", {"type": "manual"}), 47.5e12 / 2),
        (on("trn2.48xlarge", 64), 181e12 / 4),
    ],
)
def test_a_process_is_told_the_peak_of_its_logical_core_at_its_precision(job: JobBuilder, peak: float) -> None:
    """Figures of a chip as AWS publishes them (trainium.rst 2.28.1, trainium2.rst 2.29.0): 2 and 8 cores."""
    found = placement.environment(job.build(), accepted(job.build()))
    assert float(found["NTJ_PEAK_FLOPS"]) == peak


AWAY = {"key": "kubernetes.io/hostname", "operator": "NotIn", "values": ["a", "b"]}
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
ZONE = {"key": "zone", "operator": "In", "values": ["z1"]}


def required(terms: object) -> dict[str, object]:
    return {"affinity": {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": terms}}}}


@pytest.mark.parametrize(
    ("spec", "terms"),
    [
        ({}, [{"matchExpressions": [AWAY]}]),
        ({"affinity": None}, [{"matchExpressions": [AWAY]}]),
        (required([]), [{"matchExpressions": [AWAY]}]),
        (
            required([{"matchExpressions": [ZONE]}, {"matchFields": [ZONE]}]),
            [{"matchExpressions": [ZONE, AWAY]}, {"matchFields": [ZONE], "matchExpressions": [AWAY]}],
        ),
        # A term without requirements matches nothing, and stays so.
        (required([{}, {"matchExpressions": [ZONE]}]), [{}, {"matchExpressions": [ZONE, AWAY]}]),
    ],
)
def test_nodes_are_avoided_in_every_alternative_of_the_users_affinity(
    spec: dict[str, object], terms: list[object]
) -> None:
    found = placement.avoiding(spec, ["a", "b"])
    assert found["affinity"]["nodeAffinity"][REQUIRED]["nodeSelectorTerms"] == terms


def test_the_rest_of_the_users_affinity_stays_and_nothing_is_changed_in_place() -> None:
    spec = {"affinity": {"podAffinity": {"x": 1}, "nodeAffinity": {"preferred": [1]}}, "nodeSelector": {"a": "b"}}
    before = copy.deepcopy(spec)
    found = placement.avoiding(spec, ["a"])
    assert spec == before
    assert found["affinity"]["podAffinity"] == {"x": 1}
    assert found["affinity"]["nodeAffinity"]["preferred"] == [1]
    assert found["nodeSelector"] == {"a": "b"}


def test_a_users_annotation_of_that_name_is_not_taken_for_ours() -> None:
    job = (
        make_job()
        .nodes(2)
        .pod_template({"metadata": {"annotations": {contract.ANNOTATION_EXCLUDED: "x", "y": "z"}}})
        .build()
    )
    assert desired.pod(job, accepted(job), 0, 0)["metadata"]["annotations"] == {"y": "z"}
    body = desired.pod(job, accepted(job), 0, 0, ["a", "b"])
    assert body["metadata"]["annotations"] == {"y": "z", contract.ANNOTATION_EXCLUDED: "a,b"}
