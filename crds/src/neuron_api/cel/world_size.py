"""Divisions of the number of processes, as rules of `spec`, whose deviceCountScope says what `trainer.devices`
counts."""

from collections.abc import Callable, Iterator
from typing import Final

from .expressions import IN_SPEC, BoundSection, in_section, is_above, numbers, numbers_of, raw
from .parallel import CP, EP, PP, SHUFFLE, TP, VPP
from .platform import HAS_CONFIG, Processes, processes
from .rule import Rule

_BATCH, _MICRO = "data.global_batch_size", "data.micro_batch_size"
_STRATEGY: Final = BoundSection("s", "distributed_strategy")
_DATA: Final = BoundSection("b", "data")


def rules() -> Iterator[Rule]:
    """Yield the rules of world, batch, micro-batches over stages and groups of data-parallel processes."""
    yield Rule(2301, TP, _world(lambda world, part, _: f"{world} % {part} != 0"))
    yield Rule(
        2302, _BATCH, _data_parallel(lambda size, _: _batch(lambda batch, micro: f"{batch} % ({micro} * {size}) != 0"))
    )
    chunks = f"{HAS_CONFIG} && {is_above(VPP, 1, IN_SPEC)}"
    yield Rule(2305, VPP, f"{chunks} && {_data_parallel(_uneven_micro_batches)}")
    for key in (EP, SHUFFLE):
        has_groups = f"{HAS_CONFIG} && {is_above(key, 1, IN_SPEC)} && has({IN_SPEC}.model.moe)"
        groups = numbers(key, condition=lambda group: f"d % {group} != 0", root=IN_SPEC, name="g")
        yield Rule(2320, key, f"{has_groups} && {_data_parallel(lambda *_, groups=groups: groups)}")


def _uneven_micro_batches(size: str, stages: str) -> str:
    return f"{stages} > 1 && " + _batch(
        lambda batch, micro: f"{batch} % ({micro} * {size}) == 0 && {batch} / ({micro} * {size}) % {stages} != 0"
    )


def _batch(condition: Callable[[str, str], str]) -> str:
    """Return an expression that is true if the condition holds for the two batch sizes."""
    values = numbers_of([raw(_BATCH, _DATA), raw(_MICRO, _DATA)], condition, "m")
    return in_section(_DATA, values, IN_SPEC)


def _world(condition: Callable[[str, str, str], str]) -> str:
    """Return an expression that is true if the condition holds for world size, model-parallel size and stages."""

    def in_world(procs: Processes) -> str:
        world = f"({procs.is_total} ? {procs.devices} : {procs.devices} * {procs.nodes})"
        parts = numbers_of(
            [raw(key, _STRATEGY) for key in (TP, PP, CP)],
            lambda tensor, stages, context: (
                f"[{world}].exists(w, [{tensor} * {stages} * {context}].exists(p, {condition('w', 'p', stages)}))"
            ),
            "k",
        )
        return f"{procs.is_divisible} && {in_section(_STRATEGY, parts, IN_SPEC)}"

    return processes(in_world)


def _data_parallel(condition: Callable[[str, str], str]) -> str:
    """Return an expression that is true if there is a data-parallel size and the condition holds for it and the
    stages."""
    return _world(
        lambda world, part, stages: f"{world} % {part} == 0 && [{world} / {part}].exists(d, {condition('d', stages)})"
    )
