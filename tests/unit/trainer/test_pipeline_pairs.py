"""Pipelines whose sends are collectives of two processes end, though a process has one collective at a time, in order.

PyTorch's own schedules say which transfers each stage has; `PairedGroup` in which order it has them.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
import torch.distributed as dist
from torch.distributed.pipelining import Schedule1F1B, ScheduleInterleaved1F1B, schedules

from neuron_trainer.parallel.native.pipeline.pairs import PairedGroup

Transfer = tuple[int, int, str, int]
"""Source, target, what ("F" or "B" and the sending stage), micro-batch."""


@dataclass
class Recorder:
    """A process: its transfers in the order in which its `PairedGroup` broadcasts them."""

    rank: int
    size: int
    transfers: list[Transfer] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.group = PairedGroup(self.rank, self.size, {other: cast(Any, other) for other in range(self.size)})
        self.tensors: dict[int, Transfer] = {}

    def batch(self, operations: Sequence[Transfer], *_: Any, **__: Any) -> list[Any]:
        """As PyTorch's `_batch_p2p`: sends and receives together are a batch whose order says nothing."""
        is_mixed = len({source == self.rank for source, *_ in operations}) == 2
        if is_mixed:
            self.group._start_coalescing(torch.device("cpu"))
        for transfer in operations:
            tensor = torch.tensor([0.0])
            number = tensor.fill_(float(len(self.tensors)))
            self.tensors[len(self.tensors)] = transfer
            if transfer[0] == self.rank:
                self.group.send([number], transfer[1])
            else:
                self.group.recv([number], transfer[0])
        if is_mixed:
            self.group._end_coalescing(torch.device("cpu"))
        return []

    def broadcast(self, tensor: torch.Tensor, **_: Any) -> None:
        self.transfers.append(self.tensors[int(tensor)])


@pytest.fixture
def record(monkeypatch: pytest.MonkeyPatch) -> Callable[[Recorder], Recorder]:
    def install(recorder: Recorder) -> Recorder:
        monkeypatch.setattr(schedules, "_batch_p2p", recorder.batch)
        monkeypatch.setattr(dist, "broadcast", recorder.broadcast)
        return recorder

    return install


def _one_block(recorder: Recorder, micro_batches: int, *, trains: bool) -> None:
    """A step of 1F1B on a stage that computes nothing."""
    own, last = recorder.rank, recorder.size - 1

    def operations(source: int, target: int, kind: str) -> Callable[[int], list[Transfer]]:
        is_there = min(source, target) >= 0 and max(source, target) <= last and (trains or kind == "F")
        return lambda number: [(source, target, f"{kind}{source}", number)] if is_there else []

    def nothing(*_: Any, **__: Any) -> None:
        return None

    stage = SimpleNamespace(
        num_stages=recorder.size, stage_index=own, is_last=False, has_backward=trains,
        get_fwd_recv_ops=operations(own - 1, own, "F"), get_fwd_send_ops=operations(own, own + 1, "F"),
        get_bwd_recv_ops=operations(own + 1, own, "B"), get_bwd_send_ops=operations(own, own - 1, "B"),
        forward_one_chunk=nothing, backward_one_chunk=nothing, perform_reduce_grad=nothing,
    )  # fmt: skip
    schedule = Schedule1F1B(cast(Any, stage), micro_batches, loss_fn=nothing)
    schedule._has_backward = trains
    schedule._stage_forward_initialized, schedule._stage_backward_initialized = True, trains
    schedule._step_microbatches([()] * micro_batches, [{}] * micro_batches)


def _interleaved(recorder: Recorder, blocks: int, micro_batches: int, *, trains: bool) -> None:
    """The transfers of interleaved 1F1B: each is an action of its own."""
    size = recorder.size
    stages = [
        SimpleNamespace(num_stages=size * blocks, group_size=size, group_rank=recorder.rank, stage_index=number)
        for number in range(recorder.rank, size * blocks, size)
    ]
    schedule = ScheduleInterleaved1F1B(cast(Any, stages), micro_batches)
    for action in schedule.pipeline_order_with_comms[recorder.rank]:
        kind, stage = action.computation_type.name, action.stage_index
        if not kind.startswith(("SEND", "RECV")) or (kind.endswith("B") and not trains):
            continue
        step = 1 if kind.endswith("F") else -1
        source = stage if kind.startswith("SEND") else stage - step
        places = source % size, (source + step) % size
        recorder.batch([(*places, f"{kind[-1]}{source}", action.microbatch_index)])


def _run(orders: Sequence[Sequence[Transfer]]) -> int:
    """Carry out the collectives: each when it is the next one of both its processes. Return how many were."""
    pending = [list(order) for order in orders]
    count = 0
    while ready := next(_ready(pending), None):
        for rank in ready[:2]:
            pending[rank].pop(0)
        count += 1
    assert not any(pending), f"processes wait for each other: {[order[:1] for order in pending]}"
    return count


def _ready(pending: Sequence[Sequence[Transfer]]) -> Iterator[Transfer]:
    for rank, order in enumerate(pending):
        if order and order[0][0] == rank and pending[order[0][1]][:1] == order[:1]:
            yield order[0]


@pytest.mark.parametrize("trains", [True, False])
@pytest.mark.parametrize("size", range(2, 9))
def test_1f1b_ends(size: int, trains: bool, record: Callable[[Recorder], Recorder]) -> None:
    for micro_batches in range(size, 3 * size + 2):
        recorders = [record(Recorder(rank, size)) for rank in range(size)]
        for recorder in recorders:
            record(recorder)
            _one_block(recorder, micro_batches, trains=trains)
        assert _run([one.transfers for one in recorders]) == (size - 1) * micro_batches * (1 + trains)
        for recorder in recorders:
            times = [_time(transfer, size) for transfer in recorder.transfers]
            assert times == sorted(set(times))


def _time(transfer: Transfer, size: int) -> int:
    """Of the proof in docs/design/022-devices.md: it rises along each process, so nothing waits in a circle."""
    source, target, kind, number = transfer
    link = min(source, target)
    return 4 * number + 2 * link if kind.startswith("F") else 4 * (number + size) - 2 * link - 3


@pytest.mark.parametrize("trains", [True, False])
@pytest.mark.parametrize("blocks", [2, 3])
@pytest.mark.parametrize("size", range(2, 6))
def test_interleaved_1f1b_ends(size: int, blocks: int, trains: bool, record: Callable[[Recorder], Recorder]) -> None:
    for micro_batches in (size, size + 1, 2 * size, 2 * size + 2, 5 * size):
        if micro_batches % max(1, micro_batches // size):
            continue  # PyTorch refuses it
        recorders = [Recorder(rank, size) for rank in range(size)]
        for recorder in recorders:
            record(recorder)
            _interleaved(recorder, blocks, micro_batches, trains=trains)
        assert _run([one.transfers for one in recorders]) == (size * blocks - 1) * micro_batches * (1 + trains)


def test_without_an_order_within_batches_it_would_not_end(
    record: Callable[[Recorder], Recorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("neuron_trainer.parallel.native.pipeline.pairs.sorted", lambda given, **_: given, raising=False)
    recorders = [Recorder(rank, 4) for rank in range(4)]
    for recorder in recorders:
        record(recorder)
        _one_block(recorder, 8, trains=True)
    with pytest.raises(AssertionError, match="wait for each other"):
        _run([one.transfers for one in recorders])
