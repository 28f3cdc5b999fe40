"""Places of checkpoints: directories of a file system, or prefixes of an object store (`s3://…`) through fsspec.

Both are used as `pathlib.Path`s. An object store has no rename, no directories and nothing to sync: an object is there,
whole, once its write has ended. So nothing here relies on any of these.
"""

import os
import shutil
from pathlib import Path
from typing import Any, Final, cast

from neuron_trainer.errors import CheckpointError
from neuron_trainer.storage.files import naming

_NO_CACHE: Final[dict[str, dict[str, Any]]] = {"s3": {"use_listings_cache": False}}
"""Options by protocol: another process writes there, too, so a listing must not be remembered."""


def place(text: str | os.PathLike[str]) -> Path:
    """Return the place that a configuration names; raises `CheckpointError` where a package for it is missing."""
    if is_remote(text):
        return text if isinstance(text, Path) else _remote(str(text))
    return Path(os.path.expandvars(text)).expanduser().absolute()


def is_remote(where: str | os.PathLike[str]) -> bool:
    """Return whether it is an address (`s3://bucket/prefix`) rather than a directory."""
    return "://" in str(where)


def _remote(url: str) -> Path:
    protocol = url.partition("://")[0]
    try:
        from upath import UPath

        return cast(Path, UPath(url, **_NO_CACHE.get(protocol, {})))
    except (ImportError, ValueError) as problem:
        raise CheckpointError(
            f"{url} cannot be reached: {problem}. Install the package that reads {protocol}:// addresses: "
            "for S3 it is the extra `s3` of neuron-training-operator (s3fs, universal-pathlib)"
        ) from None


def remove_tree(folder: Path) -> None:
    """Remove a directory and all files below."""
    if is_remote(folder):
        remote = cast(Any, folder)
        remote.fs.rm(remote.path, recursive=True)
    else:
        shutil.rmtree(folder)


def make(folder: Path) -> None:
    """Create a directory and those above it."""
    if not is_remote(folder):
        folder.mkdir(parents=True, exist_ok=True)


def copy(source: Path, target: Path) -> None:
    """Give a file that is never written again a second name; an object store copies it, without this machine."""
    if is_remote(source):
        remote = cast(Any, source)
        remote.fs.copy(remote.path, cast(Any, target).path)
    else:
        os.link(source, target)


def sync(path: Path) -> None:
    """Wait until a file or a directory's entries are on the disk."""
    if is_remote(path):
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write(path: Path, content: bytes) -> None:
    """Write and wait until it is on the disk."""
    with naming(path), path.open("wb") as file:
        file.write(content)
        if not is_remote(path):
            file.flush()
            os.fsync(file.fileno())
