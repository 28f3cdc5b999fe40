"""`data`: what is read, and in which batches."""

from pydantic import Field

from .section import OpenSection


class DataConfig(OpenSection):
    """The data set and its batch sizes. Keys of your own are kept and passed to the data module."""

    micro_batch_size: int = Field(ge=1)
    """Samples in one forward and backward pass of one data-parallel process. Required."""

    global_batch_size: int = Field(ge=1)
    """Samples in one optimizer step over all processes. Required."""

    train_dir: str | None = None
    """Training data: a directory written by `neuron-train data prepare` or `datasets.save_to_disk`, with input_ids,
    attention_mask and labels of equal length."""

    val_dir: str | None = None
    """Validation data, as train_dir; needed when limit_val_batches is not 0."""

    num_workers: int = Field(default=0, ge=0)
    """Worker processes of the loader. Default 0."""
