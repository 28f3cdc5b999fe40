"""Divisions of the number of processes, as rules of `spec`, which says what `trainer.devices` counts."""

from collections.abc import Callable, Iterator
from typing import Final

from .expressions import IN_SPEC, Bound, above, numbers, numbers_of, raw, section
from .parallel import CP, EP, PP, SHUFFLE, TP, VPP
from .platform import HAS_CONFIG, Processes, processes
from .rule import Rule

_BATCH, _MICRO = "data.global_batch_size", "data.micro_batch_size"
_STRATEGY: Final = Bound("s", "distributed_strategy")
_DATA: Final = Bound("b", "data")


def rules() -> Iterator[Rule]:
    """World, batch, micro-batches over stages, groups of data-parallel processes."""
    yield Rule(2301, TP, _world(lambda world, part, _: f"{world} % {part} != 0"))
    yield Rule(
        2302, _BATCH, _data_parallel(lambda size, _: _batch(lambda batch, micro: f"{batch} % ({micro} * {size}) != 0"))
    )
    chunks = f"{HAS_CONFIG} && {above(VPP, 1, IN_SPEC)}"
    yield Rule(2305, VPP, f"{chunks} && {_data_parallel(_uneven_micro_batches)}")
    for key in (EP, SHUFFLE):
        has_groups = f"{HAS_CONFIG} && {above(key, 1, IN_SPEC)} && has({IN_SPEC}.model.moe)"
        groups = numbers(key, that=lambda group: f"d % {group} != 0", root=IN_SPEC, name="g")
        yield Rule(2320, key, f"{has_groups} && {_data_parallel(lambda *_, groups=groups: groups)}")


def _uneven_micro_batches(size: str, stages: str) -> str:
    return f"{stages} > 1 && " + _batch(
        lambda batch, micro: f"{batch} % ({micro} * {size}) == 0 && {batch} / ({micro} * {size}) % {stages} != 0"
    )


def _batch(that: Callable[[str, str], str]) -> str:
    """Whether something holds for the two batch sizes."""
    values = numbers_of([raw(_BATCH, _DATA), raw(_MICRO, _DATA)], that, "m")
    return section(_DATA, values, IN_SPEC)


def _world(that: Callable[[str, str, str], str]) -> str:
    """Whether something holds for all processes, those of a model's parts, and the stages among these."""

    def of_parts(them: Processes) -> str:
        world = f"({them.is_total} ? {them.devices} : {them.devices} * {them.nodes})"
        parts = numbers_of(
            [raw(key, _STRATEGY) for key in (TP, PP, CP)],
            lambda tensor, stages, context: (
                f"[{world}].exists(w, [{tensor} * {stages} * {context}].exists(p, {that('w', 'p', stages)}))"
            ),
            "k",
        )
        return f"{them.is_divisible} && {section(_STRATEGY, parts, IN_SPEC)}"

    return processes(of_parts)


def _data_parallel(that: Callable[[str, str], str]) -> str:
    """Whether something holds for the data-parallel size, where there is one, and the stages."""
    return _world(
        lambda world, part, stages: f"{world} % {part} == 0 && [{world} / {part}].exists(d, {that('d', stages)})"
    )
