"""Rules between keys of one configuration. Pure; all findings at once."""

from .config import TrainingConfig
from .findings import Finding, error, warning
from .topology import Topology
from .topology import check as check_topology


def check(config: TrainingConfig, topology: Topology | None = None) -> tuple[Finding, ...]:
    """Every rule that can be told from the configuration alone."""
    topology = topology or Topology.of(config)
    return (
        *check_topology(topology, config),
        *_architecture(config),
        *_batches(config),
        *_checkpoints(config),
    )


def _architecture(config: TrainingConfig) -> list[Finding]:
    found = []
    if config.model_source == "hf" and not config.model.model_config_path:
        found.append(
            error(
                "model.model_config",
                "it is not set, so the architecture is not known.",
                "Give the path of a Hugging Face config.json.",
            )
        )
    strategy, tp = config.distributed_strategy, config.distributed_strategy.tensor_model_parallel_size
    if strategy.sequence_parallel and config.model.encoder_seq_length % tp:
        found.append(
            error(
                "model.encoder_seq_length",
                f"{config.model.encoder_seq_length} cannot be divided over {tp} processes (sequence_parallel).",
                f"Use a multiple of {tp}.",
            )
        )
    if strategy.sequence_parallel and tp == 1:
        found.append(warning("distributed_strategy.sequence_parallel", "no effect with tensor_model_parallel_size 1."))
    return found


def _batches(config: TrainingConfig) -> list[Finding]:
    found = []
    if config.model_source == "hf" and not config.data.train_dir:
        found.append(
            error(
                "data.train_dir",
                "it is not set: there is nothing to train on.",
                "Give the directory that `neuron-train data prepare` wrote.",
            )
        )
    trainer = config.trainer
    if trainer.max_steps == -1 and (trainer.max_epochs is None or trainer.max_epochs == -1):
        found.append(error("trainer.max_steps", "-1 together with max_epochs -1 never ends.", "Set one of the two."))
    if config.model_source == "hf" and trainer.limit_val_batches and not config.data.val_dir:
        found.append(
            error(
                "data.val_dir",
                f"it is not set, but trainer.limit_val_batches is {trainer.limit_val_batches}.",
                "Give a validation set, or set limit_val_batches to 0.",
            )
        )
    a, b = config.aync_exec_max_inflight_requests, config.async_exec_max_inflight_requests
    if a is not None and b is not None and a != b:
        found.append(
            error(
                "async_exec_max_inflight_requests",
                f"{b} contradicts aync_exec_max_inflight_requests {a}.",
                "Give one of the two.",
            )
        )
    return found


def _checkpoints(config: TrainingConfig) -> list[Finding]:
    manager = config.exp_manager
    params = manager.checkpoint_callback_params
    found = []
    if params.monitor is None and params.save_top_k not in (-1, 0, 1):
        found.append(
            error(
                "exp_manager.checkpoint_callback_params.save_top_k",
                f"{params.save_top_k} checkpoints cannot be ranked without a monitor.",
                "Set monitor to step, or save_top_k to -1, 0 or 1.",
            )
        )
    if params.monitor == "step" and params.mode == "min" and params.save_top_k > 0:
        found.append(
            warning(
                "exp_manager.checkpoint_callback_params.mode", "min with monitor step keeps the oldest.", "Use max."
            )
        )
    writes = manager.create_checkpoint_callback and params.save_top_k != 0
    if manager.resume_if_exists and not writes:
        found.append(
            warning(
                "exp_manager.resume_if_exists",
                "this job writes no checkpoints to resume from.",
                "Set create_checkpoint_callback to True and save_top_k to 1 or more.",
            )
        )
    return found
