"""`trainer`: ends, validation, arguments that the framework sets itself."""

from collections.abc import Iterator
from typing import Final

from neuron_api.findings.registry import ENTRIES

from .expressions import above, fraction, given, is_other, loose, plain, raw
from .rule import Rule, RuleReason
from .training_mode import READS_MEGATRON_DATA

_NO_TIME: Final = " && ".join(
    f"!{loose(key)}.hasValue()" for key in ("trainer.max_time", "exp_manager.max_time_per_run")
)


def rules() -> Iterator[Rule]:
    """What Lightning's Trainer would refuse later."""
    for key in ENTRIES["NTJ-2101"].keys:
        yield Rule(2101, key, f"{loose(key)}.hasValue()", reason=RuleReason.FORBIDDEN)
    endless = " && ".join(f"{raw(key)} == -1" for key in ENTRIES["NTJ-2102"].keys)
    yield Rule(2102, "trainer.max_steps", f"{endless} && {_NO_TIME}")
    yield Rule(2112, "trainer.max_time", f"{endless} && !({_NO_TIME}) && !{given('model.optim.sched.max_steps')}")
    for key in ENTRIES["NTJ-2109"].keys:
        yield Rule(2109, key, f"{raw(key, absent=-1)} == 0")
    yield Rule(2103, "trainer.accumulate_grad_batches", above("trainer.accumulate_grad_batches", 1))
    yield Rule(2104, "trainer.gradient_clip_algorithm", is_other("trainer.gradient_clip_algorithm", "norm"))
    yield from _validation()


def _validation() -> Iterator[Rule]:
    key = "trainer.val_check_interval"
    is_on = f"{READS_MEGATRON_DATA} && {above('trainer.limit_val_batches', 0)}"
    yield Rule(2105, key, f"{fraction(key)} && (double({plain(key)}) > 1.0 || {is_on})")
    for limit in ENTRIES["NTJ-2106"].keys:
        yield Rule(2106, limit, f"{fraction(limit)} && double({plain(limit)}) > 1.0")
