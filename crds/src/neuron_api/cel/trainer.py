"""`trainer`: end of training, validation, arguments that the framework sets itself."""

from collections.abc import Iterator
from typing import Final

from neuron_api.findings.registry import ENTRIES

from .alignment import READS_MEGATRON_DATA
from .expressions import fraction, is_above, is_other, is_set, raw, untyped, value_of
from .rule import Rule, RuleReason

_NO_TIME: Final = " && ".join(
    f"!{untyped(key)}.hasValue()" for key in ("trainer.max_time", "exp_manager.max_time_per_run")
)


def rules() -> Iterator[Rule]:
    """Yield the rules that Lightning's Trainer would enforce later."""
    for key in ENTRIES["NTJ-2101"].keys:
        yield Rule(2101, key, f"{untyped(key)}.hasValue()", reason=RuleReason.FORBIDDEN)
    endless = " && ".join(f"{raw(key)} == -1" for key in ENTRIES["NTJ-2102"].keys)
    yield Rule(2102, "trainer.max_steps", f"{endless} && {_NO_TIME}")
    yield Rule(2112, "trainer.max_time", f"{endless} && !({_NO_TIME}) && !{is_set('model.optim.sched.max_steps')}")
    for key in ENTRIES["NTJ-2109"].keys:
        yield Rule(2109, key, f"{raw(key, absent=-1)} == 0")
    yield Rule(2103, "trainer.accumulate_grad_batches", is_above("trainer.accumulate_grad_batches", 1))
    yield Rule(2104, "trainer.gradient_clip_algorithm", is_other("trainer.gradient_clip_algorithm", "norm"))
    yield from _validation()


def _validation() -> Iterator[Rule]:
    key = "trainer.val_check_interval"
    is_on = f"{READS_MEGATRON_DATA} && {is_above('trainer.limit_val_batches', 0)}"
    yield Rule(2105, key, f"{fraction(key)} && (double({value_of(key)}) > 1.0 || {is_on})")
    for limit in ENTRIES["NTJ-2106"].keys:
        yield Rule(2106, limit, f"{fraction(limit)} && double({value_of(limit)}) > 1.0")
