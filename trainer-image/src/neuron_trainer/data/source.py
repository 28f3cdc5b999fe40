"""From the configuration to samples: the only place that knows which kinds of data there are."""

from collections.abc import Mapping

from neuron_api.config import TrainingConfig
from neuron_api.derive import alignment
from neuron_trainer.parallel import Share

from . import custom
from .loader import Steps
from .samples import FOLDER, Cyclic, Part, SampleOrder, Samples, Single, TokenBounds


def samples(config: TrainingConfig, part: Part, *, is_builder: bool) -> Samples:
    """Open the samples of a part; raises `InputError`. One process of all is the builder of what is shared on disk."""
    if config.data.data_module:
        return custom.samples(config, part)
    if alignment.reads_records(config):
        from .records import build as records

        return records.samples(config, part, is_builder=is_builder)
    if config.model_source == "megatron":
        from .megatron import build

        return build.samples(config, part, is_builder=is_builder)
    from .rows import Rows

    return Rows(str(getattr(config.data, FOLDER[part])), f"data.{FOLDER[part]}")


def steps(config: TrainingConfig, part: Part, samples: Samples, share: Share, vocabulary: int | None = None) -> Steps:
    """Return global batches of samples, in the configured order and with the configured end; `vocabulary`: the
    model's."""
    is_cyclic = config.data.dataloader_type == "cyclic" if _is_megatron(config) else config.data.shuffle_rows
    is_cyclic = is_cyclic or alignment.reads_records(config)
    order: SampleOrder = Cyclic(len(samples), config.seed) if is_cyclic and part == "train" else Single()
    bounds, rest, most = _bounds(config, part, vocabulary), keeps_rest(config, part), limit(config, part)
    size = config.data.global_batch_size
    return Steps(samples, size, share, order, keeps_rest=rest, limit=most, vocabulary=bounds)


def pass_in_order(config: TrainingConfig, part: Part, samples: Samples, share: Share, vocabulary: int) -> Steps:
    """Return global batches of all samples, in sample order; the last is filled with samples that do not count."""
    bounds = _bounds(config, part, vocabulary)
    return Steps(samples, config.data.global_batch_size, share, Single(), keeps_rest=True, vocabulary=bounds)


def _bounds(config: TrainingConfig, part: Part, vocabulary: int | None) -> TokenBounds | None:
    folder = "data_prefix" if _is_megatron(config) else FOLDER[part]
    key = custom.KEY if config.data.data_module else f"data.{folder}"
    return None if vocabulary is None else TokenBounds(vocabulary, key)


def record_counts(samples: Samples) -> Mapping[str, int] | None:
    """Return how many records samples are made of, and how many were truncated or dropped; None for other data."""
    return getattr(samples, "counts", None)


def keeps_rest(config: TrainingConfig, part: Part) -> bool:
    """Return whether a last batch that is not full counts."""
    data = config.data
    drops = data.drop_last if part == "train" else data.validation_drop_last
    return data.pad_samples_to_global_batch_size or not drops


def limit(config: TrainingConfig, part: Part) -> int | float | None:
    """Return the batches of an epoch (whole), or their share (a fraction), that are taken before Lightning's limits."""
    trainer = config.trainer
    return trainer.overfit_batches or (trainer.limit_train_batches if part == "train" else None)


def order_note(config: TrainingConfig) -> str:
    """Return what a user should know about the order of the rows; empty for other data."""
    if config.model_source == "megatron" or config.data.data_module or alignment.reads_records(config):
        return ""
    if config.data.shuffle_rows:
        return "data.shuffle_rows: each epoch has an order of its own, drawn from the seed"
    return (
        "data.train_dir: rows are read in the order of the file, in every epoch; data.shuffle_rows: True shuffles them"
    )


def first_validation_sample(config: TrainingConfig, consumed: int) -> int:
    """Return where the validation at this point of the training begins (B-18).

    HF data, and that of a data module: at the beginning, each time. Megatron data: after the one before, through an
    index that is sized for all of them. A function of the position alone, so that an interrupted run validates on
    the same samples.
    """
    if not _is_megatron(config):
        return 0
    from .megatron import splits

    batch, per_validation = config.data.global_batch_size, config.trainer.limit_val_batches
    done = splits.validation_count(config, consumed // batch)
    if done is None or not isinstance(per_validation, int):
        return 0
    return max(0, done - 1) * per_validation * batch


def _is_megatron(config: TrainingConfig) -> bool:
    if config.data.data_module or alignment.reads_records(config):
        return False
    return config.model_source == "megatron"
