"""What the stages of a pipeline do in a step, and in which order: 1F1B, interleaved with several blocks on each (B-7;
arXiv:2104.04473, 2.2).

Transfers of all stages have one order, in which each comes after everything that it follows from: the order in which
the passes that make them end, if passes take equally long and nobody waits to send. A stage does its transfers in this
order, each when both sides are at it. So no stage ever waits for one that waits for it: of the transfers that are not
done, both sides of the first one have nothing before it.
"""

from functools import lru_cache
from typing import Final, NamedTuple


class Pass(NamedTuple):
    """One block's work on one micro-batch."""

    is_backward: bool
    block: int
    """Number in the model; block c x PP + p is the c-th of stage p."""
    batch: int


class Event(NamedTuple):
    """Something that a stage does."""

    kind: str
    own: Pass
    """The pass that is done, that has made what is sent, or that needs what is received."""


COMPUTE: Final = "compute"
SEND: Final = "send"
RECEIVE: Final = "receive"


@lru_cache(maxsize=8)
def events(stage: int, stages: int, chunks: int, batches: int, *, is_training: bool = True) -> tuple[Event, ...]:
    """Return what a stage does in a step, in order; `chunks`: blocks on each stage. Evaluation has no backward passes.

    Micro-batches go through several blocks in groups of as many as there are stages; the last group has the rest.
    """
    lists, order = _plan(stages, chunks, batches, is_training=is_training)
    result: list[Event] = []
    done = 0
    for source in order:
        target = _next(source, stages * chunks)
        if target is None:
            continue
        if source.block % stages == stage:
            last = lists[stage].index(source)
            result += [Event(COMPUTE, own) for own in lists[stage][done : last + 1]]
            done = max(done, last + 1)
            result.append(Event(SEND, source))
        elif target.block % stages == stage:
            result.append(Event(RECEIVE, target))
    return (*result, *(Event(COMPUTE, own) for own in lists[stage][done:]))


@lru_cache(maxsize=4)
def _plan(stages: int, chunks: int, batches: int, *, is_training: bool) -> tuple[list[list[Pass]], list[Pass]]:
    """Return the passes of each stage, and all of them in one order.

    Where the last group of several blocks is smaller, a stage may have to begin more micro-batches before the first
    backward pass than the paper's.
    """
    for further in range(chunks * batches + 1):
        lists = [_passes(place, stages, chunks, batches, further, is_training=is_training) for place in range(stages)]
        if order := _in_order(lists, stages, chunks):
            return lists, order
    raise AssertionError("all forward passes, then all backward passes, always follow from each other")


def _passes(stage: int, stages: int, chunks: int, batches: int, further: int, *, is_training: bool) -> list[Pass]:
    forwards = [_nth(number, stage, stages, chunks, batches) for number in range(chunks * batches)]
    if not is_training:
        return forwards
    backwards = [Pass(True, _mirrored(own.block, stage, stages, chunks), own.batch) for own in forwards]
    early = stages - stage - 1 if chunks == 1 else 2 * (stages - stage - 1) + (chunks - 1) * stages
    early = min(early + further, len(forwards))
    steady = [own for pair in zip(forwards[early:], backwards, strict=False) for own in pair]
    return [*forwards[:early], *steady, *backwards[len(forwards) - early :]]


def _nth(number: int, stage: int, stages: int, chunks: int, batches: int) -> Pass:
    """The forward pass with a number."""
    group, place = divmod(number, stages * chunks)
    first = group * stages
    chunk, batch = divmod(place, min(stages, batches - first))
    return Pass(False, chunk * stages + stage, first + batch)


def _mirrored(block: int, stage: int, stages: int, chunks: int) -> int:
    """Backward passes go through the blocks of a stage from the last one."""
    return (chunks - 1 - block // stages) * stages + stage


def _next(own: Pass, blocks: int) -> Pass | None:
    """The pass that takes what a pass has made; None: the loss, or the first block's gradients, stay."""
    block = own.block - 1 if own.is_backward else own.block + 1
    return Pass(own.is_backward, block, own.batch) if 0 <= block < blocks else None


def _needs(own: Pass, blocks: int) -> list[Pass]:
    """The passes that a pass follows from."""
    if not own.is_backward:
        return [Pass(False, own.block - 1, own.batch)] if own.block else []
    later = [Pass(True, own.block + 1, own.batch)] if own.block + 1 < blocks else []
    return [Pass(False, own.block, own.batch), *later]


def _in_order(lists: list[list[Pass]], stages: int, chunks: int) -> list[Pass]:
    """All passes by the time at which they end, of those that end at once the earlier stage's first; none where stages
    wait for each other."""
    ends: dict[Pass, int] = {}
    places = [0] * stages
    free = [0] * stages
    remaining = sum(map(len, lists))
    while remaining:
        before = remaining
        for stage, own in enumerate(lists):
            while places[stage] < len(own):
                needed = _needs(own[places[stage]], stages * chunks)
                if not all(other in ends for other in needed):
                    break
                start = max([free[stage], *(ends[other] for other in needed)])
                ends[own[places[stage]]] = free[stage] = start + 1
                places[stage] += 1
                remaining -= 1
        if remaining == before:
            return []
    return sorted(ends, key=lambda own: (ends[own], own.block % stages))
