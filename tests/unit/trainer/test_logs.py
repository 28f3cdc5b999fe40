"""Which processes write a log file: all, the first of each node, or the first of the job."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from neuron_api.config import ExpManagerConfig
from neuron_trainer import logs


@pytest.fixture(autouse=True)
def _root() -> Iterator[None]:
    """Handlers, and levels of the libraries, as they were."""
    root, named = logging.getLogger(), [logging.getLogger(name) for name in (*logs._QUIET, *logs._SILENT)]
    handlers, levels = root.handlers, [one.level for one in (root, *named)]
    yield
    for handler in root.handlers:
        if isinstance(handler, logging.FileHandler):
            handler.close()
    root.handlers = handlers
    for one, level in zip((root, *named), levels, strict=True):
        one.setLevel(level)


@pytest.mark.parametrize(
    ("keys", "ranks"),
    [
        ({}, [0, 1, 2, 3]),
        ({"log_local_rank_0_only": True}, [0, 2]),
        ({"log_global_rank_0_only": True}, [0]),
    ],
    ids=str,
)
def test_two_nodes_of_two_processes_write_these_files(keys: dict[str, Any], ranks: list[int], tmp_path: Path) -> None:
    for rank in range(4):
        logs.configure(ExpManagerConfig(**keys), tmp_path, rank, rank % 2)
        logging.getLogger("neuron_trainer").info("a line of rank %d", rank)
        for handler in logging.getLogger().handlers:
            handler.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"nemo_log_globalrank-{rank}_localrank-{rank % 2}.txt" for rank in ranks
    ]
    assert all(path.read_text().count("a line of rank") == 1 for path in tmp_path.iterdir())


def test_each_process_has_a_file_though_it_has_nothing_to_say(tmp_path: Path) -> None:
    """`log_local_rank_0_only: False` looked like True: the steps are told by the first process alone."""
    for rank in range(2):
        logs.configure(ExpManagerConfig(), tmp_path, rank, rank)
        for handler in logging.getLogger().handlers:
            handler.close()
    for rank in range(2):
        text = (tmp_path / f"nemo_log_globalrank-{rank}_localrank-{rank}.txt").read_text()
        assert f"rank {rank}, local rank {rank}: process {os.getpid()} on " in text
