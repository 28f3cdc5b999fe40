"""`exp_manager` and its `checkpoint_callback_params`."""

from collections.abc import Iterator
from typing import Final

from neuron_api.findings.registry import ENTRIES

from .expressions import flag, is_above, raw, text, untyped
from .rule import Rule, RuleReason

_PARAMS: Final = "exp_manager.checkpoint_callback_params"


def rules() -> Iterator[Rule]:
    """Yield the rules of log files, intervals and contents of checkpoints, and missing features."""
    local_only, global_only = flag("exp_manager.log_local_rank_0_only"), flag("exp_manager.log_global_rank_0_only")
    yield Rule(2201, "exp_manager.log_global_rank_0_only", f"{local_only} && {global_only}")
    yield from _intervals()
    both = f"{flag('exp_manager.save_bf16')} && {flag(f'{_PARAMS}.use_master_weights_in_ckpt')}"
    yield Rule(2207, "exp_manager.save_bf16", both)
    yield from _ranking()
    for number in (2212, 2213):
        for key in ENTRIES[f"NTJ-{number}"].keys:
            yield Rule(number, key, flag(key), reason=RuleReason.FORBIDDEN)


def _intervals() -> Iterator[Rule]:
    steps, epochs = is_above(f"{_PARAMS}.every_n_train_steps", 0), is_above(f"{_PARAMS}.every_n_epochs", 0)
    yield Rule(2206, f"{_PARAMS}.every_n_epochs", f"{steps} && {epochs}")
    seconds = f"{_PARAMS}.train_time_interval"
    yield Rule(2206, seconds, f"{steps} != {epochs} && {untyped(seconds)}.hasValue()")


def _ranking() -> Iterator[Rule]:
    """Yield the rule of the monitor; 2202 is left to the operator, since a null monitor looks absent to CEL."""
    writes = f"{flag('exp_manager.create_checkpoint_callback')} && {raw(f'{_PARAMS}.save_top_k')} != 0"
    is_off = f"{raw('trainer.limit_val_batches')} == 0"
    monitor = f"{_PARAMS}.monitor"
    yield Rule(2214, monitor, f"{text(monitor)}.startsWith('val') && {is_off} && {writes}")
