"""What the name of a data file says of it: its form and its compression, in any case of letters."""

from collections.abc import Mapping
from typing import Final

FORMS: Final[Mapping[str, str]] = {
    ".json": "json", ".jsonl": "json", ".ndjson": "json", ".jsonlines": "json", ".ldjson": "json",
    ".csv": "csv", ".tsv": "csv", ".parquet": "parquet", ".pq": "parquet",
    ".arrow": "arrow", ".feather": "arrow", ".ipc": "arrow", ".txt": "text", ".text": "text", ".md": "text",
}  # fmt: skip
"""Suffix to form."""

COMPRESSIONS: Final[Mapping[str, str]] = {
    ".gz": "gzip", ".gzip": "gzip", ".bz2": "bzip2", ".xz": "xz", ".zst": "zstd", ".zstd": "zstd", ".lz4": "lz4",
}  # fmt: skip
"""Last suffix to compression."""


def _either(suffixes: Mapping[str, str]) -> str:
    return "|".join(suffix.removeprefix(".") for suffix in suffixes)


RECORDS: Final = (
    rf"(?i)\.({_either({suffix: form for suffix, form in FORMS.items() if form != 'text'})})"
    rf"(\.({_either(COMPRESSIONS)}))?$"
)
"""A regular expression, of Python and RE2, that the name of a file of records has a match of."""
