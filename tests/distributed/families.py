"""Every model family, tiny, trained for some steps on ranks that share a process group, without loop or data set."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from neuron_api.loading import load_text

from . import ranks
from .ranks import GLOO_TIMEOUT
from .tiny import MODEL, SEQUENCE, VOCABULARY, config

STEPS = 4
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
    "megatron gpt, experts": {**GPT, "moe": {**MOE, "glu_mlp": False, "capacity_factor": None}},
}
"""The section `model` of Megatron's models."""
FAMILIES = (*HF, *SECTION, *MEGATRON)


@dataclass(frozen=True)
class Split:
    """How the ranks share the work."""

    world: int
    tensor: int = 1
    sequence: bool = False
    zero1: bool = False
    context: int = 1
    pipeline: int = 1

    def families(self) -> list[str]:
        """Those that can be split so: the others are refused before the start (parallel/native/limits.py)."""
        if self.pipeline > 1:
            return ["llama", "mistral", "megatron gpt, two weights", "megatron mistral"]
        return ["llama", "megatron gpt", "megatron gpt, two weights"] if self.context > 1 else list(FAMILIES)


def train(folder: Path, splits: dict[str, Split]) -> None:
    """Each family under each split; `result` reads what came out."""
    for world in sorted({split.world for split in splits.values()}):
        own = {name: split for name, split in splits.items() if split.world == world}
        ranks.run(_rank, world, folder, own)


def result(folder: Path, family: str, split: str) -> Any:
    """Losses and gradient norms of the steps, and all parameters after them."""
    import torch

    return torch.load(folder / f"{family}-{split}.pt")


def _rank(rank: int, world: int, folder: Path, splits: dict[str, Split]) -> None:
    import torch
    import torch.distributed as dist

    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    store = f"file://{folder}/store-{world}"
    dist.init_process_group("gloo", store, rank=rank, world_size=world, timeout=GLOO_TIMEOUT)
    for name, split in splits.items():
        for family in split.families():
            found = _train(family, split, folder)
            if rank == 0:
                torch.save(found, folder / f"{family}-{name}.pt")
    dist.destroy_process_group()


def _train(family: str, split: Split, folder: Path) -> dict[str, Any]:
    import torch
    import torch.distributed as dist

    from neuron_api.topology import Topology
    from neuron_trainer import optim
    from neuron_trainer.checkpoint import rng
    from neuron_trainer.loop.step import Gradients
    from neuron_trainer.parallel.native import NativeBackend

    typed = _config(family, split, folder)
    rng.seed(typed.seed)
    backend = NativeBackend(typed, Topology.of(typed, split.world), torch.device("cpu"))
    backend.build(_family(family, typed))
    gradients = Gradients(backend, 0.5)
    optimizer = optim.of_run(typed, backend.parameters())
    steps = []
    for step in range(STEPS):
        done = gradients.compute(_batch(step, backend.share))
        optimizer.step()
        backend.drop_gradients()
        steps.append((done.loss.item(), done.gradient_norm.item()))
    own = {}
    for one in backend.parameters():
        whole: Any = one.whole.detach()
        own[one.name] = whole.full_tensor() if hasattr(whole, "full_tensor") else whole.clone()
    stages: list[Any] = [None] * split.world
    dist.all_gather_object(stages, own)
    return {"steps": steps, "weights": {name: weight for stage in stages for name, weight in stage.items()}}


def _config(family: str, split: Split, folder: Path) -> Any:
    values = config(
        folder,
        folder,
        trainer__devices=split.world,
        trainer__num_nodes=1,
        distributed_strategy__tensor_model_parallel_size=split.tensor,
        distributed_strategy__sequence_parallel=split.sequence,
        distributed_strategy__zero1=split.zero1,
        distributed_strategy__context_parallel_size=split.context,
        distributed_strategy__pipeline_model_parallel_size=split.pipeline,
        model__fusions={"ring_attention": split.context > 1},
    )
    values["model"] |= SECTION.get(family, {})
    if family in MEGATRON:
        del values["model"]["model_config"]
        values["model"] |= {**SIZES, "init_method_std": 0.1, **MEGATRON[family]}
        values["model_source"] = "megatron"
        values["data"]["data_prefix"] = ["unused"]
        del values["data"]["train_dir"]
    loaded = load_text(yaml.safe_dump(values))
    assert loaded.config is not None, loaded.findings
    return loaded.config


def _family(name: str, typed: Any) -> Any:
    from neuron_trainer.models.family import Family

    if name in MEGATRON:
        return Family.of(typed, VOCABULARY)
    return Family.from_json({**MODEL, **HF[name.partition(",")[0]]}, typed)


def _batch(step: int, share: Any) -> dict[str, Any]:
    """8 samples; a data-parallel rank takes neighbours, so that micro-batches have the same samples in every split.

    The load of experts, and what is beyond their capacity, is that of a micro-batch.
    """
    import torch

    generator = torch.Generator().manual_seed(step)
    ids = torch.randint(0, VOCABULARY, (8, SEQUENCE), generator=generator)
    own = ids.chunk(share.size)[share.rank]
    return {"input_ids": own, "labels": own}
