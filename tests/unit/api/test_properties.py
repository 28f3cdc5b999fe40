"""What holds for every configuration: identities of the derivation, one hash for all forms, overrides."""

import json
from collections.abc import Mapping
from math import ceil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from neuron_api.config import TrainingConfig
from neuron_api.derive import hardware, memory, plan, sharding
from neuron_api.derive.architecture import from_megatron
from neuron_api.derive.plan import TrainingPlan, derive
from neuron_api.findings.finding import errors_of
from neuron_api.findings.registry import ENTRIES
from neuron_api.loading import yaml_text
from neuron_api.loading.loader import Loaded, load_object, load_text
from neuron_api.platform.instances import INSTANCE_TYPES
from neuron_api.platform.topology import Topology
from neuron_api.resource.accelerator import Accelerator
from neuron_api.schema.key_path import all_paths

Tree = dict[str, Any]
SMALL = st.integers(1, 6)
POWERS = st.sampled_from([1, 2, 4, 8])

bounded = settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])


# ---- generated configurations -------------------------------------------------------------------------------------


@st.composite
def configurations(draw: st.DrawFn) -> Tree:
    """A configuration that is right by construction: sizes are multiplied up, never divided down."""
    tensor, pipeline, context, data = draw(POWERS), draw(SMALL), draw(st.sampled_from([1, 2])), draw(SMALL)
    micro, batches = draw(SMALL), draw(SMALL)
    world = tensor * pipeline * context * data
    nodes = draw(st.sampled_from([n for n in (1, 2, 3, 4) if world % n == 0]))
    kv_heads, group = draw(st.sampled_from([1, 2, 4, 8])), draw(st.sampled_from([8, 16]))
    heads, every = kv_heads * group, draw(st.integers(0, 50))
    layers = pipeline * draw(SMALL)
    length = 8 * tensor * context * draw(SMALL)
    return {
        "name": draw(st.from_regex(r"[a-z][a-z0-9._-]{0,20}", fullmatch=True)),
        "model_source": "megatron",
        "seed": draw(st.integers(1, 2**31)),
        "trainer": {"devices": world // nodes, "num_nodes": nodes, "max_steps": draw(st.integers(1, 10_000))},
        "exp_manager": {
            "checkpoint_callback_params": {"every_n_train_steps": every, "save_top_k": draw(st.integers(-1, 3))}
        },
        "distributed_strategy": {
            "tensor_model_parallel_size": tensor,
            "pipeline_model_parallel_size": pipeline,
            "context_parallel_size": context,
            "zero1": draw(st.booleans()),
            "sequence_parallel": draw(st.booleans()),
        },
        "data": {
            "micro_batch_size": micro,
            "global_batch_size": micro * data * batches,
            "data_prefix": draw(st.sampled_from(["/fsx/a", ["/fsx/a"], [0.5, "/fsx/a", 1.0, "/fsx/b"]])),
            "tokenizer": {"type": "/fsx/tokenizer"},
        },
        "model": {
            "encoder_seq_length": length,
            "num_layers": layers,
            "hidden_size": heads * draw(st.sampled_from([8, 64])),
            "ffn_hidden_size": tensor * draw(st.integers(1, 500)),
            "num_attention_heads": heads,
            "num_kv_heads": kv_heads,
            "qkv_linear": draw(st.booleans()),
            "fusions": {"ring_attention": context > 1, "flash_attention": context == 1 and draw(st.booleans())},
            "activations_checkpoint_granularity": draw(st.sampled_from([None, "full", "selective"])),
            "optim": {
                "name": draw(st.sampled_from(["adamw", "adamw_fp32OptState", "sgd", "adafactor"])),
                "lr": draw(st.floats(1e-8, 1.0)),
            },
        },
        "precision": {"type": draw(st.sampled_from(["mixed_precision", "bf16SR", "fp32", "autocast"]))},
    }


def accepted(tree: Tree) -> tuple[Loaded, TrainingConfig]:
    loaded = load_object(tree)
    assert loaded.errors == ()
    assert loaded.config is not None
    return loaded, loaded.config


def planned(config: TrainingConfig) -> TrainingPlan:
    return derive(config, hardware.from_config(config, Accelerator.CPU, None), from_megatron(config, 32_000))


def sizes_of(text: Any) -> list[int]:
    """`3x2,4x1` as 3, 3, 4."""
    runs = [tuple(map(int, run.split("x"))) for run in str(text).split(",")]
    return [size for size, count in runs for _ in range(count)]


# ---- identities ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
@bounded
@given(configurations())
def test_parallel_sizes_multiply_to_the_world_and_batches_to_the_global_batch(tree: Tree) -> None:
    _, config = accepted(tree)
    c: Any = planned(config).columns
    assert c["dp"] * c["tp"] * c["pp"] * c["cp"] == c["world"] == c["devices"] * c["num_nodes"]
    assert c["num_microbatches"] * c["micro"] * c["dp"] == c["global"]
    assert c["total_samples"] == c["max_steps"] * c["global"]


@pytest.mark.slow
@bounded
@given(configurations())
def test_layers_heads_and_saves_come_out(tree: Tree) -> None:
    _, config = accepted(tree)
    c: Any = planned(config).columns
    layers = sizes_of(c["layers_per_stage"])
    assert (sum(layers), len(layers)) == (c["layers"], c["pp"])
    assert min(layers) >= 1
    assert c["kv_heads"] * c["kv_rep_effective"] % c["tp"] == 0
    saves, every = c["saves_before_end"], c["save_every"]
    if every and config.exp_manager.checkpoint_callback_params.save_top_k:
        assert saves * every <= c["max_steps"] < (saves + 1) * every
    else:
        assert saves == 0


@given(st.integers(1, 60), st.integers(1, 70))
def test_saves_are_those_that_fit(most: int, every: int) -> None:
    saves = plan.saves_before_end(most, every)
    assert saves is not None
    assert saves * every <= most < (saves + 1) * every


@given(st.integers(1, 200), st.integers(1, 40), st.integers(1, 4))
@example(80, 4, 1)
@example(126, 32, 1)
def test_more_layers_than_divide_evenly_are_in_the_last_blocks(layers: int, pipeline: int, virtual: int) -> None:
    assume(layers >= pipeline * virtual)
    blocks = sharding.block_sizes(layers, pipeline * virtual)
    found = sharding.layers_per_stage(layers, pipeline, virtual)
    assert blocks is not None
    assert found is not None
    rest = layers % len(blocks)
    assert [size - layers // len(blocks) for size in blocks] == [0] * (len(blocks) - rest) + [1] * rest
    assert (sum(found), len(found)) == (layers, pipeline)
    assert sizes_of(sharding.run_lengths(found)) == list(found)


@pytest.mark.slow
@bounded
@given(configurations(), st.data())
def test_cuts_are_followed_stage_for_stage(tree: Tree, data: st.DataObject) -> None:
    pipeline = tree["distributed_strategy"]["pipeline_model_parallel_size"]
    wanted = data.draw(st.lists(st.integers(1, 5), min_size=pipeline, max_size=pipeline))
    ends = [sum(wanted[: stage + 1]) - 1 for stage in range(pipeline - 1)]
    cuts = [f"model.layers.{end}" for end in ends]
    model = {**tree["model"], "num_layers": sum(wanted), "pipeline_cuts": cuts or None}
    _, config = accepted({**tree, "model": model})
    assert sizes_of(planned(config).columns["layers_per_stage"]) == wanted


@pytest.mark.slow
@bounded
@given(configurations(), st.sampled_from(sorted(INSTANCE_TYPES)), st.sampled_from([None, 1, 2]))
def test_a_node_holds_its_processes_and_asks_for_the_chips_they_touch(tree: Tree, name: str, lnc: int | None) -> None:
    _, config = accepted({**tree, "trainer": {**tree["trainer"], "lnc": lnc}})
    plan = derive(config, hardware.from_config(config, Accelerator.NEURON, name), None)
    instance, count = INSTANCE_TYPES[name], config.trainer.devices
    if plan.devices is None:
        assert errors_of(plan.findings)
        return
    taken = plan.devices.lnc or 0
    assert taken == (lnc or instance.default_lnc)
    assert count <= instance.logical_cores(taken)
    assert plan.devices.neuron == ceil(count * taken / instance.cores_per_chip) <= instance.chips


# ---- one mistake in a right configuration -------------------------------------------------------------------------


@pytest.mark.slow
@bounded
@given(configurations(), st.integers(1, 4096))
def test_a_batch_that_does_not_divide_is_an_error_and_no_other_is(tree: Tree, batch: int) -> None:
    micro = tree["data"]["micro_batch_size"]
    loaded = load_object({**tree, "data": {**tree["data"], "global_batch_size": batch}})
    assert loaded.config is not None
    step = micro * Topology.from_config(loaded.config).data_parallel
    assert {finding.code for finding in loaded.errors} == (set() if batch % step == 0 else {"NTJ-2302"})


@pytest.mark.slow
@bounded
@given(configurations(), st.integers(1, 64))
def test_a_world_that_does_not_divide_is_an_error(tree: Tree, devices: int) -> None:
    loaded = load_object({**tree, "trainer": {**tree["trainer"], "devices": devices}})
    strategy = tree["distributed_strategy"]
    parts = (
        strategy["tensor_model_parallel_size"]
        * strategy["pipeline_model_parallel_size"]
        * strategy["context_parallel_size"]
    )
    codes = {finding.code for finding in loaded.errors}
    assert ("NTJ-2301" in codes) is (devices * tree["trainer"]["num_nodes"] % parts != 0)
    assert codes <= {"NTJ-2301", "NTJ-2302"}


# ---- memory -------------------------------------------------------------------------------------------------------


def memory_of(tree: Tree) -> Any:
    _, config = accepted(tree)
    model = from_megatron(config, 32_000)
    assert model is not None
    return memory.process_memory(config, Topology.from_config(config), model, is_native=True)


@pytest.mark.slow
@bounded
@given(configurations(), st.integers(1, 3), st.integers(1, 3))
def test_a_larger_model_never_needs_less(tree: Tree, deeper: int, wider: int) -> None:
    strategy = tree["distributed_strategy"]
    model = dict(tree["model"])
    model["num_layers"] += deeper * strategy["pipeline_model_parallel_size"]
    model["hidden_size"] *= wider
    model["ffn_hidden_size"] *= wider
    smaller, larger = memory_of(tree), memory_of({**tree, "model": model})
    for part in ("parameters", "weights", "gradients", "masters", "optimizer_state", "activations", "total"):
        assert getattr(larger, part) >= getattr(smaller, part), part


@pytest.mark.slow
@bounded
@given(configurations())
def test_zero1_never_needs_more_and_recompute_keeps_less(tree: Tree) -> None:
    strategy, model = tree["distributed_strategy"], tree["model"]
    without, sharded = (memory_of({**tree, "distributed_strategy": {**strategy, "zero1": on}}) for on in (False, True))
    assert sharded.optimizer_state <= without.optimizer_state
    assert sharded.masters <= without.masters
    assert sharded.total <= without.total
    kept = [
        memory_of({**tree, "model": {**model, "activations_checkpoint_granularity": granularity}}).activations
        for granularity in ("full", "selective", None)
    ]
    assert max(kept[:2]) <= kept[2]


OWN = st.dictionaries(
    st.text("abc", min_size=1),
    st.recursive(
        st.integers() | st.floats(-9, 9) | st.booleans() | st.text("ab"),
        lambda inner: st.lists(inner) | st.dictionaries(st.text("xyz", min_size=1), inner),
    ),
)
"""Keys that the document does not have, and their values."""


# ---- one hash -----------------------------------------------------------------------------------------------------


def shuffled(value: Any, draw: st.DrawFn) -> Any:
    if isinstance(value, dict):
        return {key: shuffled(value[key], draw) for key in draw(st.permutations(list(value)))}
    return [shuffled(item, draw) for item in value] if isinstance(value, list) else value


def stored(value: Any) -> Any:
    """As the API server gives it back: JSON without the difference of 1.0 and 1."""
    if isinstance(value, dict):
        return {key: stored(item) for key, item in sorted(value.items())}
    if isinstance(value, list):
        return [stored(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


@pytest.mark.slow
@bounded
@given(configurations(), st.data(), OWN)
def test_the_hash_is_the_same_in_text_and_object_whatever_the_order(tree: Tree, data: st.DataObject, own: Any) -> None:
    tree["data"] |= {f"our_own_{key}": value for key, value in own.items()}
    loaded = load_object(tree)
    assume(not loaded.errors)  # an integer of more than 64 bits
    again = shuffled(tree, data.draw)
    assert load_text(yaml_text.dump(again)).hash == loaded.hash != ""
    assert load_object(stored(json.loads(json.dumps(again)))).hash == loaded.hash


@pytest.mark.slow
@bounded
@given(configurations(), st.sampled_from(["seed", "trainer.max_steps", "model.optim.lr", "data.global_batch_size"]))
def test_another_value_is_another_hash(tree: Tree, key: str) -> None:
    loaded, _ = accepted(tree)
    value = load_object(tree, [f"{key}={2 * number_at(tree, key)}"])
    assert value.hash != loaded.hash
    assert load_object(tree, [f"{key}={number_at(tree, key)}"]).hash == loaded.hash


def number_at(tree: Any, key: str) -> Any:
    for part in key.split("."):
        tree = tree[part]
    return tree


# ---- overrides ----------------------------------------------------------------------------------------------------

BASE = (Path(__file__).parents[2] / "data" / "configs" / "megatron_llama_7B_config.yaml").read_text()
KEYS = [path for path, info in all_paths() if "." in path and not path.startswith("fusions")]
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 5000),
    st.floats(allow_nan=False, allow_infinity=False, width=16),
    st.sampled_from(["adamw", "mixed_precision", "some text", "1.0", "${seed}", "${trainer.max_steps}", "a: b", "#x"]),
    st.lists(st.sampled_from(["CoreAttention", 0.5, 1, "/fsx/x"]), max_size=4),
)


def with_value(tree: Mapping[str, Any], key: str, value: Any) -> Tree:
    name, _, below = key.partition(".")
    inner = tree.get(name)
    return {**tree, name: with_value(inner if isinstance(inner, dict) else {}, below, value) if below else value}


@pytest.mark.slow
@settings(max_examples=150)
@given(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=4))
def test_an_override_is_the_same_as_an_edit(changes: dict[str, Any]) -> None:
    assume(not any(other.startswith(f"{key}.") for key in changes for other in changes))
    tree = yaml_text.parse(BASE).value
    overrides = []
    for key, value in changes.items():
        tree = with_value(tree, key, value)
        overrides.append(f"{key}={written(value)}")
    by_override, by_edit = load_text(BASE, overrides), load_object(tree)
    assert by_override.resolved == by_edit.resolved
    assert by_override.hash == by_edit.hash
    told = [sorted((f.key, f.code, f.message) for f in loaded.findings) for loaded in (by_override, by_edit)]
    assert told[0] == told[1]
    assert all(finding.code in ENTRIES for finding in by_edit.findings)


def written(value: Any) -> str:
    """In one line of YAML."""
    return yaml_text.dump({"v": value}).removeprefix("v:").strip() if not isinstance(value, list) else json.dumps(value)
