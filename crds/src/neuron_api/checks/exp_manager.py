"""`exp_manager`: log files, directories, resume, loggers."""

import re
from collections.abc import Iterator
from typing import Final

from neuron_api.config import TrainingConfig
from neuron_api.findings.finding import Finding
from neuron_api.findings.registry import make_finding

from .rule import AllOf, ConfigRule, IsOn, findings, for_keys

_EARLY_STOPPING: Final = (
    "monitor",
    "mode",
    "patience",
    "min_delta",
    "verbose",
    "strict",
    "check_finite",
    "stopping_threshold",
    "divergence_threshold",
    "check_on_train_epoch_end",
    "log_rank_zero_only",
)
"""Arguments of Lightning's EarlyStopping."""
_TENSORBOARD: Final = (
    "log_graph",
    "default_hp_metric",
    "prefix",
    "sub_dir",
    "comment",
    "purge_step",
    "max_queue",
    "flush_secs",
    "filename_suffix",
    "write_to_disk",
)
"""Arguments of Lightning's TensorBoardLogger and its SummaryWriter, except those that the framework sets: directory,
name and version."""
_TRACKERS: Final = {
    "mlflow_logger_kwargs": (
        "tracking_uri",
        "experiment_name",
        "run_name",
        "run_id",
        "tags",
        "artifact_location",
        "prefix",
    ),
    "wandb_logger_kwargs": (
        "project",
        "name",
        "entity",
        "group",
        "job_type",
        "tags",
        "notes",
        "id",
        "offline",
        "save_dir",
        "prefix",
    ),
}
"""Arguments of each tracker's run."""
_NUMBERS: Final = ("patience", "min_delta", "stopping_threshold", "divergence_threshold")
"""Arguments of EarlyStopping that are numbers."""
_VERSION: Final = re.compile(r"v?(\d+!)?\d+(\.\d+)*((a|b|c|rc|\.?post|\.?dev)\d*)*(\+[A-Za-z0-9.]+)?")
"""The normal forms of PEP 440."""


def check(config: TrainingConfig) -> Iterator[Finding]:
    """Yield the findings about everything except the checkpoint callback."""
    manager = config.exp_manager
    yield from findings(RULES, config)
    yield from _directories(config)
    yield from _resume(config)
    yield from _early_stopping(config)
    for name in sorted(set(manager.summary_writer_kwargs or ()) - set(_TENSORBOARD)):
        message = f"TensorBoardLogger has no argument {name!r} that can be set: {', '.join(_TENSORBOARD)}."
        yield make_finding(2222, "exp_manager.summary_writer_kwargs", message)
    yield from _trackers(config)
    if not manager.create_preemption_callback:
        yield make_finding(2217, "exp_manager.create_preemption_callback", "False has no effect: SIGTERM always saves.")


def _trackers(config: TrainingConfig) -> Iterator[Finding]:
    manager = config.exp_manager
    for key, names in _TRACKERS.items():
        for name in sorted(set(getattr(manager, key) or ()) - set(names)):
            yield make_finding(2224, f"exp_manager.{key}", f"there is no argument {name!r}: {', '.join(names)}.")
    if manager.create_mlflow_logger and "tracking_uri" not in (manager.mlflow_logger_kwargs or {}):
        message = "it has no tracking_uri: the server is MLFLOW_TRACKING_URI of the pod."
        yield make_finding(2225, "exp_manager.create_mlflow_logger", message)


def _directories(config: TrainingConfig) -> Iterator[Finding]:
    manager = config.exp_manager
    if manager.explicit_log_dir is None:
        return
    for key in ("exp_dir", "name", "version"):
        if getattr(manager, key) is not None:
            yield make_finding(
                2205, f"exp_manager.{key}", "it is not used, since explicit_log_dir is set.", "Remove it."
            )


def _early_stopping(config: TrainingConfig) -> Iterator[Finding]:
    manager, key = config.exp_manager, "exp_manager.early_stopping_callback_params"
    arguments = manager.early_stopping_callback_params or {}
    for name in sorted(set(arguments) - set(_EARLY_STOPPING)):
        yield make_finding(2218, key, f"{name!r} is none of {', '.join(_EARLY_STOPPING)}.")
    if arguments.get("mode", "min") not in ("min", "max"):
        yield make_finding(2218, key, f"mode must be min or max, got {arguments['mode']!r}.", "Use min for a loss.")
    for name in _NUMBERS:
        if name in arguments and not _is_number(arguments[name]):
            yield make_finding(2218, key, f"{name} must be a number, got {arguments[name]!r}.", "Write a number.")
    if not manager.create_early_stopping_callback:
        return
    monitor = arguments.get("monitor", "val_loss")
    if monitor not in ("val_loss", "reduced_train_loss"):
        yield make_finding(2219, key, f"there is no metric {monitor!r}: it is val_loss or reduced_train_loss.")
    elif monitor == "val_loss" and not config.trainer.limit_val_batches:
        yield make_finding(2219, key, "it watches val_loss, and validation is off (trainer.limit_val_batches is 0).")


def _is_number(value: object) -> bool:
    is_known = not (isinstance(value, str) and "${" in value)
    return not is_known or value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _resume(config: TrainingConfig) -> Iterator[Finding]:
    manager, params = config.exp_manager, config.exp_manager.checkpoint_callback_params
    if manager.resume_if_exists and not manager.writes_checkpoints:
        yield make_finding(2204, "exp_manager.resume_if_exists", "this job writes no checkpoints to resume from.")
    if manager.resume_if_exists and params.save_weights_only:
        yield make_finding(
            2216,
            "exp_manager.checkpoint_callback_params.save_weights_only",
            "checkpoints of weights alone cannot be resumed from, and resume_if_exists is True.",
        )
    resumes = manager.resume_if_exists or manager.resume_from_checkpoint is not None
    if manager.resume_if_exists and resumes and manager.load_xser != manager.save_xser:
        yield make_finding(
            2210,
            "exp_manager.load_xser",
            f"{manager.load_xser} does not fit save_xser {manager.save_xser}; the form is read from the files.",
        )
    version = manager.ckpt_ptl_version
    if "${" not in version and not _VERSION.fullmatch(version):
        yield make_finding(2211, "exp_manager.ckpt_ptl_version", f"{version!r} is not a version.")


_MASTERS: Final = "exp_manager.checkpoint_callback_params.use_master_weights_in_ckpt"
RULES: Final = (
    ConfigRule(
        2201,
        "exp_manager.log_global_rank_0_only",
        AllOf((IsOn("exp_manager.log_local_rank_0_only"), IsOn("exp_manager.log_global_rank_0_only"))),
        lambda _: "it contradicts log_local_rank_0_only: one log file of the job, or one of each node.",
    ),
    ConfigRule(
        2207,
        "exp_manager.save_bf16",
        AllOf((IsOn("exp_manager.save_bf16"), IsOn(_MASTERS))),
        lambda _: "it contradicts use_master_weights_in_ckpt, which writes fp32.",
    ),
    *for_keys(2212, lambda _: ".nemo archives are not written here.", IsOn, is_forbidden=True),
    *for_keys(2213, lambda _: "there is no such logger here.", IsOn, is_forbidden=True),
)
"""Rules that the API server checks in the same words (`cel.rule`), those of checkpoints included."""
