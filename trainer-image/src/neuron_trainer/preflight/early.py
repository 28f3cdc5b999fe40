"""Checks that need no torch: seconds after the start, not after the ten seconds of its imports.

`preflight` repeats nothing of it but `findings`; it checks what needs a model or the data themselves.

`bf16_advice` is about CPUs without units for bf16: there a step takes many times as long as in fp32.
"""

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from neuron_api.config import TrainingConfig
from neuron_api.derive import alignment, hardware, precision
from neuron_api.findings.finding import Finding, error
from neuron_api.platform.topology import Topology
from neuron_api.platform.topology import check as check_topology
from neuron_trainer import run_config, trackers
from neuron_trainer.checkpoint import catalog, retention
from neuron_trainer.data import tokenizer
from neuron_trainer.data.paths import exists, expanded, is_directory, is_file
from neuron_trainer.errors import InputError
from neuron_trainer.models import config_json
from neuron_trainer.run_directory import recorded_files
from neuron_trainer.run_directory.log_dir import checkpoints, log_dir
from neuron_trainer.run_directory.resume import EarlierRuns
from neuron_trainer.storage import places

_UNITS: Final = frozenset(("avx512_bf16", "amx_bf16", "bf16"))
"""Units for bf16, as /proc/cpuinfo names them."""
_LISTS: Final = ("flags", "features")
"""Its lines with such names, of x86 and of Arm, in lower case."""


def has_bf16(cpuinfo: str) -> bool | None:
    """Return what the text of /proc/cpuinfo says; None where it lists no features (macOS has no such file)."""
    lines = (line.partition(":") for line in cpuinfo.splitlines())
    words = next((value.split() for name, _, value in lines if name.strip().lower() in _LISTS), None)
    return None if words is None else not _UNITS.isdisjoint(words)


def bf16_advice(config: TrainingConfig, cpuinfo: str) -> str | None:
    """Return one sentence for a configuration that computes in bf16 on a CPU without units for it; else None."""
    if precision.policy(config).compute != "bf16" or has_bf16(cpuinfo) is not False:
        return None
    return (
        f"precision.type: {config.precision.type} computes in bf16, for which this CPU has no units: a step takes many "
        "times as long as in fp32. Set precision.type to fp32 where speed matters more than the same numbers as on a "
        "device."
    )


def cpuinfo() -> str:
    """Return /proc/cpuinfo of this machine; empty where there is none."""
    try:
        return Path("/proc/cpuinfo").read_text()
    except OSError:
        return ""


_FOLDERS: Final = {"train": "train_dir", "validation": "val_dir", "test": "test_dir"}
_PREPARE: Final = "Write it with `neuron-train data prepare`."
UNWRITABLE: Final = "the log directory {} cannot be written: {}."
WRITABLE: Final = "Give a directory on a volume that is mounted and writable."
_RESUME: Final = (
    "For a first start set exp_manager.resume_ignore_no_checkpoint to True, too; later starts resume all the same."
)


def check(
    config: TrainingConfig, processes: int, earlier: EarlierRuns, *, is_test: bool, reads_data: bool = True
) -> None:
    """Raise `InputError` with every finding; reads directories and a config.json, no data.

    `reads_data`: whether there have to be any, and a checkpoint to resume from.
    """
    results = [
        *findings(config, processes, is_test=is_test),
        *_model(config),
        *_log_dir(config),
        *(_data(config, is_test=is_test) if reads_data else ()),
        *_tokenizer(config),
        *(_resume(config, earlier) if reads_data and not is_test else ()),
    ]
    if errors := [finding for finding in results if finding.severity == "error"]:
        raise InputError(errors)


def check_compiler(config: TrainingConfig, accelerator: str) -> None:
    """Raise `InputError` where a compile phase has nothing to leave behind."""
    if not hardware.keeps_graphs(config, accelerator):
        message = f"nothing that is compiled on {accelerator} would be found by a later start."
        remedy = "Set it to inductor, or choose an accelerator with a compiler of its own (--accelerator)."
        raise InputError([error("model.compile", message, remedy)])


def findings(config: TrainingConfig, processes: int, *, is_test: bool) -> list[Finding]:
    """Return what follows from the configuration and the number of processes alone, and from files to copy."""
    return [
        *check_topology(Topology.from_config(config, processes), config),
        *_monitor(config),
        *(run_config.check_test(config) if is_test else ()),
        *recorded_files.check_files(config.exp_manager.files_to_copy or ()),
        *(() if is_test else trackers.check(config)),
    ]


def _monitor(config: TrainingConfig) -> Iterator[Finding]:
    params = config.exp_manager.checkpoint_callback_params
    validates = bool(config.trainer.limit_val_batches)
    metrics = [name for name in retention.MONITORS if name != retention.VALIDATION or validates]
    if params.monitor is None or params.monitor in metrics or not config.exp_manager.create_checkpoint_callback:
        return
    key = "exp_manager.checkpoint_callback_params.monitor"
    yield error(key, f"there is no metric {params.monitor!r}.", f"Use one of {', '.join(metrics)}.")


def _model(config: TrainingConfig) -> tuple[Finding, ...]:
    """Check config.json by itself; what follows from it is checked when the model is known."""
    if config.model_source != "hf" or config.model.model_config_path is None:
        return ()
    try:
        config_json.read(config.model)
    except InputError as problem:
        return problem.findings
    return ()


def _log_dir(config: TrainingConfig) -> Iterator[Finding]:
    """Check whether the nearest directory that exists is writable; nothing is created before all else is right."""
    folder = log_dir(config)
    place = next((path for path in (folder, *folder.parents) if exists(path) or path.is_symlink()), folder)
    if not is_directory(place):
        yield error("exp_manager.exp_dir", UNWRITABLE.format(folder, os.strerror(errno.ENOTDIR)), WRITABLE)
    elif not os.access(place, os.W_OK | os.X_OK):
        yield error("exp_manager.exp_dir", UNWRITABLE.format(folder, os.strerror(errno.EACCES)), WRITABLE)


def _data(config: TrainingConfig, *, is_test: bool) -> Iterator[Finding]:
    """Check whether rows and records exist; a data module of the user's finds its data itself."""
    if config.data.data_module:
        return
    reads_records = alignment.reads_records(config)
    if config.model_source == "megatron" and not reads_records:
        return
    for part in ["test"] if is_test else ["train", *(["validation"] if config.trainer.limit_val_batches else [])]:
        key, path = f"data.{_FOLDERS[part]}", getattr(config.data, _FOLDERS[part])
        if path is None or places.is_remote(path) or exists(expanded(path)):
            continue
        if reads_records:
            yield error(key, f"there is no file {path}.", "Give a file of records.")
        else:
            yield error(key, f"there is no directory {path}.", _PREPARE)


def _tokenizer(config: TrainingConfig) -> Iterator[Finding]:
    """Check whether paths exist; a name without a slash at its beginning may be one of the Hugging Face hub."""
    section = config.data.tokenizer
    if section is None or config.data.data_module or not _reads_text(config):
        return
    is_named = section.type and section.library != "sentencepiece" and section.type != tokenizer.GPT2
    if is_named and (finding := tokenizer.missing(str(section.type))) is not None:
        yield finding
    for key in ("vocab_file", "merge_file"):
        path = getattr(section, key)
        if path and section.vocab_file and section.merge_file and not is_file(expanded(path)):
            yield error(f"data.tokenizer.{key}", f"there is no file {path}.")


def _reads_text(config: TrainingConfig) -> bool:
    return config.model_source == "megatron" or alignment.reads_records(config)


def _explicit(config: TrainingConfig) -> Iterator[Finding]:
    """Check whether `resume_from_checkpoint` exists; a run with checkpoints of its own needs it no more."""
    manager, key = config.exp_manager, "exp_manager.resume_from_checkpoint"
    text = manager.resume_from_checkpoint
    if not text or places.is_remote(text) or is_directory(expanded(text)):
        return
    place = checkpoints(config, log_dir(config))
    if manager.resume_if_exists and (places.is_remote(place) or catalog.complete(place)):
        return
    remedy = "Give the directory of a complete checkpoint, or of a model of transformers."
    yield error(key, f"there is no directory {text}.", remedy)


def _resume(config: TrainingConfig, earlier: EarlierRuns) -> Iterator[Finding]:
    """Check by a listing of names: the launcher reads the checkpoints later, and may find none of them whole."""
    manager = config.exp_manager
    yield from _explicit(config)
    if not manager.resume_if_exists or manager.resume_ignore_no_checkpoint or manager.resume_from_checkpoint:
        return
    place = checkpoints(config, log_dir(config))
    if places.is_remote(place) or not earlier.may_begin_again or catalog.complete(place):
        return
    yield error(
        "exp_manager.resume_ignore_no_checkpoint",
        f"resume_if_exists is set and there is no complete checkpoint in {place}"
        + "".join(f"; {broken.reason}" for broken in catalog.survey(place).broken)
        + ".",
        _RESUME,
    )
