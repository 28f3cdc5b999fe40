"""`exp_manager`: log files, directories, resume, loggers."""

import re
from collections.abc import Iterator
from typing import Final

from neuron_api.config import TrainingConfig
from neuron_api.findings import Finding
from neuron_api.registry import found

_LOGGERS: Final = ("wandb", "mlflow", "dllogger", "clearml", "neptune")
_VERSION: Final = re.compile(r"v?(\d+!)?\d+(\.\d+)*((a|b|c|rc|\.?post|\.?dev)\d*)*(\+[A-Za-z0-9.]+)?")
"""The normal forms of PEP 440."""


def check(config: TrainingConfig) -> Iterator[Finding]:
    """Everything but the checkpoint callback."""
    manager = config.exp_manager
    if manager.log_local_rank_0_only and manager.log_global_rank_0_only:
        yield found(
            2201,
            "exp_manager.log_global_rank_0_only",
            "it contradicts log_local_rank_0_only: one log file of the job, or one of each node.",
        )
    yield from _directories(config)
    yield from _resume(config)
    for name in _LOGGERS:
        key = f"create_{name}_logger"
        if getattr(manager, key):
            yield found(2213, f"exp_manager.{key}", "this logger is not part of the image.")
    if not manager.create_preemption_callback:
        yield found(2217, "exp_manager.create_preemption_callback", "False has no effect: SIGTERM always saves.")


def _directories(config: TrainingConfig) -> Iterator[Finding]:
    manager = config.exp_manager
    if manager.explicit_log_dir is None:
        return
    for key in ("exp_dir", "version"):
        if getattr(manager, key) is not None:
            yield found(2205, f"exp_manager.{key}", "it is not used, since explicit_log_dir is set.", "Remove it.")


def _resume(config: TrainingConfig) -> Iterator[Finding]:
    manager, params = config.exp_manager, config.exp_manager.checkpoint_callback_params
    writes = manager.create_checkpoint_callback and params.save_top_k != 0
    if manager.resume_if_exists and not writes:
        yield found(2204, "exp_manager.resume_if_exists", "this job writes no checkpoints to resume from.")
    if manager.resume_if_exists and params.save_weights_only:
        yield found(
            2216,
            "exp_manager.checkpoint_callback_params.save_weights_only",
            "checkpoints of weights alone cannot be resumed from, and resume_if_exists is True.",
        )
    resumes = manager.resume_if_exists or manager.resume_from_checkpoint is not None
    if manager.resume_if_exists and resumes and manager.load_xser != manager.save_xser:
        yield found(
            2210,
            "exp_manager.load_xser",
            f"{manager.load_xser} does not fit save_xser {manager.save_xser}; the form is read from the files.",
        )
    version = manager.ckpt_ptl_version
    if "${" not in version and not _VERSION.fullmatch(version):
        yield found(2211, "exp_manager.ckpt_ptl_version", f"{version!r} is not a version.")
