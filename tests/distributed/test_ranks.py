"""The helper that waits for ranks: who computes is not hung, who waits for nothing is; nobody stays.

Kind: bounds of wall clock in tests, which a machine with other work reaches (a series of memory measurements was
stopped after 100 s while one rank was still computing). All of them are one of `tests/support/bounds.py` now, and
`tests/unit/test_repository.py` looks for others.
"""

import multiprocessing
import os
import time
from typing import Any

import pytest

from neuron_trainer.launcher.elastic import forkserver

from . import ranks

pytestmark = pytest.mark.distributed


def _start(*targets: Any) -> list[Any]:
    forkserver.start(2)
    context = multiprocessing.get_context("forkserver")
    processes = [context.Process(target=target) for target in targets]
    for process in processes:
        process.start()
    return processes


def _compute() -> None:
    """For three seconds of a processor, however long that takes."""
    while time.process_time() < 3:
        pass


def _hang() -> None:
    multiprocessing.Event().wait()


def _fail() -> None:
    os._exit(3)


def test_a_group_that_computes_is_waited_for_beyond_the_bound() -> None:
    assert ranks.join(_start(_compute, _compute), idle=1.5) == [0, 0]


def test_a_rank_that_computes_keeps_one_that_waits_for_it() -> None:
    assert ranks.join(_start(_compute, _hang), idle=1.5) == [0, None], "the one that waits is hung once it is alone"


def test_when_one_fails_the_others_go_at_once() -> None:
    processes = _start(_hang, _fail)
    assert ranks.join(processes) == [None, 3]
    assert not any(process.is_alive() for process in processes)
