"""What the graphs of a run depend on: two runs for which it is the same need compiling only once.

Every key of the sections that describe the model and how it is split counts, but for those that are known to change no
graph; of other sections the keys that are named here. A key too many compiles nothing anew where the compiler finds its
graph; one too few only lets the first step compile what the phase before it did not.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from neuron_api.config import TrainingConfig

SECTIONS: Final = ("model", "distributed_strategy", "precision", "fusions", "model_alignment_strategy")
KEYS: Final = (
    "model_source",
    "compiler_flags",
    "bucket_size_collectives",
    "neuron_experimental_compress_rg",
    "trainer.devices",
    "trainer.num_nodes",
    "trainer.lnc",
    "trainer.gradient_clip_val",
    "data.micro_batch_size",
    "data.global_batch_size",
    "data.seq_length",
    "data.reset_position_ids",
    "data.reset_attention_mask",
    "data.data_module",
)
"""Beside the sections."""
VALIDATES: Final = "trainer.limit_val_batches"
"""Whether there is a validation counts, and not of how many batches."""
UNRELATED: Final = (
    "model.save_logits",
    "model.weight_init_only",
    "model.init_method_std",
    "model.use_scaled_init_method",
    "model.use_cpu_initialization",
    "model.optim.lr",
    "model.optim.sched",
    "model_alignment_strategy.peft.load_lora_from_ckpt",
    "model_alignment_strategy.peft.lora_verbose",
    "model_alignment_strategy.peft.merge_lora",
    "model_alignment_strategy.peft.merge_sharded_lora",
    "model_alignment_strategy.peft.save_lora_base",
    "model_alignment_strategy.peft.save_lora_config_adapter",
)
"""Keys, and sections, of those sections that change no graph."""


@dataclass(frozen=True, slots=True)
class GraphChange:
    """A key that graphs depend on, and that differs."""

    key: str
    before: Any
    after: Any

    def __str__(self) -> str:
        return f"{self.key}: {json.dumps(self.before)} -> {json.dumps(self.after)}"


def inputs(config: TrainingConfig) -> dict[str, Any]:
    """Return what the graphs depend on in a configuration, JSON values by key; defaults are written out."""
    values = dict(_leaves(config.model_dump(mode="json")))
    chosen = {key: value for key, value in values.items() if _counts(key)}
    return {**chosen, VALIDATES: bool(config.trainer.limit_val_batches)}


def fingerprint(facts: Mapping[str, Any]) -> str:
    """Return the digest of what graphs depend on, in hex."""
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[GraphChange, ...]:
    """Return the keys that both have and that differ: what only one of them knows (sizes, versions) says nothing."""
    common = (key for key in after if key in before)
    return tuple(GraphChange(key, before[key], after[key]) for key in common if before[key] != after[key])


def _counts(key: str) -> bool:
    if key in KEYS:
        return True
    return key.partition(".")[0] in SECTIONS and not any(f"{key}.".startswith(f"{part}.") for part in UNRELATED)


def _leaves(values: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every key that holds no section; a section without keys is one, too."""
    for name, value in values.items():
        key = f"{path}.{name}" if path else name
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, key)
        else:
            yield key, value
