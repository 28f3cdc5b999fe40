"""How many records a file has that is on this machine."""

from itertools import islice
from pathlib import Path
from typing import Final

from neuron_api.config import TrainingConfig

_LINES: Final = (".jsonl", ".ndjson", ".jsonlines", ".ldjson")
"""Formats with a record on each line; the others would have to be parsed."""


def count(config: TrainingConfig) -> int | None:
    """Return the records of `data.train_dir`, at most `data.dev_choose_samples`; None if they cannot be counted."""
    path = Path(config.data.train_dir or "").expanduser()
    if path.suffix.lower() not in _LINES or not path.is_file():
        return None
    try:
        with path.open("rb") as file:
            return sum(1 for _ in islice((line for line in file if line.strip()), config.data.dev_choose_samples))
    except OSError:
        return None
