"""Divisions of the number of processes, as rules of `spec`, which says what `trainer.devices` counts."""

from collections.abc import Iterator
from typing import Final

from .expressions import IN_SPEC, above, number, whole
from .parallel import CP, EP, PP, SHUFFLE, TP, VPP
from .platform import ARE_DEVICES_KNOWN, DEVICES, HAS_CONFIG, IS_DIVISIBLE, IS_TOTAL, NODES
from .rule import Rule

_BATCH, _MICRO = "data.global_batch_size", "data.micro_batch_size"
_WORLD: Final = f"({IS_TOTAL} ? {DEVICES} : {DEVICES} * {NODES})"
_PARTS: Final = " * ".join(number(key, IN_SPEC) for key in (TP, PP, CP))
_KNOWN: Final = f"{HAS_CONFIG} && {ARE_DEVICES_KNOWN} && {IS_DIVISIBLE} && {whole(TP, PP, CP, root=IN_SPEC)}"


def rules() -> Iterator[Rule]:
    """World, batch, micro-batches over stages, groups of data-parallel processes."""
    yield Rule(2301, TP, f"{_KNOWN} && {_WORLD} % ({_PARTS}) != 0")
    step = f"({number(_MICRO, IN_SPEC)} * d)"
    has_batch = whole(_BATCH, _MICRO, root=IN_SPEC)
    batch = number(_BATCH, IN_SPEC)
    yield Rule(2302, _BATCH, f"{_KNOWN} && {has_batch} && {_data_parallel(f'{batch} % {step} != 0')}")
    chunks = f"{above(VPP, 1, IN_SPEC)} && {above(PP, 1, IN_SPEC)}"
    uneven = _data_parallel(f"{batch} % {step} == 0 && {batch} / {step} % {number(PP, IN_SPEC)} != 0")
    yield Rule(2305, VPP, f"{chunks} && {_KNOWN} && {has_batch} && {uneven}")
    for key in (EP, SHUFFLE):
        has_groups = f"{above(key, 1, IN_SPEC)} && has({IN_SPEC}.model.moe)"
        yield Rule(2320, key, f"{has_groups} && {_KNOWN} && {_data_parallel(f'd % {number(key, IN_SPEC)} != 0')}")


def _data_parallel(condition: str) -> str:
    """Whether it holds for d, the data-parallel size, where there is one."""
    return f"[{_PARTS}].exists(p, [{_WORLD}].exists(w, w % p == 0 && [w / p].exists(d, {condition})))"
