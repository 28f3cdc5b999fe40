"""Two names of one key with different values (`aliases`)."""

from collections.abc import Iterator
from typing import Final

from neuron_api.config import FusionsConfig
from neuron_api.schema.key_path import fields

from .expressions import flag, given, is_interpolated, plain, raw
from .rule import Rule

_QUEUE: Final = ("async_exec_max_inflight_requests", "aync_exec_max_inflight_requests")
_LOGS: Final = ("exp_manager.exp_log_dir", "exp_manager.explicit_log_dir")
_SWITCHES: Final = (
    ("model.fusions.do_layer_norm_weight_decay", "model.do_layer_norm_weight_decay"),
    ("data.packing", "model_alignment_strategy.sft.packing"),
    *((f"fusions.{name}", f"model.fusions.{name}") for name in fields(FusionsConfig)),
)


def rules() -> Iterator[Rule]:
    """One for each pair of keys."""
    a, b = map(raw, _QUEUE)
    are_numbers = f"[{a}, {b}].all(x, type(x) == int)"
    yield Rule(1305, _QUEUE[0], f"{_both(_QUEUE)} && {are_numbers} && int({a}) != int({b})")
    known = " && ".join(f"!{is_interpolated(key)}" for key in _LOGS)
    yield Rule(1305, _LOGS[0], f"{_both(_LOGS)} && {plain(_LOGS[0])} != {plain(_LOGS[1])} && {known}")
    for pair in _SWITCHES:
        yield Rule(1305, pair[0], f"{_both(pair)} && {flag(pair[0])} != {flag(pair[1])}")


def _both(pair: tuple[str, str]) -> str:
    return " && ".join(map(given, pair))
