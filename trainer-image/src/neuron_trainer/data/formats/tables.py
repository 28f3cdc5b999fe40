"""Rows of parquet and Arrow files, through pyarrow."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import FormatError


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Raise what pyarrow and the file system raise as `FormatError`."""
    from pyarrow import ArrowException

    try:
        yield
    except (ArrowException, OSError, UnicodeDecodeError) as problem:
        reason = str(problem).splitlines()[0][:200]
        raise FormatError(f"{path} cannot be read: {reason}.", "It is cut off or damaged: copy it again.") from None


def parquet_file(path: Path) -> Any:
    """A pyarrow.parquet.ParquetFile."""
    from pyarrow import parquet

    return parquet.ParquetFile(path)


def parquet_rows(
    path: Path, start: int = 0, stop: int | None = None, columns: Sequence[str] | None = None
) -> Iterator[tuple[int, Any]]:
    """Rows of the row groups from `start` to `stop` with their numbers in the file, from 1. Raises `FormatError`."""
    with reading(path):
        file = parquet_file(path)
        stop = file.metadata.num_row_groups if stop is None else stop
        before = sum(file.metadata.row_group(index).num_rows for index in range(start))
        batches = file.iter_batches(row_groups=list(range(start, stop)), columns=columns)
        rows = (row for batch in batches for row in batch.to_pylist())
        yield from enumerate(rows, start=before + 1)


def arrow_rows(path: Path) -> Iterator[tuple[int, Any]]:
    """Yield the rows that `datasets` or pyarrow wrote, in either of Arrow's forms. Raises `FormatError`."""
    import pyarrow

    with reading(path), pyarrow.memory_map(str(path)) as mapped:
        yield from enumerate((row for batch in _batches(mapped) for row in _pylist(batch)), start=1)


def _pylist(batch: Any) -> Any:
    """Offsets in a damaged file may point anywhere."""
    batch.validate(full=True)
    return batch.to_pylist()


def _batches(mapped: Any) -> Iterator[Any]:
    import pyarrow.ipc

    if mapped.read(6) == b"ARROW1":
        opened = pyarrow.ipc.open_file(mapped)
        yield from (opened.get_batch(index) for index in range(opened.num_record_batches))
        return
    mapped.seek(0)
    yield from pyarrow.ipc.open_stream(mapped)
