"""World, parallel sizes, micro-batches; devices of the instance types (upstream-facts.md#trainium-instances)."""

import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuron_api.config import TrainingConfig
from neuron_api.loading.loader import load_text
from neuron_api.platform.devices import devices
from neuron_api.platform.instances import INSTANCE_TYPES
from neuron_api.platform.topology import Topology, check

LLAMA = (Path(__file__).parents[2] / "data" / "configs" / "hf_llama3_8B_config.yaml").read_text()
SHARED = Path(__file__).parents[4] / "shared" / "configs"


def config(*overrides: str) -> TrainingConfig:
    loaded = load_text(LLAMA, overrides)
    assert loaded.config is not None
    return loaded.config


def test_the_real_configuration_has_the_expected_shape() -> None:
    topology = Topology.from_config(config())
    assert (topology.world_size, topology.data_parallel, topology.micro_batches) == (128, 4, 256)
    assert check(topology, config()) == ()


@pytest.mark.skipif(not SHARED.exists(), reason="the folder of further real configurations is not there")
def test_every_shared_configuration_that_loads_has_the_row_of_the_table() -> None:
    lines = (SHARED / "expected.tsv").read_text().splitlines()
    rows = {row["config"]: row for row in csv.DictReader(lines, delimiter="\t")}
    compared = 0
    for name, row in rows.items():
        loaded = load_text((SHARED / f"{name}.yaml").read_text())
        if loaded.config is None:
            continue
        topology = Topology.from_config(loaded.config)
        got = (topology.world_size, topology.data_parallel, topology.micro_batches)
        assert got == tuple(int(row[key]) for key in ("world", "dp", "num_microbatches")), name
        compared += 1
    assert compared >= 11


@pytest.mark.slow
@given(
    nodes=st.integers(1, 8),
    processes=st.integers(1, 64),
    tp=st.sampled_from([1, 2, 4, 8]),
    mbs=st.integers(1, 4),
    batches=st.integers(1, 8),
    extra=st.integers(0, 3),
)
def test_the_parts_multiply_to_the_whole_or_a_finding_says_why(
    nodes: int, processes: int, tp: int, mbs: int, batches: int, extra: int
) -> None:
    world = nodes * processes
    gbs = mbs * max(1, world // tp) * batches + extra
    made = config(
        f"trainer.num_nodes={nodes}",
        f"trainer.devices={processes}",
        f"data.micro_batch_size={mbs}",
        f"distributed_strategy.tensor_model_parallel_size={tp}",
        f"data.global_batch_size={gbs}",
    )
    topology = Topology.from_config(made)
    errors = [f for f in check(topology, made) if f.severity == "error"]
    if errors:
        assert world % tp or gbs % (mbs * topology.data_parallel)
    else:
        assert topology.data_parallel * tp == world
        assert topology.micro_batches * mbs * topology.data_parallel == gbs


@pytest.mark.parametrize(
    ("instance", "processes", "lnc", "chips", "efa"),
    [
        ("trn1.2xlarge", 2, None, 1, 0),
        ("trn1.32xlarge", 32, None, 16, 8),
        ("trn1.32xlarge", 8, None, 4, 0),
        ("trn1n.32xlarge", 32, 1, 16, 16),
        ("trn2.3xlarge", 4, None, 1, 1),
        ("trn2.48xlarge", 64, None, 16, 16),
        ("trn2.48xlarge", 64, 2, 16, 16),
        ("trn2.48xlarge", 128, 1, 16, 16),
        ("trn2u.48xlarge", 32, 2, 8, 0),
    ],
)
def test_a_pod_asks_for_chips_and_interfaces(
    instance: str, processes: int, lnc: int | None, chips: int, efa: int
) -> None:
    value = "null" if lnc is None else str(lnc)
    made = config(f"trainer.devices={processes}", "trainer.num_nodes=1", f"trainer.lnc={value}")
    found, findings = devices(made, instance)
    assert found is not None
    warnings = ["NTJ-3019"] if instance.startswith("trn1") else []
    assert (found.neuron, found.efa, [finding.code for finding in findings]) == (chips, efa, warnings)


@pytest.mark.parametrize(
    ("instance", "overrides", "expected"),
    [
        (None, [], "spec.platform.instanceType: it is not set"),
        ("p5.48xlarge", [], "'p5.48xlarge' is not a Trainium instance type"),
        ("trn1.32xlarge", ["trainer.devices=64"], "64 processes per node are more than the 32 logical NeuronCores"),
        ("trn2.48xlarge", ["trainer.devices=128"], "128 processes per node are more than the 64 logical NeuronCores"),
        ("trn1.32xlarge", ["trainer.lnc=2"], "trainer.lnc: 2 is not possible on trn1.32xlarge"),
        ("trn1.2xlarge", ["trainer.devices=2"], "has no EFA interface and cannot join a multi-node job"),
    ],
)
def test_what_an_instance_type_cannot_do_is_named(instance: str | None, overrides: list[str], expected: str) -> None:
    found, findings = devices(config(*overrides), instance)
    assert found is None
    assert expected in str(findings[0])


def test_every_instance_type_is_named_once() -> None:
    assert all(name == instance.name for name, instance in INSTANCE_TYPES.items())
