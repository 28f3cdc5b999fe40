"""How Lightning places, saves and loads: nothing is wrapped, the backend has split the model already.

To Lightning every process is alone (`world_size` 1), so it adds no collectives of its own to the step; those that are
needed are the backend's. Only "am I rank 0" is answered truthfully.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch import Tensor
from torch.optim import Optimizer

from neuron_trainer.storage import places

Save = Callable[[Path, dict[str, Any]], None]
"""Write tensors and the given trainer state to a directory, on all ranks together."""

Load = Callable[[Path], dict[str, Any]]
"""Fill the tensors from a directory and return the trainer state."""


class BackendStrategy(SingleDeviceStrategy):  # type: ignore[misc]
    """Lightning's hooks for sharded checkpoints, and no-ops."""

    def __init__(self, device: torch.device, rank: int, save: Save, load: Load) -> None:
        super().__init__(device)
        self._rank, self._save, self._load = rank, save, load

    @property
    def is_global_zero(self) -> bool:
        """Whether this process writes what is written once."""
        return self._rank == 0

    @property
    def restore_checkpoint_after_setup(self) -> bool:
        """The optimizer must be there before its state is loaded."""
        return True

    def model_to_device(self) -> None:
        """The backend built it there."""

    def batch_to_device(self, batch: Any, device: torch.device | None = None, dataloader_idx: int = 0) -> Any:
        """On the CPU it is there: Lightning would walk through it in each step."""
        where = device or self.root_device
        return batch if where.type == "cpu" else super().batch_to_device(batch, device, dataloader_idx)

    def optimizer_step(self, optimizer: Optimizer, *_: Any, **__: Any) -> Any:
        """The step alone: gradients are clipped, and no plugin or callback has anything to do before it."""
        return optimizer.step()

    def teardown(self) -> None:
        """Nothing is moved back to the CPU: after a failed collective that fails, too, and hides why."""

    def lightning_module_state_dict(self) -> dict[str, Tensor]:
        """Tensors are saved by `save_checkpoint`, shard by shard."""
        return {}

    def optimizer_state(self, _: Optimizer) -> dict[str, Tensor]:
        """As above."""
        return {}

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: str | Path, **_: Any) -> None:
        """`checkpoint` is Lightning's trainer state."""
        self._save(places.place(filepath), checkpoint)

    def load_checkpoint(self, checkpoint_path: str | Path, **_: Any) -> dict[str, Any]:
        """Tensors go into place here; Lightning restores loops and schedule from what is returned."""
        return self._load(places.place(checkpoint_path))

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        """Done in `load_checkpoint`."""

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Done in `load_checkpoint`."""
