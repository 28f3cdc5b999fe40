"""Suffixes of data files: format and compression, in upper or lower case."""

from collections.abc import Mapping
from typing import Final

FORMS: Final[Mapping[str, str]] = {
    ".json": "json", ".jsonl": "json", ".ndjson": "json", ".jsonlines": "json", ".ldjson": "json",
    ".csv": "csv", ".tsv": "csv", ".parquet": "parquet", ".pq": "parquet",
    ".arrow": "arrow", ".feather": "arrow", ".ipc": "arrow", ".txt": "text", ".text": "text", ".md": "text",
}  # fmt: skip
"""Format by suffix."""

COMPRESSIONS: Final[Mapping[str, str]] = {
    ".gz": "gzip", ".gzip": "gzip", ".bz2": "bzip2", ".xz": "xz", ".zst": "zstd", ".zstd": "zstd", ".lz4": "lz4",
}  # fmt: skip
"""Compression by last suffix."""


def _either(suffixes: Mapping[str, str]) -> str:
    return "|".join(suffix.removeprefix(".") for suffix in suffixes)


RECORDS: Final = (
    rf"(?i)\.({_either({suffix: form for suffix, form in FORMS.items() if form != 'text'})})"
    rf"(\.({_either(COMPRESSIONS)}))?$"
)
"""A regular expression, for Python and RE2, that matches the name of a file of records."""
