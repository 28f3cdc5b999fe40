"""What a pod asks of its node, and the variables of the platform."""

from typing import Any

import pytest

from builders import JobBuilder, accepted, make_job
from neuron_operator.planning import placement

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
    found = placement.resources(accepted(job.build()))
    assert found.get("aws.amazon.com/neuron") == neuron
    assert found.get("vpc.amazonaws.com/efa") == efa


def test_a_cpu_job_asks_for_nothing_of_the_platform() -> None:
    job = CPU.build()
    assert placement.resources(accepted(job)) == {}
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
