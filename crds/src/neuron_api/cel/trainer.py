"""`trainer` and `exp_manager`: end of training, validation, log files, checkpoints, what the framework sets itself."""

from collections.abc import Iterator
from typing import Final

from neuron_api.checks import exp_manager, trainer
from neuron_api.findings.registry import ENTRIES

from .alignment import READS_MEGATRON_DATA
from .expressions import flag, fraction, is_above, is_set, raw, text, untyped, value_of
from .rule import Rule, rules_of

_NO_TIME: Final = " && ".join(
    f"!{untyped(key)}.hasValue()" for key in ("trainer.max_time", "exp_manager.max_time_per_run")
)


def rules() -> Iterator[Rule]:
    """Yield the rules of both sections."""
    yield from _trainer()
    yield from _exp_manager()


def _trainer() -> Iterator[Rule]:
    """Yield the rules that Lightning's Trainer would enforce later."""
    yield from rules_of(trainer.RULES)
    endless = " && ".join(f"{raw(key)} == -1" for key in ENTRIES["NTJ-2102"].keys)
    yield Rule(2102, "trainer.max_steps", f"{endless} && {_NO_TIME}")
    yield Rule(2112, "trainer.max_time", f"{endless} && !({_NO_TIME}) && !{is_set('model.optim.sched.max_steps')}")
    yield from _validation()


def _validation() -> Iterator[Rule]:
    key = "trainer.val_check_interval"
    is_on = f"{READS_MEGATRON_DATA} && {is_above('trainer.limit_val_batches', 0)}"
    yield Rule(2105, key, f"{fraction(key)} && (double({value_of(key)}) > 1.0 || {is_on})")
    for limit in ENTRIES["NTJ-2106"].keys:
        yield Rule(2106, limit, f"{fraction(limit)} && double({value_of(limit)}) > 1.0")


_PARAMS: Final = "exp_manager.checkpoint_callback_params"


def _exp_manager() -> Iterator[Rule]:
    """Yield the rules of log files, intervals and contents of checkpoints, and missing features."""
    yield from rules_of(exp_manager.RULES)
    yield from _intervals()
    yield from _ranking()


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
