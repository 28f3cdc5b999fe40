"""Lightning's `Trainer` with the configuration's arguments and our callbacks."""

import warnings
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.plugins.environments import LightningEnvironment

from neuron_api.config import TrainingConfig

from .strategy import BackendStrategy


def build(config: TrainingConfig, strategy: BackendStrategy, folder: Path, callbacks: list[pl.Callback]) -> pl.Trainer:
    """Everything that Lightning would do on its own about processes, devices and checkpoints is switched off."""
    _silence()
    trainer = config.trainer
    logger = TensorBoardLogger(folder, name="", version="") if config.exp_manager.create_tensorboard_logger else False
    return pl.Trainer(
        accelerator="cpu",
        strategy=strategy,
        # torchelastic's environment variables describe our processes, of which Lightning must not know.
        plugins=[LightningEnvironment()],
        devices=1,
        logger=logger if strategy.is_global_zero else False,
        callbacks=callbacks,
        max_epochs=trainer.max_epochs,
        max_steps=trainer.max_steps,
        log_every_n_steps=trainer.log_every_n_steps,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        inference_mode=False,
        default_root_dir=folder,
        **_validation(config),
    )


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
    """Advice that does not fit: the loader is memory-mapped, and the step does its own logging."""
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings(
        "ignore", message=".*The number of training batches .* is smaller than the logging interval.*"
    )
    warnings.filterwarnings("ignore", message=".*You defined a `validation_step` but have no `val_dataloader`.*")
    warnings.filterwarnings("ignore", message=".*Trying to infer the `batch_size` from an ambiguous collection.*")
