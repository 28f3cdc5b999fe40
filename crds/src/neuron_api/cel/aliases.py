"""Two names of one key with different values (`schema.aliases`)."""

from collections.abc import Iterator
from typing import Final

from neuron_api.config import FusionsConfig
from neuron_api.schema.key_path import fields

from .expressions import flag, is_interpolated, is_set, raw, value_of
from .rule import Rule

_QUEUE: Final = ("async_exec_max_inflight_requests", "aync_exec_max_inflight_requests")
_LOGS: Final = ("exp_manager.exp_log_dir", "exp_manager.explicit_log_dir")
_SWITCHES: Final = (
    ("model.fusions.do_layer_norm_weight_decay", "model.do_layer_norm_weight_decay"),
    ("data.packing", "model_alignment_strategy.sft.packing"),
    *((f"fusions.{name}", f"model.fusions.{name}") for name in fields(FusionsConfig)),
)


def rules() -> Iterator[Rule]:
    """Yield one rule for each pair of keys."""
    first, second = map(raw, _QUEUE)
    are_numbers = f"[{first}, {second}].all(x, type(x) == int)"
    yield Rule(1305, _QUEUE[0], f"{_both(_QUEUE)} && {are_numbers} && int({first}) != int({second})")
    are_known = " && ".join(f"!{is_interpolated(key)}" for key in _LOGS)
    yield Rule(1305, _LOGS[0], f"{_both(_LOGS)} && {value_of(_LOGS[0])} != {value_of(_LOGS[1])} && {are_known}")
    for pair in _SWITCHES:
        yield Rule(1305, pair[0], f"{_both(pair)} && {flag(pair[0])} != {flag(pair[1])}")


def _both(pair: tuple[str, str]) -> str:
    return " && ".join(map(is_set, pair))
