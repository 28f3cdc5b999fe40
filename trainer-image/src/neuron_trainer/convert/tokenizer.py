"""The tokenizer that a model was trained with, for the directory that its weights go to."""

import shutil
from pathlib import Path
from typing import Any

import yaml

from neuron_trainer.checkpoint import manifest
from neuron_trainer.data import tokenizer
from neuron_trainer.data.paths import expanded
from neuron_trainer.errors import CheckpointError
from neuron_trainer.run_directory.log_dir import RESOLVED_CONFIG


def find(source: Path, explicit: Path | None) -> Path | None:
    """The directory with its files: `explicit`, else the source's own, else what the run of a checkpoint was configured
    with. None where no directory has one; raises `CheckpointError` for a given one that has none."""
    if explicit is not None:
        if not tokenizer.in_directory(explicit):
            raise CheckpointError(
                f"--tokenizer: {explicit} has no tokenizer.json, vocab.json, vocab.txt or tokenizer.model"
            )
        return explicit
    candidates = [source, *_of_manifest(source), *_of_file(source.parent.parent / RESOLVED_CONFIG)]
    return next(
        (candidate for candidate in candidates if candidate.is_dir() and tokenizer.in_directory(candidate)), None
    )


def copy(folder: Path, target: Path) -> list[Path]:
    """Returns the files that were written."""
    return [Path(shutil.copyfile(path, target / path.name)) for path in tokenizer.in_directory(folder)]


def _of_manifest(checkpoint: Path) -> list[Path]:
    try:
        return _configured(manifest.read(checkpoint).config)
    except CheckpointError:
        return []


def _of_file(resolved: Path) -> list[Path]:
    try:
        return _configured(yaml.safe_load(resolved.read_bytes()))
    except (OSError, ValueError, yaml.YAMLError):
        return []


def _configured(config: Any) -> list[Path]:
    """`data.tokenizer.type`, and `data.train_dir`, where `data prepare` puts the tokenizer beside the rows."""
    try:
        data = config["data"]
        named = [(data.get("tokenizer") or {}).get("type"), data.get("train_dir")]
    except (KeyError, TypeError, AttributeError):
        return []
    return [expanded(path) for path in named if isinstance(path, str)]
