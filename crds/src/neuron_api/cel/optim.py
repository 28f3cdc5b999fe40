"""`model.optim` and its schedule."""

from collections.abc import Iterator
from typing import Final

from neuron_api.config.optimizers import OPTIMIZERS
from neuron_api.schema.key_path import field_of

from .expressions import flag, is_interpolated, is_set, raw, text, untyped
from .rule import Rule, RuleReason

_SECTION: Final = "model.optim"
_SCHED: Final = "model.optim.sched"
_NAME: Final = text(f"{_SECTION}.name")
_RATE: Final = untyped(f"{_SECTION}.lr")
_COMPUTES_RATE: Final = f"({_NAME} == 'adafactor' && {flag(f'{_SECTION}.relative_step')})"


def rules() -> Iterator[Rule]:
    """Yield the rules of rates, arguments and lengths."""
    rate = f"{_SECTION}.lr"
    yield Rule(1401, rate, f"!{_RATE}.hasValue() && !{_COMPUTES_RATE}", reason=RuleReason.REQUIRED)
    yield Rule(2601, rate, f"({_RATE}.orValue(1) == 0 || {_RATE}.orValue(1) == 0.0) && !{_COMPUTES_RATE}")
    yield from _arguments()
    warmup, relative = flag(f"{_SECTION}.warmup_init"), flag(f"{_SECTION}.relative_step")
    yield Rule(2604, f"{_SECTION}.warmup_init", f"{_NAME} == 'adafactor' && {warmup} && !{relative}")
    nesterov = f"{_NAME} == 'sgd' && {flag(f'{_SECTION}.nesterov')}"
    yield Rule(2606, f"{_SECTION}.nesterov", f"{nesterov} && !{untyped(f'{_SECTION}.momentum')}.hasValue()")
    yield from _schedule()


def _arguments() -> Iterator[Rule]:
    """Yield the rules of switches that another optimizer has; numbers are left to the operator."""
    switches = sorted({name for spec in OPTIMIZERS.values() for name in spec.keys if _is_switch(name)})
    for name in switches:
        key, owners = f"{_SECTION}.{name}", [spec.name for spec in OPTIMIZERS.values() if name in spec.keys]
        default = field_of(key)
        is_set = f"!{flag(key)}" if default is not None and default.default else flag(key)
        listed = ", ".join(f"'{owner}'" for owner in owners)
        yield Rule(2602, key, f"{is_set} && !({_NAME} in [{listed}]) && !{is_interpolated(f'{_SECTION}.name')}")


def _is_switch(name: str) -> bool:
    info = field_of(f"{_SECTION}.{name}")
    return info is not None and info.annotation is bool


def _schedule() -> Iterator[Rule]:
    name, step = text(f"{_SCHED}.name"), f"{_SCHED}.step_size"
    yield Rule(2611, f"{_SCHED}.name", f"{name} == 'rprop'")
    for part in ("warmup", "constant", "hold"):
        steps, ratio = f"{_SCHED}.{part}_steps", f"{_SCHED}.{part}_ratio"
        has_steps = f"{is_set(steps)} && type({raw(steps)}) == int"
        yield Rule(2612, ratio, f"{has_steps} && {untyped(ratio)}.hasValue()")
    yield Rule(2617, step, f"{name} == 'StepLR' && !{is_set(step)}", reason=RuleReason.REQUIRED)
