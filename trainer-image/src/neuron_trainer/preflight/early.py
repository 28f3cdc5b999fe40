"""What can be refused before torch is imported: seconds after the start, not after the ten of its imports.

`preflight` repeats nothing of it but `findings`; it asks for what needs a model or the data themselves.
"""

import errno
import os
from collections.abc import Iterator
from typing import Final

from neuron_api.config import TrainingConfig
from neuron_api.derive import alignment
from neuron_api.findings.finding import Finding, error
from neuron_api.platform.topology import Topology
from neuron_api.platform.topology import check as check_topology
from neuron_trainer import evaluation
from neuron_trainer.checkpoint import catalog, retention
from neuron_trainer.data import tokenizer
from neuron_trainer.data.paths import exists, expanded, is_directory, is_file
from neuron_trainer.errors import InputError
from neuron_trainer.models import config_json
from neuron_trainer.run_directory import recorded_files
from neuron_trainer.run_directory.log_dir import checkpoints, log_dir
from neuron_trainer.run_directory.resume import EarlierRuns
from neuron_trainer.storage import places

_FOLDERS: Final = {"train": "train_dir", "validation": "val_dir", "test": "test_dir"}
_PREPARE: Final = "Write it with `neuron-train data prepare`."
UNWRITABLE: Final = "the log directory {} cannot be written: {}."
WRITABLE: Final = "Give a directory on a volume that is mounted and writable."
_RESUME: Final = (
    "For a first start set exp_manager.resume_ignore_no_checkpoint to True, too; later starts resume all the same."
)


def check(config: TrainingConfig, processes: int, seen: EarlierRuns, *, is_test: bool) -> None:
    """Raise `InputError` with every finding; reads directories and a config.json, no data."""
    found = [
        *findings(config, processes, is_test=is_test),
        *_model(config),
        *_log_dir(config),
        *_data(config, is_test=is_test),
        *_tokenizer(config),
        *(() if is_test else _resume(config, seen)),
    ]
    if errors := [finding for finding in found if finding.severity == "error"]:
        raise InputError(errors)


def findings(config: TrainingConfig, processes: int, *, is_test: bool) -> list[Finding]:
    """What follows from the configuration and the number of processes alone, and files to copy."""
    return [
        *check_topology(Topology.from_config(config, processes), config),
        *_monitor(config),
        *(evaluation.check(config) if is_test else ()),
        *recorded_files.check(config.exp_manager.files_to_copy or ()),
    ]


def _monitor(config: TrainingConfig) -> Iterator[Finding]:
    params = config.exp_manager.checkpoint_callback_params
    known = [name for name in retention.MONITORS if name != retention.VALIDATION or config.trainer.limit_val_batches]
    if params.monitor is None or params.monitor in known or not config.exp_manager.create_checkpoint_callback:
        return
    yield error("exp_manager.checkpoint_callback_params.monitor", f"there is no metric {params.monitor!r}.",
                f"Use one of {', '.join(known)}.")  # fmt: skip


def _model(config: TrainingConfig) -> tuple[Finding, ...]:
    """What config.json says by itself; what follows from it is asked when the model is known."""
    if config.model_source != "hf" or config.model.model_config_path is None:
        return ()
    try:
        config_json.read(config.model)
    except InputError as problem:
        return problem.findings
    return ()


def _log_dir(config: TrainingConfig) -> Iterator[Finding]:
    """Whether the nearest directory that exists may be written; nothing is created before all else is right."""
    folder = log_dir(config)
    place = next((one for one in (folder, *folder.parents) if exists(one) or one.is_symlink()), folder)
    if not is_directory(place):
        yield error("exp_manager.exp_dir", UNWRITABLE.format(folder, os.strerror(errno.ENOTDIR)), WRITABLE)
    elif not os.access(place, os.W_OK | os.X_OK):
        yield error("exp_manager.exp_dir", UNWRITABLE.format(folder, os.strerror(errno.EACCES)), WRITABLE)


def _data(config: TrainingConfig, *, is_test: bool) -> Iterator[Finding]:
    """Whether there is anything at the paths of rows and records; a module of one's own finds its data itself."""
    if config.data.data_module:
        return
    reads_records = alignment.reads_records(config)
    if config.model_source == "megatron" and not reads_records:
        return
    for part in ["test"] if is_test else ["train", *(["validation"] if config.trainer.limit_val_batches else [])]:
        key, given = f"data.{_FOLDERS[part]}", getattr(config.data, _FOLDERS[part])
        if given is None or places.is_remote(given) or exists(expanded(given)):
            continue
        if reads_records:
            yield error(key, f"there is no file {given}.", "Give a file of records.")
        else:
            yield error(key, f"there is no directory {given}.", _PREPARE)


def _tokenizer(config: TrainingConfig) -> Iterator[Finding]:
    """Whether a path exists; a name without a slash at its begin may be one of the Hugging Face hub."""
    given = config.data.tokenizer
    if given is None or config.data.data_module or not _reads_text(config):
        return
    is_named = given.type and given.library != "sentencepiece" and given.type != tokenizer.GPT2
    if is_named and (finding := tokenizer.missing(str(given.type))) is not None:
        yield finding
    for key in ("vocab_file", "merge_file"):
        path = getattr(given, key)
        if path and given.vocab_file and given.merge_file and not is_file(expanded(path)):
            yield error(f"data.tokenizer.{key}", f"there is no file {path}.")


def _reads_text(config: TrainingConfig) -> bool:
    return config.model_source == "megatron" or alignment.reads_records(config)


def _given(config: TrainingConfig) -> Iterator[Finding]:
    """Whether there is anything at `resume_from_checkpoint`; a run with checkpoints of its own needs it no more."""
    manager, key = config.exp_manager, "exp_manager.resume_from_checkpoint"
    text = manager.resume_from_checkpoint
    if not text or places.is_remote(text) or is_directory(expanded(text)):
        return
    place = checkpoints(config, log_dir(config))
    if manager.resume_if_exists and (places.is_remote(place) or catalog.complete(place)):
        return
    remedy = "Give the directory of a complete checkpoint, or of a model of transformers."
    yield error(key, f"there is no directory {text}.", remedy)


def _resume(config: TrainingConfig, seen: EarlierRuns) -> Iterator[Finding]:
    """A listing of names: the launcher looks into the checkpoints later, and may find none of them whole."""
    manager = config.exp_manager
    yield from _given(config)
    if not manager.resume_if_exists or manager.resume_ignore_no_checkpoint or manager.resume_from_checkpoint:
        return
    place = checkpoints(config, log_dir(config))
    if places.is_remote(place) or not seen.may_begin_again or catalog.complete(place):
        return
    yield error(
        "exp_manager.resume_ignore_no_checkpoint",
        f"resume_if_exists is set and there is no complete checkpoint in {place}"
        + "".join(f"; {one.reason}" for one in catalog.survey(place).broken)
        + ".",
        _RESUME,
    )
