"""`trainer`: how many processes, for how long, validated how often (Lightning's Trainer arguments)."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field

from .markers import NEURON_ONLY, Ignored, NoEffect, NotSupported, OnlyValues
from .section import AnyValue, Count, Flag, Number, Quantity, Section

MaxTime = Annotated[str | dict[str, Count], "untyped"]
"""`DD:HH:MM:SS`, or a mapping of days, hours, minutes and seconds."""

Deterministic = Annotated[Flag | Literal["warn"], "untyped"]
"""A flag, or warn."""


class TrainerConfig(Section):
    """Arguments of Lightning's Trainer, and the shape of the job."""

    devices: Count = Field(ge=1)
    """Processes per node, one per logical NeuronCore (32 on trn1.32xlarge, 64 on trn2.48xlarge with lnc 2).
    Required."""

    num_nodes: Count = Field(default=1, ge=1)
    """Number of nodes; the operator creates one pod for each. Default 1: the smallest job."""

    max_epochs: Count = Field(default=-1, ge=-1)
    """Passes over the training data after which training ends; -1 for no bound. Default -1: max_steps decides."""

    max_steps: Count = Field(ge=-1)
    """Optimizer steps after which training ends, and length of the learning-rate schedule; on a resume the total, not
    the remainder. -1 for no bound. Required."""

    log_every_n_steps: Count = Field(default=1, ge=1)
    """Write metrics at every n-th step. Default 1, the document's."""

    val_check_interval: Quantity | None = Field(default=None, gt=0)
    """Validate every so many steps (integer) or such a part of an epoch (fraction; write it as a string in
    spec.config). Default: at the end of an epoch."""

    check_val_every_n_epoch: Count | None = Field(default=1, ge=1)
    """Validate in every n-th epoch only; null makes val_check_interval count over epoch borders. Default 1,
    Lightning's."""

    num_sanity_val_steps: Count = Field(default=0, ge=-1)
    """Validation batches before the first step; 0 for none, -1 for all. Default 0: no validation set is needed."""

    limit_val_batches: Quantity = Field(default=0, ge=0)
    """Number (integer) or part (fraction, as a string in spec.config) of the validation batches; 0 switches
    validation off. Default 0: no validation set is needed."""

    limit_test_batches: Quantity = Field(default=0, ge=0)
    """As limit_val_batches, for the test set; training never runs it. Default 0."""

    gradient_clip_val: Number | None = Field(default=1.0, ge=0)
    """Clip the gradient to this global L2 norm; null or 0 for no clipping. Default 1.0, as in every upstream file."""

    lnc: Annotated[Count | None, NEURON_ONLY] = Field(default=None, ge=1, le=2)
    """Physical NeuronCores per logical core, 1 or 2 (NEURON_LOGICAL_NC_CONFIG). Default null: the platform's (Trn1 1,
    Trn2 2)."""

    sequential_move_factor: Count = Field(default=11, ge=1)
    """How many processes of a node build their weights at the same time, to bound host memory; at most devices.
    Default 11, the document's."""

    max_time: MaxTime | None = None
    """Stop after this time on the clock, with a checkpoint: DD:HH:MM:SS, or a mapping of days, hours, minutes,
    seconds. Starts again at each restart; the next start continues from that step. Default null: no bound."""

    accumulate_grad_batches: Annotated[Count, NoEffect("it has one legal value")] = Field(default=1, ge=1)
    """Only 1: accumulation follows from global_batch_size / (micro_batch_size * data-parallel size)."""

    gradient_clip_algorithm: Annotated[str, NoEffect("it has one legal value")] = "norm"
    """Only norm: clipping is by the global L2 norm. Default norm."""

    enable_model_summary: Annotated[Flag, Ignored()] = False
    """Print Lightning's table of modules at the start. Default False."""

    limit_train_batches: Quantity | None = Field(default=None, ge=0)
    """Number (integer) or part (fraction, as a string in spec.config) of the training batches of an epoch. Default
    null: all."""

    limit_predict_batches: Annotated[Quantity | None, Ignored()] = Field(default=None, ge=0)
    """As limit_train_batches, for prediction, which training never runs. Default null."""

    overfit_batches: Quantity = Field(default=0, ge=0)
    """Train on this number (integer) or part (fraction) of the batches over and over, to test a model. Default 0:
    off."""

    fast_dev_run: Annotated[int, Field(ge=0)] | bool = False
    """Run this many steps (True: 1) of everything and stop, without loggers and checkpoints. Default False."""

    min_steps: Count | None = Field(default=None, ge=0)
    """Train at least so many steps before anything but max_time may stop it. Default null."""

    min_epochs: Count | None = Field(default=None, ge=0)
    """Train at least so many epochs. Default null."""

    enable_progress_bar: Annotated[Flag, Ignored()] = True
    """Show the progress in the terminal. Default True, Lightning's."""

    profiler: Annotated[
        Literal["simple", "advanced", "pytorch", "xla"] | None, OnlyValues((None, "simple", "advanced", "pytorch"))
    ] = None
    """Lightning's profiler. Default null: none."""

    detect_anomaly: Flag = False
    """Let autograd name the operation that gave NaN; slow. Default False."""

    benchmark: Annotated[Flag | None, Ignored()] = None
    """cuDNN's benchmark switch; no effect on Neuron and CPU. Default null."""

    deterministic: Deterministic | None = None
    """Use deterministic algorithms only: true, false or warn. Default null: the trainer is deterministic on CPU."""

    inference_mode: Annotated[Flag, Ignored()] = True
    """Evaluate under torch.inference_mode rather than no_grad. Default True, Lightning's."""

    default_root_dir: Annotated[str | None, Ignored()] = None
    """Lightning's directory for what has none of its own; logs and checkpoints go by exp_manager. Default null."""

    reload_dataloaders_every_n_epochs: Count = Field(default=0, ge=0)
    """Rebuild the data loaders at every n-th epoch; 0 never. Default 0."""

    callbacks: Annotated[AnyValue, NotSupported()] = None
    """Lightning callbacks; cannot be given in a configuration file. Default null."""

    barebones: Annotated[Flag, NotSupported()] = False
    """Run without logging, checkpoints and checks, to measure overhead. Default False."""

    enable_autolog_hparams: Annotated[Flag, Ignored()] = True
    """Log the hyperparameters of the model at the start. Default True, Lightning's."""

    model_registry: Annotated[str | None, Ignored()] = None
    """Name under which Lightning's cloud keeps the model. Default null."""

    sync_batchnorm: Annotated[Flag, Ignored()] = False
    """Synchronise batch norms; the models here have none. Default False."""

    accelerator: Annotated[AnyValue, NotSupported()] = None
    """Owned by the framework (spec.platform.accelerator decides): leave it out."""

    strategy: Annotated[AnyValue, NotSupported()] = None
    """Owned by the framework (distributed_strategy decides): leave it out."""

    plugins: Annotated[AnyValue, NotSupported()] = None
    """Owned by the framework: leave it out."""

    logger: Annotated[AnyValue, NotSupported()] = None
    """Owned by the framework (exp_manager decides): leave it out."""

    precision: Annotated[AnyValue, NotSupported()] = None
    """Owned by the framework (the precision section decides): leave it out."""

    use_distributed_sampler: Annotated[AnyValue, NotSupported()] = None
    """Owned by the framework (samples are dealt by the data section's rules): leave it out."""

    enable_checkpointing: Annotated[AnyValue, NotSupported()] = None
    """Owned by the framework (exp_manager.create_checkpoint_callback decides): leave it out."""


def seconds_of(limit: str | Mapping[str, int] | None) -> float | None:
    """Return the seconds of `trainer.max_time` (DD:HH:MM:SS, or a mapping of units); None if it is absent, or only the
    pod can resolve it. Raises ValueError for a malformed text, TypeError for an unknown unit."""
    if limit is None or (isinstance(limit, str) and "${" in limit):
        return None
    if isinstance(limit, str):
        days, hours, minutes, seconds = map(int, limit.split(":"))
        limit = {"days": days, "hours": hours, "minutes": minutes, "seconds": seconds}
    return timedelta(**limit).total_seconds()
