"""Lightning's `Trainer` with the configuration's arguments, our callbacks, and a strategy that leaves all to us.

The run's device is there already, and Lightning does nothing about it.
"""

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.accelerators import Accelerator
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.profilers import AdvancedProfiler, Profiler, PyTorchProfiler, SimpleProfiler
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch import Tensor
from torch.optim import Optimizer

from neuron_api.config import TrainingConfig
from neuron_trainer import accelerators, trackers
from neuron_trainer.storage import places


class OpenedDevice(Accelerator):  # type: ignore[misc]
    """A device that the worker has opened. Lightning's own accelerators know few devices, and set them up anew."""

    def setup_device(self, device: torch.device) -> None:
        """See `accelerators.open_device`."""

    def teardown(self) -> None:
        """Nothing is freed: the process ends."""

    @staticmethod
    def parse_devices(devices: Any) -> Any:
        """Return the argument as it is: one device."""
        return devices

    @staticmethod
    def get_parallel_devices(_: Any) -> list[torch.device]:
        """Return nothing: to Lightning every process is alone."""
        return []

    @staticmethod
    def auto_device_count() -> int:
        """Return 1: a process has one device."""
        return 1

    @staticmethod
    def is_available() -> bool:
        """Return True: the worker has opened it."""
        return True

    @staticmethod
    def name() -> str:
        """Return a name that is none of Lightning's."""
        return "opened"


Save = Callable[[Path, dict[str, Any]], None]
"""Write tensors and the given trainer state to a directory, on all ranks together."""

Load = Callable[[Path], dict[str, Any]]
"""Fill the tensors from a directory and return the trainer state."""


class BackendStrategy(SingleDeviceStrategy):  # type: ignore[misc]
    """How Lightning places, saves and loads: hooks for sharded checkpoints, and no-ops.

    Nothing is wrapped: the backend has split the model already. To Lightning every process is alone (`world_size` 1),
    so it adds no collectives of its own to the step; those that are needed are the backend's. Only "am I rank 0" is
    answered truthfully.
    """

    def __init__(self, device: torch.device, rank: int, save: Save, load: Load) -> None:
        super().__init__(device)
        self._rank, self._save, self._load = rank, save, load

    @property
    def is_global_zero(self) -> bool:
        """Return whether this process writes what is written once."""
        return self._rank == 0

    @property
    def restore_checkpoint_after_setup(self) -> bool:
        """The optimizer must be there before its state is loaded."""
        return True

    def model_to_device(self) -> None:
        """The backend built it there."""

    def batch_to_device(self, batch: Any, *_: Any, **__: Any) -> Any:
        """Return the batch as it is: the loader has put it there, and Lightning would walk through it in each step."""
        return batch

    def optimizer_step(self, optimizer: Optimizer, *_: Any, **__: Any) -> Any:
        """The step alone: gradients are clipped, and no plugin or callback has anything to do before it."""
        return optimizer.step()

    def teardown(self) -> None:
        """Nothing is moved back to the CPU: after a failed collective that fails, too, and hides why."""

    def lightning_module_state_dict(self) -> dict[str, Tensor]:
        """Tensors are saved by `save_checkpoint`, shard by shard."""
        return {}

    def optimizer_state(self, _: Optimizer) -> dict[str, Tensor]:
        """Return nothing: tensors are saved by `save_checkpoint`."""
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


def build(
    config: TrainingConfig, strategy: BackendStrategy, folder: Path, callbacks: list[pl.Callback], run_id: str = ""
) -> pl.Trainer:
    """Everything that Lightning would do on its own about processes, devices and checkpoints is switched off."""
    _silence()
    trainer = config.trainer
    return pl.Trainer(
        accelerator="cpu" if accelerators.get(strategy.root_device.type).is_host else OpenedDevice(),
        strategy=strategy,
        # torchelastic's environment variables describe our processes, of which Lightning must not know.
        plugins=[LightningEnvironment()],
        devices=1,
        logger=_loggers(config, folder, run_id) if strategy.is_global_zero else False,
        callbacks=callbacks,
        max_epochs=trainer.max_epochs,
        max_steps=trainer.max_steps,
        min_epochs=trainer.min_epochs,
        min_steps=trainer.min_steps,
        log_every_n_steps=trainer.log_every_n_steps,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        inference_mode=False,
        default_root_dir=folder,
        detect_anomaly=trainer.detect_anomaly,
        deterministic=trainer.deterministic,
        reload_dataloaders_every_n_epochs=trainer.reload_dataloaders_every_n_epochs,
        profiler=_profiler(trainer.profiler, folder),
        limit_test_batches=trainer.limit_test_batches,
        **_validation(config),
    )


def _loggers(config: TrainingConfig, folder: Path, run_id: str) -> list[Logger]:
    """Return TensorBoard's event files and the trackers that the configuration names."""
    manager = config.exp_manager
    loggers: list[Logger] = trackers.loggers(config, folder, run_id)
    if manager.create_tensorboard_logger:
        loggers.insert(0, TensorBoardLogger(folder, name="", version="", **(manager.summary_writer_kwargs or {})))
    return loggers


def _profiler(name: str | None, folder: Path) -> Profiler | None:
    """Its report is a file of each rank in the log directory."""
    kinds = {"simple": SimpleProfiler, "advanced": AdvancedProfiler, "pytorch": PyTorchProfiler}
    return kinds[name](dirpath=folder, filename="profile") if name else None


def _validation(config: TrainingConfig) -> dict[str, Any]:
    """Return the keys of validation; where it is off they are not passed on: Lightning would check them against the
    length of an epoch."""
    trainer = config.trainer
    if not trainer.limit_val_batches:
        return {"limit_val_batches": 0, "num_sanity_val_steps": 0}
    return {
        "limit_val_batches": trainer.limit_val_batches,
        "val_check_interval": trainer.val_check_interval,
        "check_val_every_n_epoch": trainer.check_val_every_n_epoch,
        "num_sanity_val_steps": trainer.num_sanity_val_steps,
    }


def _silence() -> None:
    """Advice that does not fit: the loader is memory-mapped, the step does its own logging, and what early stopping is
    told is the same number on every process already."""
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings(
        "ignore", message=".*The number of training batches .* is smaller than the logging interval.*"
    )
    warnings.filterwarnings("ignore", message=".*You defined a `validation_step` but have no `val_dataloader`.*")
    warnings.filterwarnings("ignore", message=".*when logging on epoch level in distributed setting.*")
    warnings.filterwarnings("ignore", message=".*Trying to infer the `batch_size` from an ambiguous collection.*")
