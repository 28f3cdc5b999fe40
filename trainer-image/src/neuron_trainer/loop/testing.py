"""One test on one rank: the weights of a checkpoint, and their loss on the test set."""

import logging
import time
from pathlib import Path
from typing import Any

from neuron_api import contract
from neuron_trainer.checkpoint import manifest
from neuron_trainer.ipc.worker_channel import Start
from neuron_trainer.run_config import RESULTS_FILE
from neuron_trainer.storage import files, places

from . import reference
from .reference import Reference
from .run import Run
from .trainer import BackendStrategy, build

log = logging.getLogger(__name__)


def test(run: Run, start: Start, log_dir: Path, rank: int) -> float:
    """The mean loss over batches and processes, the same on every rank; rank 0 adds a line to `tests.jsonl`."""
    assert start.checkpoint is not None
    place = places.place(start.checkpoint)
    if reference.is_used(run.module.config):
        Reference(run.state, start, log_dir, _Silent(), rank).prepare(("test",))
    run.state.load_weights(place)
    module = run.module
    strategy = BackendStrategy(module.backend.device, rank, _saves_nothing, run.state.load)
    build(module.config, strategy, log_dir, []).test(module, verbose=False)
    loss, batches = module.test_loss, module.test_batches
    assert loss is not None
    is_ours = (place / contract.CHECKPOINT_MANIFEST).exists()  # else a directory of transformers or PEFT
    step = manifest.read(place).step if is_ours else 0
    if rank == 0:
        log.info("step %d: test_loss %.6g over %d batches, of %s", step, loss, batches, start.checkpoint)
        line = {
            "step": step,
            "test_loss": loss,
            "batches": batches,
            "checkpoint": start.checkpoint,
            "time": round(time.time(), 3),
        }
        with (log_dir / RESULTS_FILE).open("a") as file:
            file.write(files.json_dumps(line) + "\n")
    return loss


class _Silent:
    """Nobody watches a test."""

    def reference_progress(self, part: str, done: int, total: int) -> None:
        """See `PassObserver`."""


def _saves_nothing(_: Path, __: dict[str, Any]) -> None:
    raise AssertionError("a test saves nothing")
