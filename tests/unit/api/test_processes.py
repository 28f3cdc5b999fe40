"""`trainer.devices` per node or as a total (A1): what a node can hold decides, or `spec.deviceCountScope`."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from neuron_api.derive import hardware
from neuron_api.loading import device_count
from neuron_api.loading.loader import Loaded, load_text
from neuron_api.platform.instances import instance_of
from neuron_api.platform.topology import Topology
from neuron_api.resource.accelerator import Accelerator
from neuron_api.resource.spec import DeviceCountScope

LLAMA = (Path(__file__).parents[2] / "data" / "configs" / "hf_llama3_8B_config.yaml").read_text()
AUTO, PER_NODE, TOTAL = DeviceCountScope.AUTO, DeviceCountScope.PER_NODE, DeviceCountScope.TOTAL


def settled(devices: int, nodes: int, instance_type: str | None, meaning: DeviceCountScope, *more: str) -> Loaded:
    given = (f"trainer.devices={devices}", f"trainer.num_nodes={nodes}", *more)

    def read(changes: Sequence[str]) -> Loaded:
        return load_text(LLAMA, (*given, *changes))

    return device_count.resolve_device_count(read(()), read, instance_of(instance_type), meaning)


@pytest.mark.parametrize(
    ("devices", "nodes", "instance_type", "meaning", "per_node", "code"),
    [
        (32, 4, "trn1.32xlarge", AUTO, 32, None),  # what upstream's files mean
        (128, 4, "trn1.32xlarge", AUTO, 32, "NTJ-3012"),  # what the document says
        (128, 4, "trn1.32xlarge", PER_NODE, 128, None),  # refused by `devices`
        (32, 4, "trn1.32xlarge", TOTAL, 8, None),
        (128, 2, "trn2.48xlarge", AUTO, 64, "NTJ-3012"),
        (130, 4, "trn1.32xlarge", AUTO, 130, None),  # no total explains it
        (256, 4, "trn1.32xlarge", AUTO, 256, None),  # nor this: 64 are too many as well
        (30, 4, "trn1.32xlarge", TOTAL, 30, "NTJ-3011"),
        (128, 4, None, AUTO, 128, None),  # a CPU holds any number
        (8, 4, None, TOTAL, 2, None),
        (64, 1, "trn1.32xlarge", AUTO, 64, None),
    ],
)
def test_the_number_is_read_as_it_can_be_meant(
    devices: int, nodes: int, instance_type: str | None, meaning: DeviceCountScope, per_node: int, code: str | None
) -> None:
    loaded = settled(devices, nodes, instance_type, meaning)
    assert loaded.config is not None
    assert loaded.config.trainer.devices == per_node
    assert [f.code for f in loaded.findings if f.code.startswith("NTJ-301")] == ([code] if code else [])


def test_a_total_is_the_job_that_the_same_nodes_would_be_per_node() -> None:
    per_node = settled(32, 4, "trn1.32xlarge", AUTO)
    total = settled(128, 4, "trn1.32xlarge", AUTO)
    assert total.hash == per_node.hash != ""
    assert total.config is not None
    assert Topology.from_config(total.config).world_size == 128


def test_what_is_interpolated_from_the_key_follows() -> None:
    loaded = settled(128, 4, "trn1.32xlarge", AUTO, "trainer.sequential_move_factor=${trainer.devices}")
    assert loaded.config is not None
    assert loaded.config.trainer.sequential_move_factor == 32


def test_rules_are_asked_of_the_number_that_is_meant() -> None:
    """16 x 4 processes can be divided into groups of 32; 16 processes in total cannot."""
    assert settled(16, 4, "trn1.32xlarge", PER_NODE).errors == ()
    assert [f.code for f in settled(16, 4, "trn1.32xlarge", TOTAL).errors] == ["NTJ-2301"]


@pytest.mark.parametrize(
    ("devices", "nodes", "name"), [(32, 4, "trn1"), (64, 4, "trn2"), (128, 4, "trn1"), (256, 4, "trn2")]
)
def test_the_generation_is_told_from_a_total_too(devices: int, nodes: int, name: str) -> None:
    loaded = load_text(LLAMA, (f"trainer.devices={devices}", f"trainer.num_nodes={nodes}"))
    assert loaded.config is not None
    assert hardware.from_config(loaded.config, Accelerator.NEURON, None).name == name
