"""`exp_manager`: directories, checkpoints, what is logged, what a start resumes from; below it
`checkpoint_callback_params`: when checkpoints are written and which are kept.
"""

from typing import Annotated, Any, Final, Literal

from pydantic import Field

from .markers import Ignored, NoEffect, NotSupported
from .section import Count, Flag, Number, Section
from .trainer import MaxTime


class CheckpointCallbackParams(Section):
    """When checkpoints are written and which are kept (Lightning's ModelCheckpoint arguments)."""

    monitor: str | None = "step"
    """Metric that ranks checkpoints for save_top_k: step, reduced_train_loss, val_loss or another that is logged.
    Default step: with mode max the newest are kept."""

    save_top_k: Count = Field(default=1, ge=-1)
    """Keep the n best by monitor and mode; -1 keeps all, 0 none (but for save_last). Default 1, as in every upstream
    file."""

    mode: Literal["min", "max"] = "max"
    """Whether a smaller or a larger value of monitor is better. Default max, for monitor step."""

    save_last: Flag = False
    """Also keep the newest as `<name>-last.ckpt`, with save_top_k 0 that one alone. Default False."""

    filename: str | None = None
    """Name of a checkpoint directory, without `/`; `{x}` becomes `x=value` for step, epoch, global_step,
    consumed_samples, reduced_train_loss and val_loss. Default `{epoch}-{step}`."""

    every_n_train_steps: Count = Field(default=0, ge=0)
    """Write a checkpoint at every n-th optimizer step; 0 writes one at the end only. Default 0."""

    use_master_weights_in_ckpt: Flag = False
    """Save the fp32 master weights in place of the compute weights. Default False."""

    model_parallel_size: Annotated[Count | None, NoEffect("it is only checked")] = Field(default=None, ge=1)
    """Accepted for compatibility: tensor times pipeline parallel size; checked, otherwise unused. Default null."""

    dirpath: str | None = None
    """Directory of the checkpoints. Default null: `checkpoints` in the log directory."""

    train_time_interval: Number | None = Field(default=None, gt=0)
    """Write a checkpoint after so many seconds; in place of every_n_train_steps. Default null."""

    every_n_epochs: Count = Field(default=0, ge=0)
    """Write a checkpoint at the end of every n-th epoch; in place of every_n_train_steps. Default 0: off."""

    save_weights_only: Flag = False
    """Leave out optimizer and counters; such a checkpoint cannot be resumed from. Default False."""

    auto_insert_metric_name: Flag = True
    """Write `x=value` rather than `value` for `{x}` in filename. Default True."""

    save_on_train_epoch_end: Annotated[Flag, NotSupported("Use every_n_epochs.")] = False
    """Write at the end of the training epoch rather than after validation. Default False."""

    enable_version_counter: Flag = False
    """Keep checkpoints of one name side by side, with numbers. Default False: the old one goes when the new one is
    complete."""

    prefix: str | None = None
    """Put before filename. Default null."""

    postfix: str | None = None
    """Put at the end of the name. Default null: .ckpt."""

    verbose: Annotated[Flag, Ignored()] = False
    """Log each checkpoint that is written. Default False."""

    always_save_nemo: Annotated[Flag, Ignored()] = False
    """Only False: .nemo archives are not written."""

    save_best_model: Annotated[Flag, NotSupported()] = False
    """Only False: .nemo archives are not written."""

    save_nemo_on_train_end: Annotated[Flag, Ignored()] = False
    """Only False: .nemo archives are not written."""


_LAST_WEIGHTS: Final = "Without it checkpoints would hold the last weights, not their average."
_RESUME: Final = NoEffect("nothing is resumed", unless="exp_manager.resume_if_exists")
_TENSORBOARD: Final = NoEffect("no event files are written", unless="exp_manager.create_tensorboard_logger")
_WANDB: Final = NoEffect("nothing is sent to Weights & Biases", unless="exp_manager.create_wandb_logger")
_MLFLOW: Final = NoEffect("nothing is sent to MLflow", unless="exp_manager.create_mlflow_logger")
_STOPPING: Final = NoEffect("early stopping is off", unless="exp_manager.create_early_stopping_callback")


class ExpManagerConfig(Section):
    """Logging and checkpoints."""

    log_local_rank_0_only: Flag = False
    """Write a log file only for the first process of each node, to spare the file system. Default False: one for
    each process."""

    log_global_rank_0_only: Flag = False
    """Write a log file only for the first process of the job; not together with log_local_rank_0_only. Default
    False."""

    create_tensorboard_logger: Flag = False
    """Write TensorBoard event files to the log directory. Default False, the document's."""

    summary_writer_kwargs: Annotated[dict[str, Any] | None, _TENSORBOARD] = None
    """Arguments of TensorBoard's SummaryWriter. Default null."""

    explicit_log_dir: str | None = None
    """The log directory as it is; exp_dir, name and version are then not used. One run at a time: a second one is
    refused. Default null."""

    exp_log_dir: str | None = None
    """The same as explicit_log_dir, under the name that the document gives; give one of the two. Default null."""

    exp_dir: str | None = None
    """Base of the log directory `exp_dir/name`; a relative path lies under the first writable mount of spec.storage.
    Default ./nemo_experiments."""

    name: str | None = None
    """Second part of the log directory, one directory: what is no letter, digit or `. _ -` becomes `_`. Default: the
    configuration's name."""

    version: str | None = None
    """Third part of the log directory where resume_if_exists is False, one directory as name is. Default null: the
    job's UID."""

    use_datetime_version: Flag = True
    """Outside a cluster, take the date for version. Default True, NeMo's."""

    resume_if_exists: Flag = False
    """Resume from the newest complete checkpoint in the log directory, if there is one. Default False: without it a
    restarted job starts from scratch."""

    resume_ignore_no_checkpoint: Annotated[Flag, _RESUME] = False
    """With resume_if_exists and no checkpoint there: start from scratch (True) or fail (False). Default False."""

    resume_past_end: Annotated[Flag, _RESUME] = False
    """With resume_if_exists, start again though the last checkpoint is at max_steps. Default False."""

    resume_from_checkpoint: str | None = None
    """Checkpoint directory to start from when the job has no checkpoint of its own, or a directory of transformers
    (config.json, safetensors), of which each process reads its part. Default null."""

    ckpt_ptl_version: str = "2.5.0"
    """Lightning version that a checkpoint without one was written by, so that it is migrated from there. Default
    2.5.0."""

    create_checkpoint_callback: Flag = True
    """False: write no checkpoints at all. Default True: a job that loses its work is a fault."""

    checkpoint_callback_params: CheckpointCallbackParams = CheckpointCallbackParams()
    """When checkpoints are written and which are kept."""

    log_parameter_norm: Flag = False
    """Log the L2 norm of all parameters as parameter_norm. Default False, the document's."""

    log_gradient_norm: Flag = False
    """Log the global gradient norm before clipping as gradient_norm. Default False, the document's."""

    enable_recovery_time_instrumentation: Flag = False
    """Write the seconds of each recovery phase to recovery.json in the log directory. Default False."""

    save_xser: Flag = False
    """Save each tensor to a file of its own, one after the other, with little host memory. Default False."""

    load_xser: Flag = False
    """The form that a checkpoint is expected in; the form is read from its files, a mismatch is reported. Default
    False."""

    save_bf16: Flag = False
    """Save the model's weights in bf16; not together with use_master_weights_in_ckpt. Default False."""

    async_checkpointing: Flag = False
    """Write checkpoints in the background; the step waits for the copy to host memory only. Default False."""

    files_to_copy: tuple[str, ...] | None = None
    """Files to copy to the log directory. Default null."""

    log_step_timing: Flag = True
    """TensorBoard has `train_step_timing in s` and `validation_step_timing in s` (mean of a validation's batches).
    Default True, NeMo's."""

    step_timing_kwargs: Annotated[dict[str, Any] | None, Ignored()] = None
    """Arguments of NeMo's step timer. Default null."""

    disable_validation_on_resume: Annotated[Flag, NoEffect("there is no validation to repeat")] = True
    """Do not repeat the validation of the step that a resume begins at. A checkpoint is written after the validation of
    its step, so there is none to repeat: both values give the unbroken run. Default True, NeMo's."""

    ema: Annotated[dict[str, Any] | None, NotSupported(_LAST_WEIGHTS, "EMA")] = None
    """Exponential moving average of the weights (enable, decay, …). Default null: none."""

    max_time_per_run: MaxTime | None = None
    """The same as trainer.max_time; give one of the two. Default null."""

    create_early_stopping_callback: Flag = False
    """Stop when a metric no longer improves. Default False."""

    early_stopping_callback_params: Annotated[dict[str, Any] | None, _STOPPING] = None
    """Arguments of Lightning's EarlyStopping. Default null."""

    create_preemption_callback: Annotated[Flag, NoEffect("SIGTERM always saves")] = True
    """Save at SIGTERM; always on here. Default True."""

    create_wandb_logger: Flag = False
    """Send what TensorBoard shows to Weights & Biases, from the first process; the image needs the extra `trackers`,
    and the pod WANDB_API_KEY or WANDB_MODE=offline. Default False."""

    wandb_logger_kwargs: Annotated[dict[str, Any] | None, _WANDB] = None
    """Arguments of W&B's run: project, name, entity, group, job_type, tags, notes, id, offline, save_dir, prefix.
    Default null: the project is the configuration's name."""

    create_mlflow_logger: Flag = False
    """Send what TensorBoard shows to an MLflow server, from the first process; the image needs the extra `trackers`.
    Default False."""

    mlflow_logger_kwargs: Annotated[dict[str, Any] | None, _MLFLOW] = None
    """Arguments of MLflow's run: tracking_uri, experiment_name, run_name, run_id, tags, artifact_location, prefix.
    Default null: the server is MLFLOW_TRACKING_URI of the pod, the experiment the configuration's name."""

    create_dllogger_logger: Annotated[Flag, NotSupported()] = False
    """Only False: this logger is not part of the image."""

    dllogger_logger_kwargs: Annotated[dict[str, Any] | None, Ignored()] = None
    """Arguments of the logger above. Default null."""

    create_clearml_logger: Annotated[Flag, NotSupported()] = False
    """Only False: this logger is not part of the image."""

    clearml_logger_kwargs: Annotated[dict[str, Any] | None, Ignored()] = None
    """Arguments of the logger above. Default null."""

    create_neptune_logger: Annotated[Flag, NotSupported()] = False
    """Only False: this logger is not part of the image."""

    neptune_logger_kwargs: Annotated[dict[str, Any] | None, Ignored()] = None
    """Arguments of the logger above. Default null."""

    @property
    def writes_checkpoints(self) -> bool:
        """Return whether a training writes any: with save_top_k 0 save_last still writes its copy, as in Lightning."""
        params = self.checkpoint_callback_params
        return self.create_checkpoint_callback and (params.save_top_k != 0 or params.save_last)
