"""A double of the parts of neuronx-distributed that the backend `xla` calls: release 2.29's names and signatures.

It enforces what that release's source and the NKI documentation say of shapes, layouts, dtypes and sizes
(docs/reference/upstream-facts.md#nki-attention) and computes by plain PyTorch. It proves that the calls are legal and
what they mean; it does not prove that a kernel compiles, its numbers in bf16, nor its time.
"""

import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from types import ModuleType, SimpleNamespace
from typing import Any, Final
from unittest import mock

import torch
import torch.distributed as dist
from torch import Tensor

CALLS: Final[list[tuple[str, tuple[int, ...], torch.dtype, Any]]] = []
"""Each call of a kernel: its name, the shape and dtype of its queries, and lnc or the rank."""
TARGET = "trn1"
"""The platform that `torch_neuronx` says it is on."""
_PARTITIONS: Final = 128
_RING: Final = 1024


class hardware(Enum):  # NxD's name
    TRN1 = "trn1"
    TRN2 = "trn2"


def nki_flash_attn_func(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    lnc: int = 1,
    dropout_p: float = 0.0,
    softmax_scale: float | None = None,
    causal: bool = True,
    mixed_precision: bool = True,
    seed: Tensor | None = None,
    hardware_type: hardware | None = None,
    transpose_nki_inputs: bool = True,
) -> Tensor:
    """[B, heads, D, S], or [B, heads, S, D] where the kernel's wrapper transposes them, to [B, heads, S, D]."""
    CALLS.append(("flash", tuple(q.shape), q.dtype, lnc))
    if transpose_nki_inputs:
        q, k, v = (states.transpose(2, 3) for states in (q, k, v))
    length, heads = q.shape[2], q.shape[1]
    if length % 2048:
        raise NotImplementedError("Only support sequence as multiples of 2K")
    assert lnc == 1 or (hardware_type or hardware(TARGET)) is not hardware.TRN1, "lnc > 1 is not supported on trn1"
    assert lnc in {1, 2}
    assert heads % lnc == 0, "a launch grid of heads // lnc"
    assert (dropout_p, seed) == (0.0, None), "no dropout is asked of it"
    _check(q, k, v, mixed_precision)
    return _attention(q, k, v, 0, softmax_scale, is_causal=causal)


def nki_ring_attn_func(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    rank_id: int,
    src_tgt_pairs: list[tuple[int, int]],
    dropout_p: float = 0.0,
    softmax_scale: float | None = None,
    causal: bool = True,
    mixed_precision: bool = True,
    seed: Tensor | None = None,
) -> Tensor:
    """[B, heads, S/CP, D] of a process's part to the same, over the keys of all processes of the ring."""
    CALLS.append(("ring", tuple(q.shape), q.dtype, rank_id))
    if q.shape[2] % _RING:
        raise NotImplementedError(f"Only support sequence as multiples of 1K, got {q.shape[2]}")
    assert isinstance(rank_id, int), "a number, not a tensor"
    assert rank_id == dist.get_rank()
    assert (dropout_p, seed) == (0.0, None), "no dropout is asked of it"
    _check(q, k, v, mixed_precision)
    sources, targets = ([pair[end] for pair in src_tgt_pairs] for end in (0, 1))
    assert sorted(sources) == sorted(targets)
    assert [*targets[-1:], *targets[:-1]] == sources, "each one's target is the next source"
    assert len(sources) == dist.get_world_size(), "the double's ring is all processes"
    keys, values = (_Gathered.apply(states) for states in (k, v))
    return _attention(q, keys, values, sources.index(rank_id) * q.shape[2], softmax_scale, is_causal=causal)


class CollectivesConfig:
    """Whom each rank of a group sends to."""

    def __init__(self, replica_groups: list[list[int]]) -> None:
        self.rank_src_tgt_pairs = {
            rank: list(zip(group, [*group[1:], *group[:1]], strict=True)) for group in replica_groups for rank in group
        }


def initialize_model_parallel(
    tensor_model_parallel_size: int = 1,
    pipeline_model_parallel_size: int = 1,
    context_parallel_size: int = 1,
    expert_model_parallel_size: int = 1,
    skip_collective_init: bool = False,
    lnc_size: int = 1,
    mesh_only: bool = False,
) -> SimpleNamespace:
    """The groups of tensor parallelism alone: on Trn1 those of 4 have a quarter of a node between their ranks."""
    assert mesh_only, "no process group is made"
    assert not skip_collective_init
    assert lnc_size == 1
    world, tensor = dist.get_world_size(), tensor_model_parallel_size
    assert world % (tensor * pipeline_model_parallel_size * context_parallel_size) == 0
    ranks = torch.arange(world)
    if tensor == 4 and TARGET == "trn1":
        if expert_model_parallel_size > 1:
            raise NotImplementedError("TP=4 case not yet implemented for expert parallelism")
        node = 32
        if context_parallel_size > 1 or world // (pipeline_model_parallel_size * tensor) < node // tensor:
            raise RuntimeError("shape is invalid for input of this size")
        ranks = ranks.view(-1, tensor, node // tensor).transpose(1, 2)
    return SimpleNamespace(tp_groups=ranks.reshape(-1, tensor).tolist())


@contextmanager
def installed(target: str = "trn1") -> Iterator[list[tuple[str, tuple[int, ...], torch.dtype, Any]]]:
    """Its modules can be imported inside, on a platform; gives the calls of kernels."""
    CALLS.clear()
    packages = {
        "neuronx_distributed": {},
        "neuronx_distributed.kernels": {},
        "neuronx_distributed.kernels.flash_attn": {"nki_flash_attn_func": nki_flash_attn_func},
        "neuronx_distributed.kernels.ring_attention_kernel": {"nki_ring_attn_func": nki_ring_attn_func},
        "neuronx_distributed.parallel_layers": {},
        "neuronx_distributed.parallel_layers.parallel_state": {
            "CollectivesConfig": CollectivesConfig,
            "initialize_model_parallel": initialize_model_parallel,
        },
        "neuronx_distributed.utils": {},
        "neuronx_distributed.utils.utils": {"hardware": hardware},
        "torch_neuronx": {},
        "torch_neuronx.utils": {"get_platform_target": lambda: TARGET},
    }
    modules = {name: _module(name, content) for name, content in packages.items()}
    with mock.patch.dict(sys.modules, modules), mock.patch(f"{__name__}.TARGET", target):
        yield CALLS


def _module(name: str, content: dict[str, Any]) -> ModuleType:
    module = ModuleType(name)
    vars(module).update(content, __path__=[], __spec__=SimpleNamespace(name=name))
    return module


class _Gathered(torch.autograd.Function):
    """The parts of all processes, one after the other; a part's gradient is the sum of all."""

    @staticmethod
    def forward(_: Any, part: Tensor) -> Tensor:
        parts = [torch.empty_like(part) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, part.contiguous())
        return torch.cat(parts, dim=2)

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        total = gradient.contiguous()
        dist.all_reduce(total)
        return total.chunk(dist.get_world_size(), dim=2)[dist.get_rank()]


def _check(q: Tensor, k: Tensor, v: Tensor, mixed_precision: bool) -> None:
    """What both kernels say of their inputs: one dtype, a key head for each query head, heads of 128 at most."""
    assert q.shape == k.shape == v.shape, (q.shape, k.shape, v.shape)
    assert q.dtype == k.dtype == v.dtype, (q.dtype, k.dtype, v.dtype)
    assert q.dtype in {torch.float32, torch.bfloat16}
    assert q.shape[3] <= _PARTITIONS
    assert mixed_precision is (q.dtype == torch.bfloat16), "products in bf16 would change the numbers of fp32"


def _attention(q: Tensor, k: Tensor, v: Tensor, first: int, scale: float | None, *, is_causal: bool) -> Tensor:
    """softmax(QK^T scale) V; the queries begin at token `first`."""
    scores = (q @ k.transpose(2, 3)).float() * (scale or 1 / math.sqrt(q.shape[3]))
    if is_causal:
        places = torch.arange(k.shape[2], device=q.device)
        scores = scores.masked_fill(places > places[: q.shape[2], None] + first, -torch.inf)
    return scores.softmax(-1).to(v.dtype) @ v
