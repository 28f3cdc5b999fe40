"""What the keys of `distributed_strategy` mean for one process: its shards, states, activations, layers and groups."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from . import families, ranks
from .ranks import GLOO_TIMEOUT
from .splits import Split
from .tiny import MODEL, SEQUENCE

pytestmark = pytest.mark.distributed

WORLD = 4
CUTS = ["model.layers.0", "model.layers.2", "model.layers.3"]
Of = dict[str, Any]
"""What a process tells, by split."""


def _shards(module: Any, backend: Any, _: Any) -> Of:
    found = {one.name: [list(one.shape), list(one.leaf.shape)] for one in backend.parameters()}
    return {"shards": {name.removeprefix("model."): shapes for name, shapes in found.items()}}


def _states(module: Any, backend: Any, typed: Any) -> Of:
    from neuron_trainer import optim

    optimizer = optim.for_run(typed, backend.parameters())
    _step(backend, optimizer)
    return {"states": sum(one.nbytes for state in optimizer.state.values() for one in state.values() if one.ndim)}


def _activations(module: Any, backend: Any, _: Any) -> Of:
    seen: list[list[int]] = []
    module.get_submodule("model.layers.1").register_forward_pre_hook(lambda _, given: seen.append(list(given[0].shape)))
    backend.accumulate(families._batch(0, backend.share, False))
    return {"activations": seen[0]}


def _copies(module: Any, backend: Any, typed: Any) -> Of:
    """Whether all processes have the same key/value weights, bit for bit, when they have moved."""
    import torch
    import torch.distributed as dist

    from neuron_trainer import optim

    optimizer = optim.for_run(typed, backend.parameters())
    copied = [one.leaf for one in backend.parameters() if "k_proj" in one.name or "v_proj" in one.name]
    before = [leaf.detach().clone() for leaf in copied]
    for step in range(3):
        _step(backend, optimizer, step)
    moved = all(not torch.equal(one, leaf) for one, leaf in zip(before, copied, strict=True))
    flat = torch.cat([leaf.detach().flatten() for leaf in copied])
    each = [torch.empty_like(flat) for _ in range(dist.get_world_size())]
    dist.all_gather(each, flat)
    return {"moved": moved, "equal": all(torch.equal(each[0], other) for other in each)}


def _nothing(*_: Any) -> Of:
    return {}


def _layers(module: Any, backend: Any, _: Any) -> Of:
    """Of each block, the numbers of its layers."""
    blocks = [module] if hasattr(module, "model") else list(module)
    return {"layers": [[name for name, _ in block.model.layers.named_children()] for block in blocks]}


def _order(module: Any, backend: Any, typed: Any) -> Of:
    """Forward and backward passes of one step: what, block, micro-batch."""
    from torch.distributed.pipelining import PipelineStage

    done: list[tuple[str, int, int]] = []

    def noting(what: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(stage: Any, number: int, *given: Any, **named: Any) -> Any:
            done.append((what, stage.stage_index, number))
            return method(stage, number, *given, **named)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for what, name in (("F", "forward_one_chunk"), ("B", "backward_one_chunk")):
            patch.setattr(PipelineStage, name, noting(what, getattr(PipelineStage, name)))
        backend.accumulate(families._batch(0, backend.share, False))
    return {"order": done}


def _step(backend: Any, optimizer: Any, step: int = 0) -> None:
    from neuron_trainer.loop.step import Gradients

    Gradients(backend, 1.0).compute(families._batch(step, backend.share, False))
    optimizer.step()
    backend.end_step(step + 1)


Look = Callable[[Any, Any, Any], Of]
CASES: Mapping[str, tuple[Split, Look, dict[str, Any]]] = {
    "tensor 1": (Split(4), _shards, {}),
    "tensor 2": (Split(4, tensor=2), _shards, {}),
    "tensor 4": (Split(4, tensor=4), _shards, {}),
    "zero1": (Split(4, zero1=True), _states, {}),
    "no zero1": (Split(4), _states, {}),
    "sequence": (Split(4, tensor=2, sequence=True), _activations, {}),
    "no sequence": (Split(4, tensor=2), _activations, {}),
    "context": (Split(4, context=2, tensor=2, sequence=True), _activations, {}),
    "copies": (Split(4, tensor=4, copies=2, sequence=True), _copies, {}),
    "groups": (Split(4, tensor=2), _nothing, {}),
    "groups, compressed": (Split(4, tensor=2), _nothing, {"neuron_experimental_compress_rg": True}),
    "groups, not compressed": (Split(4, tensor=2), _nothing, {"neuron_experimental_compress_rg": False}),
    "pipeline 4": (Split(4, pipeline=4, layers=4), _layers, {}),
    "pipeline 4, 5 layers": (Split(4, pipeline=4, layers=5), _layers, {}),
    "pipeline 4, cuts": (Split(4, pipeline=4, layers=5), _layers, {"model__pipeline_cuts": CUTS}),
    "pipeline 2, virtual 2": (Split(4, pipeline=2, virtual=2, layers=4, tensor=2), _layers, {}),
    "order": (Split(4, pipeline=4, layers=4), _order, {}),
    "order, virtual 2": (Split(4, pipeline=2, virtual=2, layers=4, tensor=2), _order, {}),
}  # fmt: skip


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> list[Of]:
    """By rank and case."""
    folder = tmp_path_factory.mktemp("holds")
    ranks.run(_rank, WORLD, folder)
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(WORLD)]


def _rank(rank: int, world: int, folder: Path) -> None:
    import torch
    import torch.distributed as dist

    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=world, timeout=GLOO_TIMEOUT)
    found = {}
    for name, case in CASES.items():
        with ranks.groups_of_one_run():
            found[name] = _look(*case, folder / str(rank))
    dist.destroy_process_group()
    (folder / f"{rank}.json").write_text(json.dumps(found))


def _look(split: Split, look: Look, changes: dict[str, Any], folder: Path) -> Of:
    import torch
    import torch.distributed as dist

    from neuron_api.platform.topology import Topology
    from neuron_trainer import parallel

    typed = families._config("llama", split, folder)
    top = {key: value for key, value in changes.items() if "__" not in key}
    model = {key.partition("__")[2]: value for key, value in changes.items() if "__" in key}
    typed = typed.model_copy(update={**top, "model": typed.model.model_copy(update=model)})
    known = dist.distributed_c10d._world.pg_map
    before = set(known)
    backend = parallel.create(typed, Topology.from_config(typed, split.world), torch.device("cpu"))
    module = backend.build(families._family("llama", typed))
    made = [dist.get_process_group_ranks(one) for one in known if one not in before]
    return {"groups": made, **look(module, backend, typed)}


@pytest.mark.parametrize("size", [1, 2, 4])
def test_a_tensor_parallel_process_has_its_share_of_the_rows(size: int, told: list[Of]) -> None:
    for of_rank in told:
        shards = of_rank[f"tensor {size}"]["shards"]
        for name in ("embed_tokens.weight", "layers.0.self_attn.q_proj.weight", "layers.1.mlp.up_proj.weight"):
            whole, own = shards[name]
            assert own == [whole[0] // size, whole[1]], name
        for name in ("layers.0.self_attn.o_proj.weight", "layers.1.mlp.down_proj.weight"):
            whole, own = shards[name]
            assert own == [whole[0], whole[1] // size], name
        whole, own = shards["layers.0.input_layernorm.weight"]
        assert own == whole


def test_zero1_divides_the_optimizers_states_over_the_data_parallel_processes(told: list[Of]) -> None:
    whole = {of_rank["no zero1"]["states"] for of_rank in told}
    assert len(whole) == 1
    own = [of_rank["zero1"]["states"] for of_rank in told]
    assert sum(own) == whole.pop()
    assert max(own) < 1.1 * sum(own) / WORLD


def test_activations_between_blocks_are_a_part_of_the_sequence(told: list[Of]) -> None:
    rows, width = 2, MODEL["hidden_size"]
    for of_rank in told:
        assert of_rank["no sequence"]["activations"] == [rows, SEQUENCE, width]
        assert of_rank["sequence"]["activations"] == [rows, SEQUENCE // 2, width]
        assert of_rank["context"]["activations"] == [rows, SEQUENCE // 4, width]


def test_copies_of_key_and_value_heads_stay_equal_while_they_are_trained(told: list[Of]) -> None:
    assert all(of_rank["copies"]["moved"] and of_rank["copies"]["equal"] for of_rank in told)


@pytest.mark.parametrize("case", ["groups", "groups, compressed", "groups, not compressed"])
def test_a_process_makes_only_the_groups_that_it_belongs_to(case: str, told: list[Of]) -> None:
    """Upstream makes all of them on every process, unless it is told not to."""
    tensor = [[0, 1], [0, 1], [2, 3], [2, 3]]
    for rank, of_rank in enumerate(told):
        groups = of_rank[case]["groups"]
        assert all(rank in group for group in groups)
        assert groups.count(tensor[rank]) == 1


def test_a_pipeline_stage_has_the_layers_of_the_rule(told: list[Of]) -> None:
    def of(case: str) -> list[Any]:
        return [of_rank[case]["layers"] for of_rank in told]

    assert of("pipeline 4") == [[["0"]], [["1"]], [["2"]], [["3"]]]
    assert of("pipeline 4, 5 layers") == [[["0"]], [["1"]], [["2"]], [["3", "4"]]], "the last ones get one more"
    assert of("pipeline 4, cuts") == [[["0"]], [["1", "2"]], [["3"]], [["4"]]], "a cut is the last of its stage"
    assert of("pipeline 2, virtual 2") == [[["0"], ["2"]]] * 2 + [[["1"], ["3"]]] * 2


def test_passes_of_a_stage_are_in_the_order_of_1f1b(told: list[Of]) -> None:
    """B-7: min(PP - 1 - p, M) forward passes, then one and one, then the remaining backward ones."""
    for stage, of_rank in enumerate(told):
        micro_batches, warm = 4, WORLD - 1 - stage
        wanted = [["F", stage, n] for n in range(warm)]
        for n in range(micro_batches - warm):
            wanted += [["F", stage, warm + n], ["B", stage, n]]
        wanted += [["B", stage, n] for n in range(micro_batches - warm, micro_batches)]
        assert of_rank["order"]["order"] == wanted


def test_passes_of_an_interleaved_stage_are_in_the_order_of_its_table(told: list[Of]) -> None:
    """B-7: micro-step k works on chunk (k // PP) % VPP, and the backward passes on the chunks the other way round."""
    stages, chunks, micro_batches = 2, 2, 4
    total = micro_batches * chunks

    def step(what: str, k: int, stage: int) -> list[Any]:
        chunk = (k // stages) % chunks
        chunk = chunk if what == "F" else chunks - 1 - chunk
        return [what, chunk * stages + stage, k // (stages * chunks) * stages + k % stages]

    for rank, of_rank in enumerate(told):
        stage = rank // 2
        warm = min(2 * (stages - stage - 1) + (chunks - 1) * stages, total)
        wanted = [step("F", k, stage) for k in range(warm)]
        for k in range(total - warm):
            wanted += [step("F", warm + k, stage), step("B", k, stage)]
        wanted += [step("B", k, stage) for k in range(total - warm, total)]
        assert of_rank["order, virtual 2"]["order"] == wanted
