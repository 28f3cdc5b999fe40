"""The passes of a pipeline: each once, as few at a time as 1F1B has, and stages that wait for each other never hang.

Kind: a schedule that ends where senders do not wait, and hangs on a device on which both sides of a transfer meet.
"""

from itertools import product

import pytest

from neuron_trainer.parallel.passes import COMPUTE, RECEIVE, SEND, Event, Pass, events

SIZES = list(product((2, 3, 4, 8), (1, 2, 3), (1, 2, 3, 4, 5, 8, 13)))


def partner(event: Event, stages: int) -> tuple[int, Event]:
    """The stage on the other side of a transfer, and what it does."""
    step = -1 if event.own.is_backward else 1
    if event.kind == RECEIVE:
        block, kind = event.own.block - step, SEND
    else:
        block, kind = event.own.block + step, RECEIVE
    return block % stages, Event(kind, event.own._replace(block=block))


@pytest.mark.parametrize(("stages", "chunks", "batches"), SIZES)
@pytest.mark.parametrize("is_training", [True, False])
def test_stages_that_meet_for_each_transfer_never_hang(
    stages: int, chunks: int, batches: int, is_training: bool
) -> None:
    lists = [list(events(stage, stages, chunks, batches, is_training=is_training)) for stage in range(stages)]
    computed: set[Pass] = set()
    arrived: set[Pass] = set()
    while any(lists):
        moved = False
        for own in lists:
            while own and own[0].kind == COMPUTE:
                [_, work] = own.pop(0)
                is_first = work.block == (stages * chunks - 1 if work.is_backward else 0)
                assert is_first or work in arrived, "it computes with what has come"
                assert not work.is_backward or Pass(False, work.block, work.batch) in computed
                computed.add(work)
                moved = True
            if own:
                other, wanted = partner(own[0], stages)
                if lists[other] and lists[other][0] == wanted:
                    sent, received = sorted((own.pop(0), lists[other].pop(0)), reverse=True)
                    assert sent.own in computed
                    arrived.add(received.own)
                    moved = True
        assert moved, [own[:1] for own in lists]
    directions = (False, True) if is_training else (False,)
    assert computed == {Pass(*one) for one in product(directions, range(stages * chunks), range(batches))}


@pytest.mark.parametrize("stages", [2, 4, 8])
def test_a_stage_holds_no_more_micro_batches_than_there_are_stages_after_it(stages: int) -> None:
    for stage in range(stages):
        held = most = 0
        for kind, own in events(stage, stages, 1, 13):
            if kind == COMPUTE:
                held += -1 if own.is_backward else 1
                most = max(most, held)
        assert most == stages - stage
        assert held == 0
