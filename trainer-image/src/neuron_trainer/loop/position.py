"""Where a run is in its data: steps, epochs, and the batch of an epoch, as Lightning's loops count them.

All follow from the number of finished steps and of consumed samples, which a checkpoint has. What Lightning itself
writes at the end of a start is the state after a whole epoch, also where the start ended inside one (Lightning#4184).
"""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Position:
    """Between two steps."""

    step: int
    """Optimizer steps done, ever."""
    batches: int
    """Global batches of the present size before the next one, over all epochs."""
    epoch_steps: int
    """Global batches of an epoch, at least 1."""

    @property
    def epoch(self) -> int:
        """Return the number of the epoch, from 0, that the last finished step belongs to."""
        return max(0, self.batches - 1) // self.epoch_steps

    def restore(self, loop: dict[str, Any], max_epochs: int) -> None:
        """Set the counters in the state of Lightning's fit loop: training goes on with the next batch.

        All count as complete, so that the validation of the last finished step is not repeated. A bound on the epochs
        that lies behind the position ends the run, where Lightning would fail.
        """
        epochs, batch = divmod(self.batches, self.epoch_steps)
        if 0 <= max_epochs <= epochs:
            epochs, batch = max_epochs, 0
        begun = epochs + (1 if batch else 0)
        counts = {"ready": begun, "started": begun, "processed": epochs, "completed": epochs}
        loop["epoch_progress"] = {"total": dict(counts), "current": dict(counts)}
        loop["epoch_loop.batch_progress"] = {
            "total": _complete(self.step),
            "current": _complete(batch),
            "is_last_batch": False,
        }
        loop["epoch_loop.state_dict"] = {"_batches_that_stepped": self.step}


def _complete(count: int) -> dict[str, int]:
    return dict.fromkeys(("ready", "started", "processed", "completed"), count)
