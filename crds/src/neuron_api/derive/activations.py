"""Bytes of activations of one process: those saved for the backward pass, and the peak on top of them.

The terms are those of the trainer's own modules (models/llama/model.py) with attention that has no score matrix;
docs/design/009-memory-estimate.md derives them and says how they were measured.

Parts of a layer that `activations_checkpoint_*` recomputes in the backward pass (`RecomputeUnit`) are not saved; nor
is, in layers whose weights are frozen (LoRA), what only the gradients of the weights need (`frozen_terms`).
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from neuron_api.config import ModelConfig, PeftConfig

from . import adapters
from .architecture import Architecture
from .parameters import padded_vocabulary
from .sharding import Sharding

_FP32: Final = 4
_ORDER: Final = (
    ("self_attn.qkv_proj", "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    ("self_attn.o_proj",),
    ("mlp.gate_up_proj", "mlp.gate_proj", "mlp.up_proj"),
    ("mlp.down_proj",),
)
"""Targets by the input that they have in common, in the order of the forward pass."""
_UNSAVED: Final = (
    ("norms",),
    ("norms", "core"),
    ("norms", "norms", "core", "mixed"),
    ("norms", "norms", "core", "mixed", "mlp"),
)
"""Terms that the first layer does not save, by its first adapter: nothing before that has a gradient. A norm is half of
the term."""


def frozen_terms(
    full: Mapping[str, int], model: Architecture, split: Sharding, peft: PeftConfig, tokens: int, width: int
) -> dict[str, int]:
    """Return the bytes of saved tensors by origin, of those of a trained layer (`activations`).

    norms:  statistics alone: 4 T H for each
    inputs: of q, k, v and of gate, up where one of them has an adapter; twice with dropout (its mask, its result)
    product: where down has an adapter, with dropout twice
    routed: without the inputs of the rows, which only the gradients of experts need
    adapters: the output of each A, w T r; with dropout on o also twice its input
    """
    chosen = _paths(model, peft)
    copies = 2 if peft.lora_dropout else 1
    inner = width * tokens * peft.lora_rank
    rows = int(width * tokens * model.hidden * _rows_of_token(model, split))
    blocks = sum(any(path in group for path in chosen) for group in (_ORDER[0], _ORDER[2]))
    mixed = full["mixed"] * copies if peft.lora_dropout and "self_attn.o_proj" in chosen else 0
    return {
        **full,
        "norms": full["norms"] * _FP32 // (_FP32 + width),
        "inputs": full["inputs"] // 2 * copies * blocks,
        "product": full["product"] * copies if "mlp.down_proj" in chosen else 0,
        "routed": full["routed"] - rows,
        "attention adapters": mixed + inner * sum(path.startswith("self_attn.") for path in chosen),
        "mlp adapters": inner * sum(path.startswith("mlp.") for path in chosen),
    }


def unsaved_in_first_layer(saved: Mapping[str, int], model: Architecture, peft: PeftConfig) -> int:
    """Return the bytes of `saved` that the first layer of the model does not save; 0 where the embedding is trained or
    every bias."""
    chosen = _paths(model, peft)
    place = next((place for place, group in enumerate(_ORDER) if any(path in group for path in chosen)), None)
    if place is None or adapters.EMBEDDING in chosen or peft.lora_bias == "all":
        return 0
    return sum(saved[name] // 2 if name == "norms" else saved[name] for name in _UNSAVED[place])


def has_head(model: Architecture, peft: PeftConfig) -> bool:
    """Return whether the head has an adapter."""
    return adapters.HEAD in _paths(model, peft)


def _paths(model: Architecture, peft: PeftConfig) -> list[str]:
    return [target.path for name in peft.target_modules if (target := adapters.find(model, name)) is not None]


class RecomputeUnit(StrEnum):
    """Parts of a layer, whatever the model family calls them."""

    LAYER = "layer"
    ATTENTION = "attention"
    CORE = "core"
    """Scores, softmax and their product with the values."""
    MLP = "mlp"
    PRODUCT = "product"
    """activation(gate) x up."""
    NORM = "norm"


CLASSES: Final[Mapping[str, RecomputeUnit]] = {
    "LlamaDecoderLayer": RecomputeUnit.LAYER,
    "LlamaAttention": RecomputeUnit.ATTENTION,
    "CoreAttention": RecomputeUnit.CORE,
    "LlamaMLP": RecomputeUnit.MLP,
    "ActivationMultiplyMLP": RecomputeUnit.PRODUCT,
    "LlamaRMSNorm": RecomputeUnit.NORM,
    "MixtralDecoderLayer": RecomputeUnit.LAYER,
    "MixtralAttention": RecomputeUnit.ATTENTION,
    "MixtralRMSNorm": RecomputeUnit.NORM,
    "MoE": RecomputeUnit.MLP,
    "ParallelTransformerLayer": RecomputeUnit.LAYER,
    "ParallelAttention": RecomputeUnit.ATTENTION,
    "ParallelMLP": RecomputeUnit.MLP,
    "NeuronSwitchMLP": RecomputeUnit.MLP,
}
"""Unit by class name, the values of `activations_checkpoint_recompute`."""


def recomputed_units(model: ModelConfig) -> frozenset[RecomputeUnit]:
    """Return the units of the `model` section: the layer, the named classes (default CoreAttention), or none."""
    match model.activations_checkpoint_granularity:
        case "full":
            return frozenset({RecomputeUnit.LAYER})
        case "selective":
            names = model.activations_checkpoint_recompute or ("CoreAttention",)
            return frozenset(CLASSES[name] for name in names if name in CLASSES)
        case _:
            return frozenset()


@dataclass(frozen=True, slots=True)
class ActivationBytes:
    """Activations of one layer for one micro-batch, in bytes."""

    saved: int
    """From its forward to its backward pass."""
    backward: int
    """Additional bytes while its backward pass runs: recomputed activations, and gradients of activations."""
    unsaved: int = 0
    """Of `saved`, what the model's first layer does not save."""


def layer_bytes(
    model: Architecture,
    split: Sharding,
    tokens: int,
    width: int,
    recomputed: Set[RecomputeUnit],
    peft: PeftConfig | None = None,
) -> ActivationBytes:
    """Return the bytes of a layer for `tokens` on this process (after context parallelism), `width` bytes each; with
    LoRA of a frozen one."""
    terms = _terms(model, split, tokens, width)
    if peft is not None:
        terms = frozen_terms(terms, model, split, peft, tokens, width)
    everything = sum(terms.values())
    stream = width * tokens * model.hidden // split.sequence
    gradients = width * tokens * (2 * _mlp_width(model, split) + model.hidden)
    if RecomputeUnit.LAYER in recomputed:
        return ActivationBytes(stream, everything - stream + gradients)
    saved = dict(terms)
    if RecomputeUnit.ATTENTION in recomputed:
        saved |= {"core": 0, "mixed": 0, "attention adapters": 0}
    elif RecomputeUnit.CORE in recomputed:
        saved["core"] = width * tokens * (model.query_width + 2 * model.kv_width * split.kv_copies) // split.tensor
    if RecomputeUnit.MLP in recomputed:
        saved |= {"mlp": 0, "product": 0, "routed": 0, "mlp adapters": 0}
    elif RecomputeUnit.PRODUCT in recomputed and model.is_gated:
        saved["mlp"] = terms["mlp"] * 2 // 3
    if RecomputeUnit.NORM in recomputed:
        saved["norms"] = 2 * stream
    unsaved = unsaved_in_first_layer(saved, model, peft) if peft is not None else 0
    return ActivationBytes(sum(saved.values()), everything - sum(saved.values()) + gradients, unsaved)


def head_bytes(
    model: Architecture, split: Sharding, tokens: int, width: int, peft: PeftConfig | None = None
) -> ActivationBytes:
    """Return the bytes of norm and head: inputs, fp32 log-probabilities, and in the backward pass two gradients: in
    fp32, with a split vocabulary one of them in the compute type.

    With an adapter four tensors of logits in the compute type are there at once: the head's, the adapter's, the same
    scaled, and the sum.
    """
    features = tokens * (padded_vocabulary(model, split.tensor) // split.tensor)
    states, logits = width * tokens * model.hidden, _FP32 * features
    has_adapter = peft is not None and has_head(model, peft)
    inputs = tokens * model.hidden * _FP32 // split.sequence
    inputs += states // split.sequence if peft is None else 0
    inputs += states // _inputs(split) if peft is None or has_adapter else 0
    gradients = logits + (logits if split.tensor == 1 else width * features)
    return ActivationBytes(inputs + logits, max(gradients, 4 * width * features - logits if has_adapter else 0))


def pipeline_bytes(
    stage: int, model: Architecture, split: Sharding, tokens: int, width: int, micro_batches: int
) -> int:
    """Return the bytes that PyTorch's pipelines add, if they are used: buffers for states and gradients of every
    micro-batch, gradients that are sent back, outputs of the micro-batches in flight, and logits in the last stage.
    """
    if split.pipeline == 1 or not split.keeps_gathered:
        return 0
    stream = width * tokens * model.hidden // split.sequence
    is_last = stage == split.pipeline - 1
    receiving, returning = split.virtual - (stage == 0), split.virtual - is_last
    outputs = 0 if is_last and split.virtual == 1 else in_flight(stage, split, micro_batches)
    logits = width * tokens * (padded_vocabulary(model, split.tensor) // split.tensor) if is_last else 0
    return stream * (micro_batches * (2 * receiving + returning) + outputs) + logits


def in_flight(stage: int, split: Sharding, micro_batches: int) -> int:
    """Return the micro-batches (interleaved: chunks) whose activations a stage holds at once in the 1F1B schedule."""
    if split.virtual == 1:
        return min(split.pipeline - stage, micro_batches)
    warm_up = 2 * (split.pipeline - stage - 1) + (split.virtual - 1) * split.pipeline
    return min(warm_up + 1, micro_batches * split.virtual)


def _terms(model: Architecture, split: Sharding, tokens: int, width: int) -> dict[str, int]:
    """Return the bytes of saved tensors by origin (H hidden, q heads x head size, F MLP width, SP sequence shards).

    norms:  statistics in fp32 and the normed states in the compute type, for both norms: 2 (4 + w) T H / SP
    inputs: of q, k, v and of gate, up; the whole sequence also with sequence parallelism where it is kept gathered:
            2 w T H (/ SP)
    core:   q, k, v (the latter two repeated to all query heads) and a log-sum per head: 3 w T q / TP + 4 T h / TP
    mixed:  attention's output: w T q / TP
    mlp:    gate, up, activation(gate): 3 w T F / TP; without gate one of them
    product: the input of down: w T F / TP
    routed: per expert of a token outputs, and outputs times affinity; inputs of the rows computed here: w T H (2 k + r)
    """
    wide = width * tokens
    return {
        "norms": 2 * (_FP32 + width) * tokens * model.hidden // split.sequence,
        "inputs": 2 * wide * model.hidden // _inputs(split),
        "core": (3 * wide * model.query_width + _FP32 * tokens * model.heads) // split.tensor,
        "mixed": wide * model.query_width // split.tensor,
        "mlp": (3 if model.is_gated else 1) * wide * _mlp_width(model, split),
        "product": wide * _mlp_width(model, split),
        "routed": int(wide * model.hidden * (_rows_of_token(model, split) + 2 * _experts_of_token(model))),
    }


def _inputs(split: Sharding) -> int:
    """Return the number of processes that share the saved input of a column-parallel linear."""
    return 1 if split.keeps_gathered else split.sequence


def _mlp_width(model: Architecture, split: Sharding) -> int:
    """Return the features of the MLP per token on this process; a token goes through several experts."""
    width = model.ffn // split.tensor
    return width if model.experts is None else int(width * _rows_of_token(model, split))


def _experts_of_token(model: Architecture) -> float:
    if model.experts is None:
        return 0.0
    return min(model.experts.per_token * (model.experts.capacity or 1), model.experts.count)


def _rows_of_token(model: Architecture, split: Sharding) -> float:
    """Return the rows that experts on this process compute, per token of it: r.

    With expert parallelism each process of a group has room for as many as the others could send.
    """
    experts = model.experts
    if experts is None or split.expert == 1:
        return _experts_of_token(model)
    own = experts.count // split.expert
    share = min(1.0, experts.per_token * experts.capacity / experts.count) if experts.capacity else 1.0
    return split.expert * min(own * share, experts.per_token, own)
