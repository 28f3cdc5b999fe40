"""`exp_manager.checkpoint_callback_params`: when checkpoints are written, which are kept, what is in them."""

from collections.abc import Iterator
from typing import Final

from neuron_api.config import CheckpointCallbackParams, TrainingConfig
from neuron_api.config.trainer import seconds_of
from neuron_api.findings.finding import Finding
from neuron_api.findings.registry import make_finding
from neuron_api.platform import directories

_SECTION: Final = "exp_manager.checkpoint_callback_params"
_WITH_MASTERS: Final = ("mixed_precision", "mixed_precisionSR", "mixed_precision_SR", "autocast")


def check(config: TrainingConfig) -> Iterator[Finding]:
    """Yield the findings about ranking, intervals, contents and archives."""
    yield from _ranking(config)
    yield from _contents(config)
    yield from _last_checkpoint(config)
    yield from _directory_name(config.exp_manager.checkpoint_callback_params)
    params = config.exp_manager.checkpoint_callback_params
    intervals = [
        name
        for name in ("every_n_train_steps", "every_n_epochs", "train_time_interval")
        if getattr(params, name) not in (0, None)
    ]
    if len(intervals) > 1:
        yield make_finding(2206, f"{_SECTION}.{intervals[1]}", f"it contradicts {intervals[0]}: one rhythm only.")


def _ranking(config: TrainingConfig) -> Iterator[Finding]:
    manager, params = config.exp_manager, config.exp_manager.checkpoint_callback_params
    if params.monitor is None and params.save_top_k not in (-1, 0, 1):
        yield make_finding(
            2202, f"{_SECTION}.save_top_k", f"{params.save_top_k} checkpoints cannot be ranked without a monitor."
        )
    if params.monitor == "step" and params.mode == "min" and params.save_top_k > 0:
        yield make_finding(2203, f"{_SECTION}.mode", "min with monitor step keeps the oldest.")
    if (
        manager.writes_checkpoints
        and params.save_top_k != 0
        and (params.monitor or "").startswith("val")
        and not config.trainer.limit_val_batches
    ):
        yield make_finding(
            2214,
            f"{_SECTION}.monitor",
            f"{params.monitor!r} is never there: trainer.limit_val_batches is 0, so that validation is off.",
        )
    if params.filename is not None and "{" not in params.filename and params.save_top_k != 1:
        yield make_finding(
            2215, f"{_SECTION}.filename", f"{params.filename!r} names no {{field}}: all checkpoints have one name."
        )


def _last_checkpoint(config: TrainingConfig) -> Iterator[Finding]:
    """Yield the findings about a run that leaves no checkpoint before its end; see also `derive.plan`."""
    manager, params, trainer = config.exp_manager, config.exp_manager.checkpoint_callback_params, config.trainer
    if not manager.create_checkpoint_callback:
        yield make_finding(
            2221, "exp_manager.create_checkpoint_callback", "False: no checkpoint is written, nor at the end."
        )
        return
    if not manager.writes_checkpoints:
        yield make_finding(2221, f"{_SECTION}.save_top_k", "0: no checkpoint is written, nor at the end.")
        return
    steps, epochs, seconds = params.every_n_train_steps, params.every_n_epochs, params.train_time_interval
    limit = _limit(config)
    if not steps and not epochs and not seconds:
        yield _only_at_the_end("every_n_train_steps", "no interval is set")
    elif steps and 0 < trainer.max_steps <= steps:
        yield _only_at_the_end("every_n_train_steps", f"every {steps} steps of a run of {trainer.max_steps}")
    elif epochs and 0 < trainer.max_epochs <= epochs:
        yield _only_at_the_end("every_n_epochs", f"every {epochs} epochs of a run of {trainer.max_epochs}")
    elif seconds and limit is not None and limit <= seconds:
        yield _only_at_the_end("train_time_interval", f"every {seconds:g} seconds of a run of {limit:g}")


def _limit(config: TrainingConfig) -> float | None:
    """Return the seconds of `trainer.max_time`; None if it is absent or malformed (NTJ-2107)."""
    try:
        return seconds_of(config.trainer.max_time)
    except (ValueError, TypeError, OverflowError):
        return None


def _only_at_the_end(name: str, interval: str) -> Finding:
    message = f"{interval}: the only checkpoint is the one at the end, so a failure loses every step before it."
    return make_finding(2220, f"{_SECTION}.{name}", message, "Use a shorter interval, for example a tenth of the run.")


def _directory_name(params: CheckpointCallbackParams) -> Iterator[Finding]:
    """Yield the findings about the directory name that `filename`, `prefix` and `postfix` make together."""
    keys = [key for key in ("filename", "prefix", "postfix") if getattr(params, key)]
    if not keys or any("${" in getattr(params, key) for key in keys):
        return  # nothing to check, or known in the pod only
    template = params.filename or directories.DEFAULT_FILENAME
    unknown = [
        field for field in directories.template_fields(template) if field.partition(":")[0] not in directories.FIELDS
    ]
    if unknown:
        field_names = ", ".join(directories.FIELDS)
        yield make_finding(
            2223, f"{_SECTION}.filename", f"there is no value {unknown[0]!r} to insert: there are {field_names}."
        )
        return
    try:
        name = directories.CheckpointNaming.from_params(params).stem(directories.FIELDS)
    except ValueError as problem:
        yield make_finding(
            2223, f"{_SECTION}.filename", f"{template!r} has a format that its value does not take: {problem}."
        )
        return
    faulty_key = next((key for key in keys if not _is_path_part(getattr(params, key))), None)
    if faulty_key is not None:
        yield make_finding(
            2223, f"{_SECTION}.{faulty_key}", f"{getattr(params, faulty_key)!r} is no name of one directory."
        )
    elif name.endswith(directories.LAST_SUFFIX) or set(name) <= {"."}:
        yield make_finding(2223, f"{_SECTION}.{keys[-1]}", f"a checkpoint cannot be named {name!r}.")
    elif len(name.encode()) > directories.MAX_NAME:
        yield make_finding(2223, f"{_SECTION}.{keys[0]}", f"{name[:40]!r}… has more than {directories.MAX_NAME} bytes.")


def _is_path_part(text: str) -> bool:
    return text.isprintable() and not {"/", "\\"} & set(text)


def _contents(config: TrainingConfig) -> Iterator[Finding]:
    params, precision = config.exp_manager.checkpoint_callback_params, config.precision
    has_masters = precision.type in _WITH_MASTERS or (precision.type == "manual" and precision.master_weights)
    if params.use_master_weights_in_ckpt and not has_masters:
        yield make_finding(
            2208, f"{_SECTION}.use_master_weights_in_ckpt", f"precision.type {precision.type} keeps no master weights."
        )
    strategy = config.distributed_strategy
    product = strategy.tensor_model_parallel_size * strategy.pipeline_model_parallel_size
    if params.model_parallel_size is not None and params.model_parallel_size != product:
        yield make_finding(
            2209,
            f"{_SECTION}.model_parallel_size",
            f"{params.model_parallel_size} is not tensor_model_parallel_size x pipeline_model_parallel_size = "
            f"{product}.",
        )
