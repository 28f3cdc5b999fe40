"""Every model family, tiny, trained for some steps on ranks that share a process group, without loop or data set."""

import tempfile
import traceback
from collections.abc import Callable, Collection, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import yaml

from neuron_api.derive.hardware import NO_COMPILE
from neuron_api.loading.loader import load_text
from pairs import aligned

from . import ranks
from .devices import CPU, Device, rounded_alike, watched
from .splits import LORA_DROPOUT, PACKED, REFERENCES, ROOMY, SPLITS, Split, fits
from .tiny import MODEL, SEQUENCE, VOCABULARY, config
from .variants import SPLITS_OF_VARIANTS, VARIANTS

STEPS = 5
EVALUATIONS = 2
"""Batches that the trained model is evaluated on."""
_CONTENT = ("steps", "evaluated", "weights", "graphs", "definition")
"""Of the result of a run."""
AT_ONCE = 24
"""Runs of one process group: what a failure can take along, and what a new start costs."""
HF: dict[str, dict[str, Any]] = {
    "llama": {"attention_bias": True, "mlp_bias": True},
    "mistral": {"model_type": "mistral", "sliding_window": 7},
    "mixtral": {
        "model_type": "mixtral", "num_local_experts": 4, "num_experts_per_tok": 2, "tie_word_embeddings": True,
        "output_router_logits": True, "router_aux_loss_coef": 0.3,
    },
}  # fmt: skip
"""Changes of the tiny config.json."""
MOE = {"num_experts": 4, "top_k": 2, "router_aux_loss_coef": 0.3}
SECTION: dict[str, dict[str, Any]] = {
    "mixtral, capacity": {"moe": {**MOE, "capacity_factor": 0.75, "frequency": 2}},
    "mixtral, sinkhorn": {"moe": {**MOE, "top_k": 1, "routing_algorithm": "sinkhorn", "capacity_factor": None}},
    ROOMY: {"moe": {**MOE, "capacity_factor": 2.0, "output_router_logits": False}},
}
"""Changes of the section `model` of a Mixtral."""
SIZES = {"num_layers": 2, "hidden_size": 32, "ffn_hidden_size": 64, "num_attention_heads": 4, "num_kv_heads": 2}
GPT = {
    "position_embedding_type": "learned_absolute", "normalization": "layernorm", "activation": "gelu",
    "has_bias": True, "share_embeddings_and_output_weights": True, "fp32_residual_connection": True,
}  # fmt: skip
MEGATRON: dict[str, dict[str, Any]] = {
    "megatron gpt": GPT,
    "megatron gpt, two weights": {**GPT, "share_embeddings_and_output_weights": False},
    "megatron gpt, hidden dropout": {**GPT, "hidden_dropout": 0.3},
    "megatron mistral": {"sliding_window_size": 7, "rotary_percentage": 0.5},
    "megatron mixtral": {"moe": {**MOE, "frequency": 2, "capacity_factor": 0.75}},
    "megatron gpt, documents": GPT,
    "megatron mistral, documents": {"sliding_window_size": 7, "rotary_percentage": 0.5},
    "megatron gpt, experts": {**GPT, "moe": {**MOE, "glu_mlp": False, "capacity_factor": None}},
    "megatron gpt, dpo": GPT,
}
"""The section `model` of Megatron's models."""
ALIGNED: dict[str, dict[str, Any]] = {
    "llama, dpo": {"dpo": {"kl_beta": 0.3, "max_prompt_length": 8}},
    "llama, orpo": {"orpo": {"beta": 0.5, "max_prompt_length": 8}},
    "mixtral, dpo": {"dpo": {"kl_beta": 0.3, "loss_type": "ipo", "max_prompt_length": 8}},
    "mixtral, orpo": {"orpo": {"beta": 0.5, "max_prompt_length": 8}},
    "megatron gpt, dpo": {"dpo": {"kl_beta": 0.3, "loss_type": "hinge", "max_prompt_length": 8}},
}
"""`model_alignment_strategy` of families that are trained on pairs."""
ISOLATED = ("llama, documents", "mixtral, documents")
"""Of a config.json, with packed records that do not see each other (`sft.isolate_records`)."""
_ATTENTION = ["qkv_proj", "o_proj"]
LORA: dict[str, dict[str, Any]] = {
    "llama, lora": {
        "target_modules": [*_ATTENTION, "gate_up_proj", "down_proj", "embed_tokens", "lm_head"],
        "lora_bias": "all",
    },
    "llama, lora of single linears": {"target_modules": ["k_proj", "v_proj", "up_proj"], "lora_bias": "lora_only"},
    LORA_DROPOUT: {"target_modules": ["qkv_proj", "gate_up_proj", "lm_head"], "lora_dropout": 0.3},
    "mixtral, lora": {"target_modules": _ATTENTION},
    "megatron gpt, lora": {"target_modules": ["q_proj", "v_proj", "up_proj", "down_proj", "embed_positions"]},
    "megatron mixtral, lora": {"target_modules": [*_ATTENTION, "embed_tokens"], "lora_bias": "all"},
}
"""The section `peft`, of the model that the name begins with."""
FAMILIES = (*HF, *ISOLATED, *SECTION, *dict.fromkeys([*MEGATRON, *ALIGNED, *LORA]))
EXPERTS = tuple(name for name in FAMILIES if "experts" in name or "mixtral" in name)


RECOMPUTED = {"megatron": ["CoreAttention", "ParallelMLP", "NeuronSwitchMLP"], "mixtral": ["MixtralAttention", "MoE"]}
"""For `selective`, by how a family's name begins; all others are Llamas."""

Run = tuple[str, str]
"""Family and split."""


def every() -> list[Run]:
    """All of the contract: expert parallel for what has experts, dropout only where masks can be the same."""
    return [
        (family, name)
        for name, split in SPLITS.items()
        for family in FAMILIES
        if fits(family, name) and (split.experts == 1 or family in EXPERTS)
    ]


def of_devices() -> list[Run]:
    """All that a device is compared with the CPU in: the contract, one process, optimizers and types of precision."""
    one = [(family, name) for family in FAMILIES for name in REFERENCES]
    return [*one, *every(), *((family, split) for family in VARIANTS for split in SPLITS_OF_VARIANTS)]


def reference(family: str, split: str) -> Run:
    """What a run is compared with: one process; with another optimizer or precision the same split on the CPU."""
    if family in VARIANTS or split in REFERENCES:
        return family, split
    return family, SPLITS[split].reference


def train(folder: Path, runs: Sequence[Run]) -> None:
    """Each run, and what it is compared with; `result` reads what came out. What is in the folder already stays."""
    references = {(family, SPLITS[split].reference) for family, split in runs}
    train_all(folder, references | set(runs))


def train_all(folder: Path, runs: Collection[Run], compiler: str = NO_COMPILE, device: Device = CPU) -> None:
    """Each run of some, compiled or not, on a device; what is in the folder already stays."""
    folder.mkdir(parents=True, exist_ok=True)
    by_world: dict[int, list[Run]] = {}
    for family, split in order(runs):
        if not is_there(folder, family, split):
            by_world.setdefault((REFERENCES | SPLITS)[split].world, []).append((family, split))
    for world, chosen in sorted(by_world.items()):
        for start in range(0, len(chosen), AT_ONCE):
            some = chosen[start : start + AT_ONCE]
            with tempfile.TemporaryDirectory() as meeting:  # a store of ranks that were killed names dead addresses
                ranks.run(_rank, world, device, f"{meeting}/store", folder, some, compiler)


def order(runs: Collection[Run]) -> list[Run]:
    """Runs as they are trained: those of few processes first."""
    return sorted(runs, key=lambda run: ((REFERENCES | SPLITS)[run[1]].world, run))


def train_what_can_be(
    folder: Path, runs: Collection[Run], device: Device = CPU, compiler: str = NO_COMPILE
) -> dict[Run, str]:
    """Each run that can be trained on a device or by a compiler, and what those say that cannot."""
    errors: dict[Run, str] = {}
    while pending := [run for run in order(runs) if run not in errors and not is_there(folder, *run)]:
        try:
            train_all(folder, pending, compiler, device)
        except AssertionError as hung:
            failed = next(run for run in pending if not is_there(folder, *run))
            file = error_file(folder, *failed)
            errors[failed] = file.read_text() if file.exists() else str(hung)
    return errors


def result(folder: Path, family: str, split: str) -> Any:
    """Losses and gradient norms of the steps, then losses without training, and all parameters after them."""
    import torch

    return torch.load(_path(folder, family, split))


def assert_same(found: Any, wanted: Any) -> None:
    """A run has the numbers of another, to 1e-5."""
    import pytest
    import torch

    assert len(found["steps"]) == STEPS
    for (loss, norm, *metrics), one in zip(found["steps"], wanted["steps"], strict=True):
        assert (loss, norm) == pytest.approx(one[:2], rel=1e-5)
        assert metrics == pytest.approx(one[2:], rel=1e-5, abs=1e-5)
    assert found["evaluated"] == pytest.approx(wanted["evaluated"], rel=1e-5)
    assert found["weights"].keys() == wanted["weights"].keys()
    for name, weight in wanted["weights"].items():
        torch.testing.assert_close(found["weights"][name], weight, rtol=1e-5, atol=1e-6, msg=name)


def is_there(folder: Path, family: str, split: str) -> bool:
    """Whether a run has a whole result of what it is today; one of an earlier commit may lack something, or be of
    another configuration. It is trained again."""
    path = _path(folder, family, split)
    if not path.exists():
        return False
    found = result(folder, family, split)
    return set(_CONTENT) <= found.keys() and found["definition"] == _definition(family, (REFERENCES | SPLITS)[split])


def _path(folder: Path, family: str, split: str) -> Path:
    return folder / f"{family} - {split}.pt"


def _rank(rank: int, world: int, device: Device, store: str, folder: Path, runs: Sequence[Run], compiler: str) -> None:
    import torch

    with device.group(rank, world, store) as place:
        for family, split in runs:
            try:
                alike = rounded_alike() if family in VARIANTS else nullcontext()
                watch = watched(place, report_file(folder, family, split, rank))
                with ranks.groups_of_one_run(place), alike, watch as begin:
                    found = _train(family, (REFERENCES | SPLITS)[split], folder, compiler, place, begin)
            except Exception:
                error_file(folder, family, split).write_text(traceback.format_exc())
                raise
            if rank == 0:
                torch.save(found, _path(folder, family, split))


def error_file(folder: Path, family: str, split: str) -> Path:
    """What stopped a run."""
    return folder / f"{family} - {split}.error"


def report_file(folder: Path, family: str, split: str, rank: int) -> Path:
    """What a rank of a run on a device had to wait for."""
    return folder / f"{family} - {split}" / f"rank{rank}.json"


def _train(
    family: str, split: Split, folder: Path, compiler: str, device: Any, begin: Callable[[str], None]
) -> dict[str, Any]:
    import torch.distributed as dist

    from graphs import SETTLED, Graphs
    from neuron_api.platform.topology import Topology
    from neuron_trainer import generators, optim, parallel
    from neuron_trainer.data.loader import to_device
    from neuron_trainer.loop.step import Gradients
    from neuron_trainer.parallel import hosts

    typed, graphs = _config(family, split, folder, compiler), Graphs(is_compiled=compiler != NO_COMPILE)
    generators.seed_generators(typed.seed)
    backend = parallel.create(typed, Topology.from_config(typed, split.world), device)
    model = backend.build(_family(family, typed))
    gradients = Gradients(backend, 0.5)
    optimizer = optim.for_run(typed, backend.parameters())
    steps = []
    for step in range(STEPS):
        graphs.begin_step(step)
        own = batch(family, step, backend.share)
        begin(f"step {step + 1}")
        done = gradients.compute(to_device(own, device))
        optimizer.step()
        backend.end_step(step + 1)
        begin("read")
        steps.append(tuple(one.item() for one in (done.loss, done.gradient_norm, *done.metrics.values())))
    trained = graphs.count()
    begin("evaluate")
    model.eval()
    evaluated = []
    for turn in range(EVALUATIONS):
        graphs.begin_step(SETTLED * turn)  # evaluation has graphs of its own, which the first turn makes
        own = batch(family, STEPS + turn, backend.share)
        outcome = backend.evaluate(to_device(own, device))
        evaluated.append(backend.sum_over_processes(outcome.loss.reshape(1)).item() / split.world)
    local = {parameter.name: ranks.full(parameter).cpu() for parameter in backend.parameters()}
    stages: list[Any] = [None] * split.world
    dist.all_gather_object(stages, local, group=hosts.group())
    counts: list[Any] = [None] * split.world
    dist.all_gather_object(counts, trained, group=hosts.group())
    weights = {name: weight for stage in stages for name, weight in stage.items()}
    definition = _definition(family, split)
    return {"steps": steps, "evaluated": evaluated, "weights": weights, "graphs": counts, "definition": definition}


def _definition(family: str, split: Split) -> str:
    """All that a run is of, but the code."""
    model = {**MODEL, **HF.get(family.partition(",")[0], {})}
    return repr((_values(family, split, Path(), NO_COMPILE), ALIGNED.get(family), model, STEPS, EVALUATIONS))


def _config(family: str, split: Split, folder: Path, compiler: str = NO_COMPILE) -> Any:
    loaded = load_text(yaml.safe_dump(_values(family, split, folder, compiler)))
    assert loaded.config is not None, loaded.findings
    return aligned(loaded.config, **ALIGNED[family]) if family in ALIGNED else loaded.config


def _values(family: str, split: Split, folder: Path, compiler: str) -> dict[str, Any]:
    values = config(
        folder,
        folder,
        trainer__devices=split.world,
        trainer__num_nodes=1,
        trainer__sequential_move_factor=max(1, split.world // 2),  # two turns
        distributed_strategy__tensor_model_parallel_size=split.tensor,
        distributed_strategy__sequence_parallel=split.sequence,
        distributed_strategy__zero1=split.zero1,
        distributed_strategy__context_parallel_size=split.context,
        distributed_strategy__pipeline_model_parallel_size=split.pipeline,
        distributed_strategy__virtual_pipeline_model_parallel_size=split.virtual,
        distributed_strategy__expert_model_parallel_size=split.experts,
        distributed_strategy__token_shuffle_group_size=split.shuffle,
        distributed_strategy__kv_replicator=split.copies,
        model__qkv_linear=split.copies is not None,
        model__fusions={"ring_attention": split.context > 1},
        model__num_layers=split.layers,
        model__compile=compiler,
        model__activations_checkpoint_granularity=split.recompute,
    )
    values["model"] |= SECTION.get(family, {})
    if split.recompute == "selective":
        values["model"]["activations_checkpoint_recompute"] = _recomputed(family)
    if split.experts > 1:
        values["model"].setdefault("moe", {**MOE, "capacity_factor": None})
    model = family.partition(", lora")[0]
    variant = VARIANTS.get(family, {})
    values["model"]["optim"] |= variant.get("optim", {})
    values["precision"] |= variant.get("precision", {})
    if family in LORA:
        values["model_alignment_strategy"] = {
            "peft": {"lora_rank": 3, "lora_alpha": 6, "lora_dropout": 0, **LORA[family]}
        }
        values["data"] |= {"seq_length": SEQUENCE, "train_dir": "unused.jsonl", "tokenizer": {"type": "unused"}}
    if model in MEGATRON:
        del values["model"]["model_config"]
        values["model"] |= {**SIZES, "num_layers": split.layers, "init_method_std": 0.1, **MEGATRON[model]}
        values["model_source"] = "megatron"
        if family not in LORA:
            values["data"]["data_prefix"] = ["unused"]
            del values["data"]["train_dir"]
    return values


def _recomputed(family: str) -> list[str]:
    return next((names for start, names in RECOMPUTED.items() if family.startswith(start)), ["LlamaMLP"])


def _family(name: str, typed: Any) -> Any:
    from neuron_trainer.models.family import Family

    if name.partition(", lora")[0] in MEGATRON:
        return Family.from_config(typed, VOCABULARY)
    return Family.from_json({**MODEL, **HF[name.partition(",")[0]]}, typed)


def batch(family: str, step: int, share: Any) -> dict[str, Any]:
    """A share of the global batch of a step."""
    return pair_batch(step, share) if family in ALIGNED else _batch(step, share, PACKED in family)


def pair_batch(step: int, share: Any) -> dict[str, Any]:
    """8 pairs, of prompts and answers of several lengths, with a reference that is near."""
    import torch

    generator = torch.Generator().manual_seed(step)
    ids = torch.randint(0, VOCABULARY, (8, 2, SEQUENCE), generator=generator)
    begins, ends = (
        torch.randint(1, 12, (8, 2, 1), generator=generator),
        torch.randint(13, 33, (8, 2, 1), generator=generator),
    )
    places = torch.arange(SEQUENCE)
    labels = torch.where((places >= begins) & (places < ends), ids, -100)
    reference = -4.6 * (ends - begins)[..., 0] + torch.randn(8, 2, generator=generator)
    every = {"input_ids": ids, "labels": labels, "reference_log_probs": reference}
    return {name: values.chunk(share.size)[share.rank] for name, values in every.items()}


def _batch(step: int, share: Any, has_documents: bool) -> dict[str, Any]:
    """8 samples, of several documents if wished.

    A data-parallel rank takes neighbours, so that micro-batches have the same samples in every split. The load of
    experts, and what is beyond their capacity, is that of a micro-batch.
    """
    import torch

    generator = torch.Generator().manual_seed(step)
    ids = torch.randint(0, VOCABULARY, (8, SEQUENCE), generator=generator)
    own = ids.chunk(share.size)[share.rank]
    if not has_documents:
        return {"input_ids": own, "labels": own}
    ends = own % 5 == 0
    documents = ends.cumsum(dim=1) - ends.long()
    positions = torch.stack([torch.cat([torch.arange(len(one)) for one in _runs(row)]) for row in documents])
    return {"input_ids": own, "labels": own, "position_ids": positions, "document_ids": documents}


def _runs(row: Any) -> Any:
    """The parts of a row in which a number stays the same."""
    import torch

    return row.split(torch.unique_consecutive(row, return_counts=True)[1].tolist())
