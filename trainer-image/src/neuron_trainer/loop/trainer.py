"""Lightning's `Trainer` with the configuration's arguments and our callbacks."""

import warnings
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.profilers import AdvancedProfiler, Profiler, PyTorchProfiler, SimpleProfiler

from neuron_api.config import TrainingConfig

from .strategy import BackendStrategy


def build(config: TrainingConfig, strategy: BackendStrategy, folder: Path, callbacks: list[pl.Callback]) -> pl.Trainer:
    """Everything that Lightning would do on its own about processes, devices and checkpoints is switched off."""
    _silence()
    trainer = config.trainer
    return pl.Trainer(
        accelerator="cpu",
        strategy=strategy,
        # torchelastic's environment variables describe our processes, of which Lightning must not know.
        plugins=[LightningEnvironment()],
        devices=1,
        logger=_logger(config, folder) if strategy.is_global_zero else False,
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


def _logger(config: TrainingConfig, folder: Path) -> TensorBoardLogger | bool:
    manager = config.exp_manager
    if not manager.create_tensorboard_logger:
        return False
    return TensorBoardLogger(folder, name="", version="", **(manager.summary_writer_kwargs or {}))


def _profiler(name: str | None, folder: Path) -> Profiler | None:
    """Its report is a file of each rank in the log directory."""
    kinds = {"simple": SimpleProfiler, "advanced": AdvancedProfiler, "pytorch": PyTorchProfiler}
    return kinds[name](dirpath=folder, filename="profile") if name else None


def _validation(config: TrainingConfig) -> dict[str, Any]:
    """With validation off its keys are not passed on: Lightning would check them against the length of an epoch."""
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
