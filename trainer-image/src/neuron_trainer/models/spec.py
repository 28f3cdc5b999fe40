"""What a family is: one `FamilySpec` in the `family` module of each folder of this package.

`Part` and `Prediction` are what every family's model takes and returns. Where a sample has several documents a model is
also given, if they matter: `positions`, int64 [B, part.length], of its tokens, in place of those that follow from the
part; `documents`, int64 [B, total], a number for each token of the whole sample, different where tokens must not see
each other.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from neuron_api.config import ModelConfig

from .roles import Role


@dataclass(frozen=True, slots=True)
class Part:
    """Consecutive tokens of a sample: all of them, or a context-parallel share."""

    start: int
    """Position of the first one."""
    length: int
    total: int
    """Tokens of the whole sample."""

    @classmethod
    def whole(cls, length: int) -> "Part":
        """Every token."""
        return cls(0, length, length)

    def cut(self, rows: Tensor) -> Tensor:
        """[B, total, ...] to [B, length, ...]."""
        return rows if self.length == self.total else rows[:, self.start : self.start + self.length]


class Prediction(NamedTuple):
    """Of one micro-batch."""

    logits: Tensor
    """[B, S, V] in the compute dtype; of a part of the model, the states [B, S, H] for the next part."""
    auxiliary: Tensor
    """Added to the loss: a scalar, fp32, already weighted; of a part of the model, what the next part needs for it."""


class Sizes(Protocol):
    """What every family's config, a dataclass, says."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def vocab_size(self) -> int:
        """Rows of the embedding."""

    @property
    def hidden_size(self) -> int:
        """Width of the model."""

    @property
    def max_sequence(self) -> int | None:
        """Longest sample that the positions reach; None: any."""


class HFTensor(NamedTuple):
    """The tensors that have the numbers of one parameter."""

    names: tuple[str, ...]
    is_stack: bool = False
    """Whether each is a row of ours, which has one dimension more, the first; else it is the one and has our shape."""


@dataclass(frozen=True, slots=True)
class FamilySpec:
    """Everything that the rest of the trainer asks of a family; `config` is what its own `config` module makes."""

    kind: str
    """`model_type` of config.json (`neuron_api.derive.config_json` has its defaults), or `megatron`."""
    model: Callable[[Any], nn.Module]
    """From the config to the module."""
    init_parameter: Callable[[str, torch.Size, Any, int], Tensor]
    """From name, shape, config and seed to the full initial value, fp32 on the CPU."""
    roles: Callable[[Any], Mapping[str, Role]]
    """Module name to role; a module that is not named is replicated."""
    layers: Callable[[Any], list[str]]
    """Names of the repeated layers, in order: units of data-parallel sharding and of `full` recompute."""
    recomputable: tuple[str, ...]
    """Values of `model.activations_checkpoint_recompute`."""
    from_json: Callable[[Mapping[str, Any], ModelConfig | None], Sizes] | None = None
    """From a parsed config.json, its defaults filled in, and the overrides to the config; raises `InputError`.
    None: the model is written out in the section `model`."""
    has_experts: bool = False
    """Whether `model.moe` says something about it."""
    hf_tensor: Callable[[str, Any], HFTensor] | None = None
    """What a parameter is in the files of `transformers`. None: it has no such model."""
    hf_class: str = ""
    """The class of `transformers`; empty: it has none."""
    hf_keys: tuple[str, ...] = ()
    """Fields of the config that its config.json has beside those that every family has."""


def init_parameter(name: str, shape: torch.Size, deviation: float, seed: int) -> Tensor:
    """Return the full parameter `name`, fp32 on the CPU: N(0, deviation) unless it is a norm's or a bias.

    It is drawn from a generator seeded by the run's seed and the name; a backend cuts its shard out of it. So initial
    weights do not depend on how the model is split or in what order it is built.
    """
    if name.endswith("norm.weight"):
        return torch.ones(shape)
    if name.endswith(".bias"):
        return torch.zeros(shape)
    return torch.empty(shape).normal_(0.0, deviation, generator=generator(name, seed))


def generator(name: str, seed: int) -> torch.Generator:
    """Return the random numbers of a parameter: the same for all runs with this seed."""
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big", signed=True))
