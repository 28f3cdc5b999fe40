"""A checkpoint as a directory that `transformers` loads: exported once, kept until the run has a newer one."""

import hashlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

from neuron_api import contract
from neuron_trainer.checkpoint import hf_checkpoint
from neuron_trainer.convert import tokenizer
from neuron_trainer.errors import CheckpointError

from . import convert

_SHARD_BYTES: Final = 5 * 10**9
_MARK: Final = 12
"""Digits of a hash in a name."""


def export(checkpoint: Path, base: Path | None) -> Path:
    """Return a directory of `transformers` with the weights: the checkpoint itself if it is one, else an export in the
    temporary directory of this user.

    Adapters are merged with `base`, by default the model that they name. Raises `CheckpointError`, `InputError`,
    `OSError` or `ValueError`.
    """
    if hf_checkpoint.is_hf_checkpoint(checkpoint):
        return checkpoint
    run, mark = _hash(str(checkpoint.parent.absolute())), _hash(f"{_contents(checkpoint)}{base}")
    home = _home()
    target = home / f"{run}-{mark}"
    if target.is_dir():
        return target
    for older in home.glob(f"{run}-*"):
        shutil.rmtree(older, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=home) as folder:
        convert.convert(_request(checkpoint, Path(folder, "model"), base))
        try:
            Path(folder, "model").rename(target)
        except OSError:
            if not target.is_dir():  # else another process has written the same at this moment
                raise
    return target


def find_tokenizer(checkpoint: Path, option: Path | None) -> Path:
    """Return the directory with the tokenizer: `option`, the checkpoint's own, or the one that its run was configured
    with. Raises `CheckpointError`."""
    folder = tokenizer.find(checkpoint, option)
    if folder is None:
        raise CheckpointError(f"no tokenizer was found beside {checkpoint}; give --tokenizer DIR")
    return folder


def _home() -> Path:
    """Return a directory that this user alone can write."""
    home = Path(tempfile.gettempdir(), f"neuron-train-{os.getuid()}")
    home.mkdir(mode=0o700, exist_ok=True)
    if home.stat().st_uid != os.getuid() or home.is_symlink():
        raise CheckpointError(f"{home} is another user's; set TMPDIR to a directory of your own")
    return home


def _contents(checkpoint: Path) -> str:
    """Return the manifest, or of a directory without one what its files are."""
    try:
        return (checkpoint / contract.CHECKPOINT_MANIFEST).read_text()
    except (OSError, UnicodeDecodeError):
        states = ((file.name, file.stat()) for file in sorted(checkpoint.iterdir()) if file.is_file())
        return f"{checkpoint.absolute()} {[(name, state.st_size, state.st_mtime_ns) for name, state in states]}"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_MARK]


def _request(source: Path, target: Path, base: Path | None) -> convert.ConvertRequest:
    return convert.ConvertRequest(
        source,
        target,
        "hf",
        config=None,
        dtype=None,
        shard_bytes=_SHARD_BYTES,
        xser=False,
        grouped=False,
        masters=False,
        base=base,
    )
