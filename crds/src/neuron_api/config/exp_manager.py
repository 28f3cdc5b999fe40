"""`exp_manager`: directories, checkpoints, what is logged, what a start resumes from."""

from typing import Literal

from pydantic import Field

from .section import Flag, Section


class CheckpointCallbackParams(Section):
    """When checkpoints are written and which are kept (Lightning's ModelCheckpoint arguments)."""

    monitor: str | None = "step"
    """Metric that ranks checkpoints for save_top_k. Default step."""

    save_top_k: int = Field(default=1, ge=-1)
    """Keep the n best by monitor and mode; -1 keeps all, 0 writes none. Default 1."""

    mode: Literal["min", "max"] = "max"
    """Whether a smaller or a larger value of monitor is better. Default max."""

    save_last: Flag = False
    """Also keep `<prefix>-last.ckpt`. Default False."""

    filename: str | None = None
    """Name of a checkpoint directory; `{x}` becomes `x=value`. Default `{epoch}-{step}`."""

    every_n_train_steps: int = Field(default=0, ge=0)
    """Write a checkpoint at every n-th optimizer step; 0 writes one at the end only. Default 0."""

    model_parallel_size: int | None = Field(default=None, ge=1)
    """Accepted for compatibility: tensor times pipeline parallel size; otherwise unused."""

    use_master_weights_in_ckpt: Flag = False
    """Save the fp32 master weights in place of the compute weights. Default False."""


class ExpManagerConfig(Section):
    """Logging and checkpoints."""

    log_local_rank_0_only: Flag = False
    """Write a log file only for the first process of each node. Default False."""

    create_tensorboard_logger: Flag = False
    """Write TensorBoard event files to the log directory. Default False."""

    explicit_log_dir: str | None = None
    """The log directory as it is; exp_dir, name and version are then not used. Default null."""

    exp_dir: str | None = None
    """Base of the log directory `exp_dir/name`; a relative path lies under the first writable mount of spec.storage.
    Default ./nemo_experiments."""

    name: str | None = None
    """Second part of the log directory. Default: the configuration's name."""

    resume_if_exists: Flag = False
    """Resume from the newest complete checkpoint in the log directory, if there is one. Default False."""

    resume_ignore_no_checkpoint: Flag = False
    """With resume_if_exists and no checkpoint there: start from scratch (True) or fail (False). Default False."""

    resume_from_checkpoint: str | None = None
    """Checkpoint directory to start from when the job has no checkpoint of its own. Default null."""

    create_checkpoint_callback: Flag = True
    """False: write no checkpoints at all. Default True."""

    checkpoint_callback_params: CheckpointCallbackParams = CheckpointCallbackParams()
    """When checkpoints are written and which are kept."""

    log_parameter_norm: Flag = False
    """Log the L2 norm of all parameters as parameter_norm. Default False."""

    log_gradient_norm: Flag = False
    """Log the global gradient norm before clipping as gradient_norm. Default False."""

    enable_recovery_time_instrumentation: Flag = False
    """Write the seconds of each recovery phase to recovery.json in the log directory. Default False."""

    save_xser: Flag = False
    """Accepted for compatibility: this release streams every tensor whatever the value."""

    load_xser: Flag = False
    """Accepted for compatibility: the format is read from the files."""

    save_bf16: Flag = False
    """Accepted for compatibility; no effect in this release."""

    async_checkpointing: Flag = False
    """Write checkpoints in the background; the step waits for the copy to host memory only. Default False."""
