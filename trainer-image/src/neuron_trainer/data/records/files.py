"""Where records are: a file, a directory of such files, or a data set that `datasets` saved."""

import logging
import zlib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from neuron_api.platform import inputs
from neuron_trainer.data.formats import records
from neuron_trainer.data.formats.detection import Detected, detect
from neuron_trainer.data.formats.errors import FormatError, reading
from neuron_trainer.data.paths import is_directory
from neuron_trainer.data.samples import Part

log = logging.getLogger(__name__)

_SPLITS: Final = {"train": ("train",), "validation": ("validation", "valid", "val", "dev"), "test": ("test",)}
"""Names of a data set's splits that are a part of the data."""
_CACHE_END: Final = "_idx.json"
"""Our own files beside those of the user."""
_CHUNK: Final = 1 << 24


class RecordFiles:
    """What a key names. Its methods raise `FormatError`."""

    def __init__(self, path: Path, part: Part) -> None:
        """`part` chooses a split where a data set has several."""
        self.path, self._part = path, part

    def checksum(self) -> int:
        """Return the CRC-32 of all bytes, and of the names of files in a directory."""
        checksum = 0
        for file in self._saved_files() if self._is_saved else [file.path for file in self._files]:
            if file != self.path:
                checksum = zlib.crc32(file.name.encode(), checksum)
            with reading(file), file.open("rb") as stream:
                while chunk := stream.read(_CHUNK):
                    checksum = zlib.crc32(chunk, checksum)
        return checksum

    def records(self) -> Iterator[records.Placed]:
        """Yield all records with their places."""
        if self._is_saved:
            yield from (records.Placed(f"row {number} of {self.path}", row) for number, row in self._rows())
            return
        for file in self._files:
            log.info("%s", f"{file.path}: {file}")
            yield from records.read(file)

    @cached_property
    def _is_saved(self) -> bool:
        return any((self.path / name).is_file() for name in ("dataset_dict.json", "state.json"))

    @cached_property
    def _files(self) -> list[Detected]:
        """Return the files; a pipe or a device, which would be read without an end, is refused."""
        if not is_directory(self.path):
            return [detect(self.path, is_records=True)]
        with reading(self.path):
            names = sorted(path.name for path in self.path.iterdir() if _is_file_of_records(path))
        if not names:
            raise FormatError(
                f"{self.path} is a directory without a file of records.",
                "Name a file, or a directory of .jsonl, .json, .csv, .parquet or .arrow files.",
            )
        return [detect(self.path / name, is_records=True) for name in names]

    def _saved_files(self) -> list[Path]:
        return sorted(path for path in self.path.rglob("*") if path.is_file())

    def _rows(self) -> Iterator[tuple[int, Any]]:
        """Yield the rows of a saved data set, numbered from 1."""
        import datasets

        try:
            saved = datasets.load_from_disk(str(self.path))
        except Exception as problem:  # whatever a damaged file leads the library to
            reason = str(problem).splitlines()[0][:200] if str(problem) else type(problem).__name__
            raise FormatError(f"{self.path} cannot be read: {reason}.", "Save the data set again.") from None
        if isinstance(saved, datasets.DatasetDict):
            saved = saved[self._split(list(saved))]
        yield from enumerate(saved, start=1)

    def _split(self, names: list[str]) -> str:
        for name in _SPLITS[self._part]:
            if name in names:
                return name
        raise FormatError(
            f"{self.path} has the splits {', '.join(names)}, and none for {self._part}.",
            f"Name the directory of one of them: {self.path / names[0]}",
        )


def _is_file_of_records(path: Path) -> bool:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in inputs.COMPRESSIONS:
        suffixes.pop()
    is_records = bool(suffixes) and inputs.FORMS.get(suffixes[-1], "text") != "text"
    return is_records and path.is_file() and not path.name.startswith(".") and not path.name.endswith(_CACHE_END)
