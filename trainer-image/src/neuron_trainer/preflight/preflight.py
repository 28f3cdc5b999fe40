"""Every check that needs no process but a model or the data: all findings at once, exit code 2.

Of a compiler that the image lacks (`model.compile`) one would hear in the first step only.
"""

import logging
import os
import shutil
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import torch

from neuron_api import checks
from neuron_api.config import TrainingConfig
from neuron_api.derive import alignment, architecture, hardware
from neuron_api.findings.finding import Finding, Severity, error, errors_of
from neuron_trainer import accelerators, parallel
from neuron_trainer.data import custom, epoch, tokenizer
from neuron_trainer.data.samples import FOLDER, Part
from neuron_trainer.errors import CheckpointError, InputError
from neuron_trainer.models import config_json, lora
from neuron_trainer.models.family import Family
from neuron_trainer.run_directory.log_dir import checkpoints
from neuron_trainer.storage import places
from neuron_trainer.storage.files import decimal_size

from . import early

_KEY: Final = "model.compile"
_EAGER: Final = f"Use an image that has it, or `{hardware.NO_COMPILE}`."


def check_compiler(config: TrainingConfig, accelerator: str) -> list[Finding]:
    """Return the finding; imports PyTorch's compiler (2 s) only for one that is not the device's own."""
    backend = hardware.compiler_of(config, accelerator)
    if backend is None:
        return []
    if backend == "inductor":
        return _tools(accelerator)
    return [] if backend == hardware.COMPILER_OF_DEVICE.get(accelerator) else _name(backend)


def _name(backend: str) -> list[Finding]:
    from torch._dynamo.backends.registry import list_backends

    if backend in list_backends(exclude_tags=()):
        return []
    remedy = f"Use {hardware.AUTO_COMPILE}, {hardware.NO_COMPILE}, aot_eager or inductor."
    return [error(_KEY, f"PyTorch in this image has no compiler {backend!r}.", remedy)]


def _tools(accelerator: str) -> list[Finding]:
    """Inductor writes C++ for the CPU (as `torch._inductor.config.cpp.cxx` finds its compiler), Triton for a GPU."""
    if accelerator != "cpu":
        return [] if find_spec("triton") else [error(_KEY, "inductor needs Triton, which is not installed.", _EAGER)]
    name = os.environ.get("CXX", "g++")
    if shutil.which(name):
        return []
    return [error(_KEY, f"inductor needs a C++ compiler, and {name!r} is not on PATH.", _EAGER)]


log = logging.getLogger(__name__)

_BYTES_PER_PARAMETER: Final = 12
"""fp32 weight and two fp32 moments."""
_BYTES_PER_FROZEN: Final = 4
"""A weight of the base of adapters, in fp32 at most."""


@dataclass(frozen=True, slots=True)
class DeviceChoice:
    """What the processes are to compute on."""

    accelerator: str = "cpu"
    key: str = "spec.platform.accelerator"
    """Where the user has said so."""


_CPU: Final = DeviceChoice()


def check(
    config: TrainingConfig,
    processes: int,
    folder: Path,
    device: DeviceChoice = _CPU,
    *,
    is_test: bool = False,
    reads_data: bool = True,
) -> None:
    """Raise `InputError` with every finding; a test checks the test set alone, a compile phase no data."""
    accelerator = device.accelerator
    findings = [
        *_device(device, processes),
        *check_compiler(config, accelerator),
        *early.findings(config, processes, is_test=is_test),
    ]
    try:
        model = Family.from_config(config, tokenizer.vocabulary(config))
    except InputError as problem:
        raise InputError([*problem.findings, *_log_dir(folder, 0)]) from None
    _compare_name(config, model)
    findings += _divisions(config)
    findings += parallel.select(config, accelerator).check(config, accelerator)
    findings += _lengths(config, model)
    findings += _recompute(config, model)
    findings += _data(config, model.config.vocab_size, parts := _parts(config, is_test=is_test) if reads_data else [])
    findings += epoch.check(config, parts) if not errors_of(findings) else []
    needed = _checkpoint_bytes(config, model)
    place, problems = _checkpoints(config, folder, needed)
    findings += problems
    findings += _log_dir(folder, needed if place == folder else 0)
    for finding in findings:
        if finding.severity is Severity.WARNING:
            log.warning("%s", finding)
    if errors := errors_of(findings):
        raise InputError(list(errors))


def _device(choice: DeviceChoice, processes: int) -> list[Finding]:
    """Check the accelerator without loading its runtime, which is the workers': PyTorch has `cpu`; others come with a
    package, or a build of PyTorch, that this image may not have. Each process needs a device."""
    name, accelerator = choice.accelerator, accelerators.get(choice.accelerator)
    if not accelerators.is_present(accelerator):
        message = f"PyTorch {torch.__version__} in this image has no device {name!r}."
        remedy = "Use an image whose PyTorch has it, or accelerator cpu."
        return [error(choice.key, message, remedy)]
    if misfit := accelerators.misfit(accelerator):
        return [error(choice.key, f"{misfit}.", "Use an image whose packages belong together.")]
    if (count := accelerators.count(accelerator)) is not None and count < processes:
        message = f"each of {processes} processes needs a device, and PyTorch sees {count} of {name}."
        return [error("trainer.devices", message, "Set it to as many as there are, or use accelerator cpu.")]
    return []


def _compare_name(config: TrainingConfig, model: Family) -> None:
    """Warn where upstream would take another model from the name."""
    if config.model_source == "hf" and "mixtral" in config.name.lower() and model.kind != "mixtral":
        log.warning("name: %r does not decide: the model is a %s, as its config.json says.", config.name, model.kind)


def _divisions(config: TrainingConfig) -> list[Finding]:
    """Check the sizes that config.json has; those of a Megatron model the loader has checked."""
    if config.model_source == "megatron":
        return []
    sizes, _ = architecture.from_json(config_json.read(config.model), config.model)
    return list(checks.check_model(config, sizes)) if sizes else []


def _lengths(config: TrainingConfig, model: Family) -> list[Finding]:
    length, limit = config.model.encoder_seq_length, model.config.max_sequence
    if limit is not None and length > limit:
        message = f"{length} is more than max_position_embeddings {limit}."
        return [error("model.encoder_seq_length", message, "Set model.max_position_embeddings, too.")]
    return []


def _recompute(config: TrainingConfig, model: Family) -> list[Finding]:
    if config.model.activations_checkpoint_granularity != "selective":
        return []
    key, remedy = "model.activations_checkpoint_recompute", f"Use {', '.join(model.recomputable)}."
    return [
        error(key, f"there is no module class {name!r} in this model.", remedy)
        for name in config.model.activations_checkpoint_recompute or ()
        if name not in model.recomputable
    ]


def _parts(config: TrainingConfig, *, is_test: bool) -> list[Part]:
    """Return the parts of the data that are read."""
    if is_test:
        return ["test"]
    return ["train", "validation"] if config.trainer.limit_val_batches else ["train"]


def _data(config: TrainingConfig, vocabulary: int, parts: list[Part]) -> list[Finding]:
    if config.data.data_module:
        return custom.check(config, parts)
    if alignment.reads_records(config):
        from neuron_trainer.data.records import build as records

        return [finding for part in parts for finding in records.check(config, part, vocabulary)]
    if config.model_source == "megatron":
        from neuron_trainer.data.megatron import check as megatron

        return megatron.check(config, vocabulary, parts)
    from neuron_trainer.data import row_check

    data, length = config.data, config.model.encoder_seq_length
    findings = []
    for part in parts:
        key = FOLDER[part]
        if (folder := getattr(data, key)) is None:
            findings.append(error(f"data.{key}", "it is not set.", "Write it with `neuron-train data prepare`."))
        else:
            findings += row_check.check(f"data.{key}", str(folder), length, vocabulary, data.global_batch_size)
    return findings


def _checkpoint_bytes(config: TrainingConfig, model: Family) -> int:
    """Return the bytes of one checkpoint; 0 when none is written."""
    manager = config.exp_manager
    if not manager.writes_checkpoints:
        return 0
    peft = alignment.adapters(config)
    if peft is None:
        return model.parameters * _BYTES_PER_PARAMETER
    summary = lora.summary(model.on_meta(), peft)
    base = (summary.total - summary.trained) * _BYTES_PER_FROZEN if peft.save_lora_base else 0
    return summary.trained * _BYTES_PER_PARAMETER + base


def _checkpoints(config: TrainingConfig, folder: Path, needed: int) -> tuple[Path, list[Finding]]:
    """Return where checkpoints are written, and what is wrong with it."""
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
        message = f"checkpoints cannot be written there: {problem}."
        return Path(), [error(key, message, "Give a place that this pod may write.")]
    return place, [] if places.is_remote(place) else _space(key, place, needed)


def _log_dir(folder: Path, needed: int) -> list[Finding]:
    """Check that the log directory is writable and has room for one more checkpoint."""
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
        message = f"a checkpoint needs {decimal_size(needed)}, {folder} has {decimal_size(free)} free."
        return [error(key, message, "Free some space or use a larger volume.")]
    return []
