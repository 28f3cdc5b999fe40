"""Links between the reference pages: anchors are key paths and codes in lower case."""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from neuron_api.schema.key_path import all_paths

CONFIG: Final = "config.md"
FINDINGS: Final = "findings.md"
DECISIONS: Final = "decisions.md"

_DECIDED: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "trainer.devices": ("A1",),
        "trainer.lnc": ("A2",),
        "exp_manager.exp_log_dir": ("A3",),
        "model.do_layer_norm_weight_decay": ("A4",),
        "distributed_strategy.kv_replicator": ("A5",),
        "data.seq_length": ("A6",),
        "exp_manager": ("A7",),
        "exp_manager.load_xser": ("A8",),
        "exp_manager.resume_from_checkpoint": ("A9",),
        "precision.type": ("A10", "A11"),
        "model.optim.sched.name": ("A12",),
        "model.optim.sched": ("A13",),
        "model.activations_checkpoint_recompute": ("A14",),
        "trainer.gradient_clip_val": ("A15",),
        "model.optim.sched.max_steps": ("A16",),
        "model.optim.weight_decay": ("A17",),
        "aync_exec_max_inflight_requests": ("A18",),
        "model_alignment_strategy": ("A19",),
        "precision": ("A20",),
        "distributed_strategy.virtual_pipeline_model_parallel_size": ("A21",),
        "model.pipeline_cuts": ("A22",),
        "bucket_size_collectives": ("A23",),
        "model.use_cpu_initialization": ("A24",),
        "model.make_vocab_size_divisible_by": ("A25",),
        "trainer.sequential_move_factor": ("A27",),
        "fusions": ("A28",),
        "data.tokenizer.library": ("A30",),
    }
)
"""Rows of docs/reference/decisions.md, by key."""

_PATHS: Final = sorted((path for path, _ in all_paths() if "." in path), key=len, reverse=True)
_MENTIONED: Final = re.compile(rf"(`[^`]*`)|(?<![\w.])({'|'.join(map(re.escape, _PATHS))})(?![\w]|\.\w)")


def anchor(name: str) -> str:
    """Return an anchor on a line of its own."""
    return f'<a id="{name.lower()}"></a>\n'


def key(path: str, page: str = "", text: str = "") -> str:
    """Return a link to a key on the page of the configuration; `page` is empty on that page itself."""
    return f"[{text or path}]({page}#{path.lower()})"


def code(number: str, page: str = "") -> str:
    """Return a link to a code on the page of the findings."""
    return f"[{number}]({page}#{number.lower()})"


def decisions(path: str) -> str:
    """Links to what was decided about an ambiguous key; empty for others."""
    return ", ".join(code(number, DECISIONS) for number in _DECIDED.get(path, ()))


def prose(text: str, page: str = "") -> str:
    """Return the text with every key path as a link, except inside backticks."""
    return _MENTIONED.sub(lambda match: match[1] or key(match[2], page), text)
