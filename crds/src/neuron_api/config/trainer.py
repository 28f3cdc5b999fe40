"""`trainer`: how many processes, for how long, validated how often (Lightning's Trainer arguments)."""

from pydantic import Field

from .section import Quantity, Section


class TrainerConfig(Section):
    """Arguments of Lightning's Trainer, and the shape of the job."""

    devices: int = Field(ge=1)
    """Processes per node, one per logical NeuronCore (32 on trn1.32xlarge, 64 on trn2.48xlarge with lnc 2).
    Required."""

    num_nodes: int = Field(default=1, ge=1)
    """Number of nodes; the operator creates one pod for each. Default 1."""

    max_epochs: int | None = Field(default=-1, ge=-1)
    """Passes over the training data after which training ends; -1 for no bound. Default -1: max_steps decides."""

    max_steps: int = Field(ge=-1)
    """Optimizer steps after which training ends; on a resume the total, not the remainder. Required."""

    log_every_n_steps: int = Field(default=1, ge=1)
    """Write metrics at every n-th step. Default 1."""

    val_check_interval: Quantity | None = Field(default=None, gt=0)
    """Validate every so many steps (integer) or such a part of an epoch (fraction; write it as a string in
    spec.config). Default: at the end of an epoch."""

    check_val_every_n_epoch: int | None = Field(default=1, ge=1)
    """Validate in every n-th epoch only; null makes val_check_interval count over epoch borders. Default 1."""

    num_sanity_val_steps: int = Field(default=0, ge=-1)
    """Validation batches before the first step; 0 for none, -1 for all. Default 0."""

    limit_val_batches: Quantity = Field(default=0, ge=0)
    """Number (integer) or part (fraction, as a string in spec.config) of the validation batches; 0 switches
    validation off. Default 0."""

    limit_test_batches: Quantity = Field(default=0, ge=0)
    """As limit_val_batches, for the test set; training never runs it. Default 0."""

    gradient_clip_val: float | None = Field(default=1.0, ge=0)
    """Clip the gradient to this global L2 norm; null or 0 for no clipping. Default 1.0."""

    lnc: int | None = Field(default=None, ge=1, le=2)
    """Physical NeuronCores per logical core, 1 or 2. Default: the platform's (Trn1 1, Trn2 2)."""

    sequential_move_factor: int = Field(default=11, ge=1)
    """How many processes of a node build their weights at the same time, to bound host memory. Default 11."""

    accumulate_grad_batches: int = Field(default=1, ge=1, le=1)
    """Only 1: accumulation follows from global_batch_size / (micro_batch_size * data-parallel size)."""
