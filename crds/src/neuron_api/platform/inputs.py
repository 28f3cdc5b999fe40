"""Input paths of a configuration: data, tokenizer, model, checkpoint; formats of data files by their suffix."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from neuron_api.config import TrainingConfig
from neuron_api.published_models import catalog

_DATA: Final = ("train_dir", "val_dir", "test_dir", "data_prefix", "index_mapping_dir")
_TOKENIZER: Final = ("type", "model", "vocab_file", "merge_file")
_HUB_NAMES: Final = ("data.tokenizer.type",)
"""Keys whose relative values are names on the Hugging Face Hub."""


def input_paths(config: TrainingConfig) -> Iterator[tuple[str, str]]:
    """Yield key and path of every file or directory that is read, except URLs (s3://…) and paths with variables."""
    for key, value in _values(config):
        for path in _paths_in(value):
            is_name = key in _HUB_NAMES and not path.startswith(("/", ".", "~"))
            if path and "://" not in path and "${" not in path and "$" not in path and not is_name:
                yield key, path


def _values(config: TrainingConfig) -> Iterator[tuple[str, Any]]:
    yield from ((f"data.{name}", getattr(config.data, name)) for name in _DATA)
    if config.data.tokenizer is not None:
        yield from ((f"data.tokenizer.{name}", getattr(config.data.tokenizer, name, None)) for name in _TOKENIZER)
    named = config.model.model_config_path
    yield "model.model_config", None if named and catalog.find(named) else named
    yield "exp_manager.resume_from_checkpoint", config.exp_manager.resume_from_checkpoint
    yield "exp_manager.files_to_copy", config.exp_manager.files_to_copy


def _paths_in(value: Any) -> Iterator[str]:
    """Yield the paths of a value: a text, a list with or without weights, a mapping of such lists."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _paths_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            if not _is_weight(item):
                yield from _paths_in(item)


def _is_weight(item: Any) -> bool:
    try:
        float(item)
    except (TypeError, ValueError):
        return False
    return True


FORMS: Final[Mapping[str, str]] = {
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".jsonlines": "json",
    ".ldjson": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
    ".txt": "text",
    ".text": "text",
    ".md": "text",
}
"""Format by suffix."""

COMPRESSIONS: Final[Mapping[str, str]] = {
    ".gz": "gzip",
    ".gzip": "gzip",
    ".bz2": "bzip2",
    ".xz": "xz",
    ".zst": "zstd",
    ".zstd": "zstd",
    ".lz4": "lz4",
}
"""Compression by last suffix."""


def _either(suffixes: Mapping[str, str]) -> str:
    return "|".join(suffix.removeprefix(".") for suffix in suffixes)


RECORDS: Final = (
    rf"(?i)\.({_either({suffix: form for suffix, form in FORMS.items() if form != 'text'})})"
    rf"(\.({_either(COMPRESSIONS)}))?$"
)
"""A regular expression, for Python and RE2, that matches the name of a file of records."""

SUFFIX: Final = r"\.[A-Za-z][A-Za-z0-9_]{0,6}$"
"""A regular expression, for both, that matches a name with a suffix; one without may be a directory."""
