"""Identities of the derivation, whatever the sizes; the table of instance types; layers, heads, steps."""

from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from neuron_api.config import TrainingConfig
from neuron_api.derive import alignment, hardware, plan, sharding
from neuron_api.findings.finding import errors_of
from neuron_api.platform.devices import devices
from neuron_api.platform.instances import INSTANCE_TYPES
from neuron_api.platform.topology import Topology
from neuron_api.resource.accelerator import Accelerator

SIZES = st.sampled_from([1, 2, 3, 4, 8, 16, 32])


def config(**sections: dict[str, Any]) -> TrainingConfig:
    """A whole configuration with some keys of some sections changed."""
    values: dict[str, dict[str, Any]] = {
        "trainer": {"devices": 32, "num_nodes": 1, "max_steps": 10},
        "distributed_strategy": {},
        "data": {"micro_batch_size": 1, "global_batch_size": 1},
        "model": {"model_config": "/c.json", "encoder_seq_length": 128, "optim": {"name": "adamw", "lr": 1e-3}},
        "precision": {},
    }
    merged = {name: {**section, **sections.get(name, {})} for name, section in values.items()}
    more = {name: section for name, section in sections.items() if name not in values}
    return TrainingConfig.model_validate({"name": "t", "model_source": "hf", "seed": 1, **merged, **more})


# ---- identities --------------------------------------------------------------------------------------------------


@pytest.mark.slow
@given(SIZES, SIZES, SIZES, SIZES, SIZES)
def test_the_parallel_sizes_multiply_to_the_world(devices: int, nodes: int, tp: int, pp: int, cp: int) -> None:
    wanted = config(
        trainer={"devices": devices, "num_nodes": nodes},
        distributed_strategy={
            "tensor_model_parallel_size": tp,
            "pipeline_model_parallel_size": pp,
            "context_parallel_size": cp,
        },
    )
    found = Topology.from_config(wanted)
    assert found.world_size == devices * nodes
    product = found.data_parallel * tp * pp * cp
    assert product == (devices * nodes if devices * nodes % (tp * pp * cp) == 0 else 0)


@given(SIZES, SIZES, SIZES, st.integers(1, 2048))
def test_micro_batches_multiply_to_the_global_batch(world: int, tp: int, micro: int, batch: int) -> None:
    assume(world % tp == 0)
    found = Topology.from_config(
        config(
            trainer={"devices": world},
            distributed_strategy={"tensor_model_parallel_size": tp},
            data={"micro_batch_size": micro, "global_batch_size": batch},
        )
    )
    product = found.micro_batches * micro * found.data_parallel
    assert product == (batch if batch % (micro * world // tp) == 0 else 0)


@given(st.integers(1, 130), st.integers(1, 32), st.integers(1, 4))
def test_layers_of_the_stages_add_up_and_differ_by_at_most_one_a_chunk(
    layers: int, pipeline: int, virtual: int
) -> None:
    found = sharding.layers_per_stage(layers, pipeline, virtual)
    if layers < pipeline * virtual:
        assert found is None
        return
    assert found is not None
    assert (sum(found), len(found)) == (layers, pipeline)
    assert max(found) - min(found) <= virtual
    assert list(found) == sorted(found)


@given(st.lists(st.integers(1, 12), min_size=2, max_size=9), st.sampled_from([1, 2, 3]))
def test_cuts_give_back_the_blocks_they_were_made_from(blocks: list[int], virtual: int) -> None:
    assume(len(blocks) % virtual == 0)
    ends = [sum(blocks[: index + 1]) - 1 for index in range(len(blocks) - 1)]
    cuts = [f"model.layers.{end}" for end in ends]
    assert sharding.block_sizes(sum(blocks), len(blocks), cuts) == tuple(blocks)
    pipeline = len(blocks) // virtual
    found = sharding.layers_per_stage(sum(blocks), pipeline, virtual, cuts)
    assert found == tuple(sum(blocks[stage::pipeline]) for stage in range(pipeline))


@pytest.mark.parametrize("ends", [["3"], ["3", "3"], ["five", "3"], ["5", "2"], ["2", "9"]])
def test_cuts_that_make_no_stages_give_none(ends: list[str]) -> None:
    assert sharding.block_sizes(9, 3, [f"model.layers.{end}" for end in ends]) is None


@given(st.integers(1, 128), st.integers(1, 128))
def test_replicated_heads_are_divisible_and_no_smaller_replication_is(kv_heads: int, tensor: int) -> None:
    found = sharding.replication(kv_heads, tensor, None)
    assert found is not None
    assert kv_heads * found % tensor == 0
    assert all(kv_heads * less % tensor for less in range(1, found))


def test_the_replication_that_is_asked_for_is_taken_and_without_heads_it_is_not_known() -> None:
    assert sharding.replication(8, 32, 8) == sharding.replication(None, 32, 8) == 8
    assert sharding.replication(None, 32, None) is None


@given(st.sampled_from(sorted(INSTANCE_TYPES)), st.integers(1, 128), st.sampled_from([None, 1, 2]), st.integers(1, 4))
def test_devices_never_exceed_the_node_and_hold_every_process(
    name: str, count: int, lnc: int | None, nodes: int
) -> None:
    instance = INSTANCE_TYPES[name]
    found, findings = devices(config(trainer={"devices": count, "lnc": lnc, "num_nodes": nodes}), name)
    if found is None:
        assert findings
        return
    assert found.lnc is not None
    assert 1 <= found.neuron <= instance.chips
    assert 0 <= found.efa <= (instance.efa or 0)
    cores = instance.cores_per_chip // found.lnc
    assert found.neuron * cores >= count > (found.neuron - 1) * cores


# ---- tables ------------------------------------------------------------------------------------------------------

TABLE = [
    ("trn1.2xlarge", 1, 2, 2, None, 32, 0),
    ("trn1.32xlarge", 16, 32, 32, None, 512, 8),
    ("trn1n.32xlarge", 16, 32, 32, None, 512, 16),
    ("trn2.3xlarge", 1, 8, 8, 4, 96, 1),
    ("trn2.48xlarge", 16, 128, 128, 64, 1536, 16),
    ("trn2u.48xlarge", 16, 128, 128, 64, 1536, 16),
    ("trn3pd98.3xlarge", 1, 8, 8, 4, 144, None),
]
"""upstream-facts.md#trainium-instances: chips, physical cores, logical cores with lnc 1 and 2, GiB of the node, EFA
interfaces (None: not published; those of trn2u.48xlarge are not either, and taken as trn2.48xlarge's)."""


@pytest.mark.parametrize(("name", "chips", "cores", "lnc1", "lnc2", "memory", "efa"), TABLE)
def test_an_instance_type_has_what_its_row_says(
    name: str, chips: int, cores: int, lnc1: int, lnc2: int | None, memory: int, efa: int | None
) -> None:
    instance = INSTANCE_TYPES[name]
    assert (instance.chips, instance.chips * instance.cores_per_chip, instance.efa) == (chips, cores, efa)
    assert instance.logical_cores(1) == lnc1
    assert instance.chips * instance.chip_memory == memory * 2**30
    assert (instance.max_lnc, instance.default_lnc) == ((2, 2) if lnc2 else (1, 1))
    assert lnc2 is None or instance.logical_cores(2) == lnc2


def test_every_instance_type_is_in_the_table() -> None:
    assert {row[0] for row in TABLE} == set(INSTANCE_TYPES)


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row[0])
@pytest.mark.parametrize("lnc", [None, 1, 2])
def test_a_whole_node_asks_for_all_of_its_chips_and_one_process_more_is_refused(row: Any, lnc: int | None) -> None:
    name, chips, _, lnc1, lnc2, _, efa = row
    most = {1: lnc1, 2: lnc2, None: lnc2 or lnc1}[lnc]
    found, findings = devices(config(trainer={"devices": most or 1, "lnc": lnc}), name)
    if most is None:
        assert (found, [one.key for one in errors_of(findings)]) == (None, ["trainer.lnc"])
        return
    assert found is not None
    assert (found.neuron, found.efa, errors_of(findings)) == (chips, efa or 0, ())
    assert [one.code for one in findings] == (["NTJ-3019"] if name.startswith("trn1") else [])
    found, findings = devices(config(trainer={"devices": most + 1, "lnc": lnc}), name)
    assert (found, [one.key for one in errors_of(findings)]) == (None, ["trainer.devices"])


@pytest.mark.parametrize(("trainer", "name", "instance"), [
    ({"devices": 32}, "trn1", "trn1.32xlarge"),
    ({"devices": 32, "lnc": 1}, "trn1", "trn1.32xlarge"),
    ({"devices": 32, "lnc": 2}, "trn2", "trn2.48xlarge"),
    ({"devices": 64}, "trn2", "trn2.48xlarge"),
    ({"devices": 128, "lnc": 1}, "trn2", "trn2.48xlarge"),
])  # fmt: skip
def test_hardware_that_is_not_given_follows_from_lnc_and_devices(
    trainer: dict[str, int], name: str, instance: str
) -> None:
    found = hardware.from_config(config(trainer=trainer), Accelerator.NEURON, None)
    assert (found.name, found.instance_type, found.is_assumed) == (name, instance, True)


@pytest.mark.parametrize("name", sorted(INSTANCE_TYPES))
def test_hardware_that_is_given_is_the_generation_of_its_instance_type(name: str) -> None:
    found = hardware.from_config(config(), Accelerator.NEURON, name)
    assert (found.name, found.instance_type, found.is_assumed) == (name[:4], name, False)
    assert hardware.from_config(config(), Accelerator.CPU, name).name == "cpu"


@pytest.mark.parametrize(("sizes", "text"), [((80,), "80x1"), ((3, 3, 4), "3x2,4x1"), ((9, 8, 8, 9), "9x1,8x2,9x1")])
def test_runs_of_stages_are_written_short(sizes: tuple[int, ...], text: str) -> None:
    assert sharding.run_lengths(sizes) == text


def test_126_layers_on_32_stages_are_two_of_3_and_thirty_of_4() -> None:
    found = sharding.layers_per_stage(126, 32)
    assert found is not None
    assert sharding.run_lengths(found) == "3x2,4x30"


@pytest.mark.parametrize(
    ("most", "every", "saves"), [(100, 10, 10), (100, 30, 3), (10, 11, 0), (10, 0, 0), (-1, 5, None)]
)
def test_saves_before_the_end(most: int, every: int, saves: int | None) -> None:
    assert plan.saves_before_end(most, every) == saves
    assert plan.total_samples(most, 8) == (most * 8 if most > 0 else None)


@pytest.mark.parametrize(("given_strategy", "sft_style", "wanted"), [
    (None, None, "pretrain"),
    ({"sft": {}}, None, "sft"),
    ({"dpo": {"max_prompt_length": 8}}, None, "dpo"),
    ({"orpo": {"max_prompt_length": 8}, "peft": {}}, None, "orpo+peft"),
    ({"peft": {}}, None, "sft+peft"),
    ({"sft": None}, None, "pretrain"),
    (None, True, "sft"),
    ({"dpo": {"max_prompt_length": 8}}, True, "dpo"),
])  # fmt: skip
def test_the_strategy_and_its_data_module(given_strategy: Any, sft_style: bool | None, wanted: str) -> None:
    found = alignment.strategy(
        config(model_alignment_strategy=given_strategy, data={"use_sft_style_data_module": sft_style})
    )
    assert found == wanted
    modules = {alignment.data_module(source, found) for source in ("hf", "megatron")}
    assert modules == ({"HFDataModule", "MegatronDataModule"} if wanted == "pretrain" else {"ModelAlignmentDataModule"})
