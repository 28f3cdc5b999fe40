"""`exp_manager.checkpoint_callback_params`: when checkpoints are written and which are kept."""

from typing import Annotated, Literal

from pydantic import Field

from .markers import Ignored, NoEffect, NotSupported
from .section import Count, Flag, Number, Section


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
