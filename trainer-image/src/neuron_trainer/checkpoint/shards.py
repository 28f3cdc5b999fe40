"""torch.distributed.checkpoint's files with a checksum of what is written, taken while it is written."""

import io
import pickle
import warnings
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, Final, cast

import torch
import xxhash
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import (
    CURRENT_DCP_VERSION,
    FileSystem,
    FileSystemReader,
    FileSystemWriter,
)
from torch.distributed.checkpoint.metadata import Metadata, StorageMeta
from torch.distributed.checkpoint.planner import SavePlan, SavePlanner, WriteItem
from torch.distributed.checkpoint.storage import WriteResult
from torch.futures import Future

from neuron_trainer.storage import places
from neuron_trainer.storage.files import naming

from . import layout, tensor_index
from .manifest import FileEntry
from .staging import available_threads

if torch.__version__.startswith("2.9."):  # its own writer calls what it warns of (2.14's does not)
    warnings.filterwarnings("ignore", message="TypedStorage is deprecated", category=UserWarning)

_LARGE: Final = 1 << 20
"""Bytes; to hand over less takes longer than to hash it."""
_PART: Final = 1 << 24
"""Bytes of a file of its own; a sync of a file takes longer than to write less."""


class HashingFile(io.RawIOBase):
    """A file that is written once, front to back."""

    def __init__(self, file: Any, hasher: Executor) -> None:
        self._file, self._hasher, self._digest, self._size = file, hasher, xxhash.xxh3_128(), 0

    def write(self, data: Any) -> int:
        """All of it, or an error; what is large is hashed while it is written (both leave the interpreter)."""
        view = memoryview(data)
        self._size += view.nbytes
        if view.nbytes < _LARGE:
            self._digest.update(view)
            self._file.write(view)
            return view.nbytes
        hashed = self._hasher.submit(self._digest.update, view)
        try:
            self._file.write(view)
        finally:
            hashed.result()  # the bytes are the caller's again when this returns
        return view.nbytes

    def tell(self) -> int:
        """Bytes written."""
        return self._size

    def flush(self) -> None:
        """Hand what is buffered to the operating system."""
        if not self._file.closed:
            self._file.flush()

    def fileno(self) -> int:
        """Return the descriptor, for fsync."""
        return int(self._file.fileno())

    def writable(self) -> bool:
        """Always."""
        return True

    def entry(self) -> FileEntry:
        """Return what the manifest says of it."""
        return FileEntry(size=self._size, xxh128=self._digest.hexdigest())


class ShardStorage(FileSystem):
    """What torch's writer and reader ask of storage, for directories and object stores; no rename."""

    def __init__(self) -> None:
        super().__init__()
        self.entries: dict[str, FileEntry] = {}
        """Of the files written, by name."""
        self._hasher = ThreadPoolExecutor(available_threads(), "checksum")
        self.problem: OSError | None = None
        """Why one could not be written: torch's own message does not say it."""

    @contextmanager
    def create_stream(self, path: Any, mode: str) -> Iterator[Any]:
        """`wb` or `rb`."""
        place: Path = path
        with naming(place), place.open(mode) as file:
            if "w" not in mode:
                yield file
                return
            checked = HashingFile(_Remembering(file, self), self._hasher)
            yield checked
            self.entries[place.name] = checked.entry()

    def concat_path(self, path: Any, suffix: str) -> Path:
        """A file of the directory."""
        return cast(Path, path) / suffix

    def init_path(self, path: Any) -> Path:
        """Return where it is."""
        return places.place(path)

    def mkdir(self, path: Any) -> None:
        """See `places.make`."""
        places.make(path)

    def exists(self, path: Any) -> bool:
        """Return whether the file is there."""
        return cast(Path, path).exists()


class _Remembering:
    """A file whose errors are kept."""

    def __init__(self, file: Any, files: ShardStorage) -> None:
        self._file, self._files = file, files

    def write(self, data: Any) -> int:
        """See `ShardStorage.problem`."""
        try:
            return int(self._file.write(data))
        except OSError as problem:
            self._files.problem = problem
            raise

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


class ShardWriter(FileSystemWriter):
    """A rank's shards: one file, or one for each tensor; remembers their checksums."""

    def __init__(self, folder: Path, *, one_file_per_tensor: bool = False) -> None:
        super().__init__(
            ".",
            single_file_per_rank=not one_file_per_tensor,
            sync_files=not places.is_remote(folder),
            per_thread_copy_ahead=0,  # all is in host memory: a device's stream has nothing to do with it
            overwrite=False,
        )
        self.fs = self._files = ShardStorage()
        self.path = self._folder = folder
        self._one_file_per_tensor = one_file_per_tensor

    @property
    def entries(self) -> dict[str, FileEntry]:
        """Return the entries of the files that this rank wrote."""
        return self._files.entries

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> Future[list[WriteResult]]:
        """Write as torch does, several files at once; an error of the storage is raised as such."""
        parts = [plan] if self._one_file_per_tensor else _parts(plan, available_threads())
        write = super().write_data
        written: Future[list[WriteResult]] = Future()
        try:
            with ThreadPoolExecutor(len(parts), "shards") as pool:
                results = [pool.submit(write, part, planner) for part in parts]
            written.set_result([entry for result in results for entry in result.result().value()])
        except RuntimeError as problem:
            if self._files.problem is not None:
                raise self._files.problem from problem
            raise
        return written

    def finish(self, metadata: Metadata, results: list[list[WriteResult]]) -> None:
        """The index of tensors, by rank 0; under its own name at once: the marker, not the name, says complete."""
        metadata.version = CURRENT_DCP_VERSION
        metadata.storage_data = {result.index: result.storage_data for part in results for result in part}
        metadata.storage_meta = StorageMeta()  # torch's names the directory, which may be copied elsewhere
        content = pickle.dumps(metadata)
        places.write(self._folder / layout.TENSOR_INDEX, content)
        self.entries[layout.TENSOR_INDEX] = FileEntry(size=len(content), xxh128=xxhash.xxh3_128_hexdigest(content))


def _parts(plan: SavePlan, most: int) -> list[SavePlan]:
    """Return the parts of a plan, one for each file, about equally large. torch's own threads lose an error of all but
    the first."""
    sizes = {item.index: _size(item) for item in plan.items}
    count = max(1, min(most, len(plan.items), sum(sizes.values()) // _PART))
    if count == 1:
        return [plan]
    bins: list[list[WriteItem]] = [[] for _ in range(count)]
    filled = [0] * count
    for item in sorted(plan.items, key=lambda item: -sizes[item.index]):
        least = filled.index(min(filled))
        bins[least].append(item)
        filled[least] += sizes[item.index]
    prefix = plan.storage_data.prefix
    return [
        replace(plan, items=items, storage_data=replace(plan.storage_data, prefix=f"{prefix}{number}_"))
        for number, items in enumerate(bins)
    ]


def _size(item: WriteItem) -> int:
    data = item.tensor_data
    return 0 if data is None else data.chunk.sizes.numel() * data.properties.dtype.itemsize


class ShardReader(FileSystemReader):
    """Reads from a directory or an object store."""

    def __init__(self, folder: Path) -> None:
        super().__init__(".")
        self.fs = ShardStorage()
        self.path = folder

    def read_metadata(self, *_: Any, **__: Any) -> Metadata:
        """The index of tensors; raises `CheckpointError`. torch's own runs whatever the file asks for."""
        with self.fs.create_stream(self.fs.concat_path(self.path, layout.TENSOR_INDEX), "rb") as file:
            return tensor_index.read(cast(IO[bytes], file), self.path)


def reasons(problem: BaseException) -> str:
    """Return why torch.distributed.checkpoint failed, of each rank."""
    if not isinstance(problem, CheckpointException):
        return str(problem)
    return "; ".join(f"rank {rank}: {reason}" for rank, (reason, _) in sorted(problem.failures.items()))
