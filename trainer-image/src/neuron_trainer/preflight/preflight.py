"""What can be known to be wrong before any process is started: all of it at once, exit code 2."""

import logging
import os
import shutil
from pathlib import Path
from typing import Final

import torch

from neuron_api import checks
from neuron_api.config import TrainingConfig
from neuron_api.derive import alignment, architecture
from neuron_api.findings.finding import Finding, Severity, error, errors_of
from neuron_trainer.data import custom, epoch, source, tokenizer
from neuron_trainer.errors import CheckpointError, InputError
from neuron_trainer.models import config_json
from neuron_trainer.models.family import Family
from neuron_trainer.parallel.native.expert import limits
from neuron_trainer.run_directory.log_dir import checkpoints
from neuron_trainer.storage import places, sizes

from . import early

log = logging.getLogger(__name__)

_BYTES_PER_PARAMETER: Final = 12
"""fp32 weight and two fp32 moments."""


def check(
    config: TrainingConfig, processes: int, folder: Path, accelerator: str = "cpu", *, is_test: bool = False
) -> None:
    """Raise `InputError` with every finding; for a test only the test set is looked at."""
    found = [*_device(accelerator), *early.findings(config, processes, is_test=is_test)]
    try:
        model = Family.of(config, tokenizer.vocabulary(config))
    except InputError as problem:
        raise InputError([*problem.findings, *_log_dir(folder, 0)]) from None
    _compare_name(config, model)
    found += _divisions(config)
    found += limits.check(config)
    found += _lengths(config, model)
    found += _recompute(config, model)
    found += _data(config, model.config.vocab_size, parts := _parts(config, is_test=is_test))
    found += epoch.check(config, parts) if not errors_of(found) else []
    needed = _checkpoint_bytes(config, model)
    own, problems = _checkpoints(config, folder, needed)
    found += problems
    found += _log_dir(folder, needed if own == folder else 0)
    for one in found:
        if one.severity is Severity.WARNING:
            log.warning("%s", one)
    if errors := errors_of(found):
        raise InputError(list(errors))


def _device(accelerator: str) -> list[Finding]:
    """PyTorch knows `cpu`; others come with a package of their own, which this image may not have."""
    try:
        torch.get_device_module(accelerator)
    except RuntimeError:
        return [error("spec.platform.accelerator", f"PyTorch {torch.__version__} in this image has no device "
                      f"{accelerator!r}.", "Use an image whose PyTorch has it, or accelerator cpu.")]  # fmt: skip
    return []


def _compare_name(config: TrainingConfig, model: Family) -> None:
    """Upstream takes the model from the name; whoever counts on that is told."""
    if config.model_source == "hf" and "mixtral" in config.name.lower() and model.kind != "mixtral":
        log.warning("name: %r does not decide: the model is a %s, as its config.json says.", config.name, model.kind)


def _divisions(config: TrainingConfig) -> list[Finding]:
    """Of a Megatron model the loader has asked."""
    if config.model_source == "megatron":
        return []
    sizes, _ = architecture.from_json(config_json.read(config.model), config.model)
    return list(checks.check_model(config, sizes)) if sizes else []


def _lengths(config: TrainingConfig, model: Family) -> list[Finding]:
    length, limit = config.model.encoder_seq_length, model.config.max_sequence
    if limit is not None and length > limit:
        return [error("model.encoder_seq_length", f"{length} is more than max_position_embeddings {limit}.",
                      "Set model.max_position_embeddings, too.")]  # fmt: skip
    return []


def _recompute(config: TrainingConfig, model: Family) -> list[Finding]:
    if config.model.activations_checkpoint_granularity != "selective":
        return []
    return [
        error("model.activations_checkpoint_recompute", f"there is no module class {name!r} in this model.",
              f"Use {', '.join(model.recomputable)}.")
        for name in config.model.activations_checkpoint_recompute or ()
        if name not in model.recomputable
    ]  # fmt: skip


def _parts(config: TrainingConfig, *, is_test: bool) -> list[source.Part]:
    """Those that are read."""
    if is_test:
        return ["test"]
    return ["train", "validation"] if config.trainer.limit_val_batches else ["train"]


def _data(config: TrainingConfig, vocabulary: int, parts: list[source.Part]) -> list[Finding]:
    if config.data.data_module:
        return custom.check(config, parts)
    if alignment.reads_records(config):
        from neuron_trainer.data.sft import build as tuning

        return [finding for part in parts for finding in tuning.check(config, part, vocabulary)]
    if config.model_source == "megatron":
        from neuron_trainer.data.megatron import check as megatron

        return megatron.check(config, vocabulary, parts)
    from neuron_trainer.data import row_check

    data, length = config.data, config.model.encoder_seq_length
    found = []
    for part in parts:
        key = source.FOLDER[part]
        if (folder := getattr(data, key)) is None:
            found.append(error(f"data.{key}", "it is not set.", "Write it with `neuron-train data prepare`."))
        else:
            found += row_check.check(f"data.{key}", str(folder), length, vocabulary, data.global_batch_size)
    return found


def _checkpoint_bytes(config: TrainingConfig, model: Family) -> int:
    """What one checkpoint needs; 0 when none is written."""
    manager = config.exp_manager
    if not manager.writes_checkpoints:
        return 0
    return model.parameters * _BYTES_PER_PARAMETER


def _checkpoints(config: TrainingConfig, folder: Path, needed: int) -> tuple[Path, list[Finding]]:
    """Where checkpoints go: the log directory, or another place that can be written."""
    params = config.exp_manager.checkpoint_callback_params
    key = "exp_manager.checkpoint_callback_params.dirpath" if params.dirpath else "exp_manager.exp_dir"
    try:
        place = checkpoints(config, folder)
        if not needed or place.parent == folder:
            return folder, []
        if not places.is_remote(place):
            place.mkdir(parents=True, exist_ok=True)
        probe = place / f".write-test.{os.uname().nodename}.{os.getpid()}"
        probe.write_bytes(b"")
        probe.unlink()
    except (OSError, CheckpointError) as problem:
        return Path(), [error(key, f"checkpoints cannot be written there: {problem}.",
                              "Give a place that this pod may write.")]  # fmt: skip
    return place, [] if places.is_remote(place) else _space(key, place, needed)


def _log_dir(folder: Path, needed: int) -> list[Finding]:
    """Writable, and room for one more checkpoint."""
    key = "exp_manager.exp_dir"
    probe = folder / f".write-test.{os.uname().nodename}.{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_text("")
        probe.unlink()
    except OSError as problem:
        return [error(key, early.UNWRITABLE.format(folder, problem.strerror), early.WRITABLE)]
    return _space(key, folder, needed)


def _space(key: str, folder: Path, needed: int) -> list[Finding]:
    if (free := shutil.disk_usage(folder).free) < needed:
        return [error(key, f"a checkpoint needs {sizes.decimal(needed)}, {folder} has {sizes.decimal(free)} free.",
                      "Free some space or use a larger volume.")]  # fmt: skip
    return []
