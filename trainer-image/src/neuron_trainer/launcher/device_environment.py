"""Variables of a device's runtime that the launcher sets for its workers; a user's own value wins.

What the runtimes need is from their public documentation and from reports (docs/reference/upstream-facts.md).
"""

import fcntl
import getpass
import hashlib
import logging
import os
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile, gettempdir
from typing import Final

log = logging.getLogger(__name__)

AUTOLOAD: Final = "TORCH_DEVICE_BACKEND_AUTOLOAD"
"""Unless it is 0, importing PyTorch imports every package that brings a device."""

CONSTANT: Final[Mapping[str, Mapping[str, str]]] = {
    # Otherwise each optimizer step of a PyTorch with CUDA looks for the driver, 0.12 ms.
    "cpu": {"CUDA_VISIBLE_DEVICES": ""},
    "neuron": {
        # Without it the first collective in a container waits for ever.
        "TORCH_NEURONX_ENABLE_HOST_CC": "1",
        # An operator that the device has and that fails is an error, and does not run on the CPU in silence.
        "TORCH_NEURONX_FALLBACK_ONLY_FOR_UNIMPLEMENTED_OPS": "1",
        # The same for a graph that cannot be compiled.
        "TORCH_NEURONX_DISABLE_FALLBACK_EXECUTION": "1",
        # Seconds that a process waits for another one's compilation of the same graph; after the default of 20 minutes
        # it compiles it, too, and so does every other one.
        "TORCH_NEURONX_NEFF_CACHE_LOCK_TIMEOUT": "21600",
    },
    "cuda": {},
    "xla": {},
}
"""By accelerator."""

APPENDED: Final[Mapping[str, Mapping[str, str]]] = {
    # Otherwise the cache answers for ever that a compilation failed which was only interrupted.
    "xla": {"NEURON_CC_FLAGS": "--retry_failed_compilation"},
}
"""By accelerator, what is added to a user's own value."""

SHARED_CACHES: Final[Mapping[str, Mapping[str, str]]] = {
    "neuron": {"TORCH_NEURONX_NEFF_CACHE_DIR": "neff", "TORCH_NEURONX_HLO_CACHE_DIR": "hlo"},
    "xla": {"NEURON_COMPILE_CACHE_URL": "neff"},
}
"""By accelerator, variables and folders of compiled graphs that all nodes of a run share."""

NODE_CACHES: Final[Mapping[str, Mapping[str, str]]] = {
    "cpu": {"TORCHINDUCTOR_CACHE_DIR": "inductor"},
    "neuron": {
        "TORCHINDUCTOR_CACHE_DIR": "inductor",
    },
    "cuda": {"TORCHINDUCTOR_CACHE_DIR": "inductor", "TRITON_CACHE_DIR": "triton"},
}
"""Those of each node. The defaults of both are in /tmp: a new pod would compile everything again, and what a large
model leaves there fills the root disk."""


RUN_FOLDERS: Final[Mapping[str, Mapping[str, str]]] = {
    "neuron": {
        "TORCH_NEURONX_NEFF_LOCAL_CACHE_DIR": "neff-local",
        # Files of a compilation until it ends; processes that share a folder delete each other's, so two runs with one
        # `compiler_cache_url` must not. The worker fills in its rank (`accelerators.load`).
        "TORCH_NEURONX_DEBUG_DIR": "debug/{local_rank}",
    }
}
"""Those of each node of one run, in its own log directory if that can be locked (`with_locks`)."""


def keep_runtimes_out(environ: MutableMapping[str, str]) -> None:
    """Keep the runtimes of devices out of the launcher and the forkserver; call before they import torch.

    A user's value does not count: a process that has initialised a runtime cannot fork workers.
    """
    environ[AUTOLOAD] = "0"


def name_user(environ: MutableMapping[str, str]) -> None:
    """Give a user without an entry in /etc/passwd a name, which PyTorch 2.9's compiler asks for when it is imported.

    A container's user is a number that no image need know: 65532, or what a cluster chooses.
    """
    try:
        getpass.getuser()
    except (KeyError, OSError):
        environ["LOGNAME"] = f"uid_{os.getuid()}"


def with_locks(folder: Path) -> Path:
    """Return the folder, or one of this node in its place where the folder's file system has no `flock`.

    TorchNeuron locks what it compiles in it, and takes any other answer than "held" for a failed compilation: Lustre
    that is mounted without `flock`, or an object store's mount.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as problem:
        name = hashlib.sha256(str(folder).encode()).hexdigest()[:16]
        log.info("%s cannot be locked (%s): files of compilations go to this node's %s", folder, problem, gettempdir())
        return Path(gettempdir()) / f"neuron-train-compile-{name}"
    return folder


def append_flags(accelerator: str, environ: MutableMapping[str, str]) -> None:
    """Add `APPENDED` where it is missing."""
    for name, flag in APPENDED.get(accelerator, {}).items():
        flags = environ.get(name, "").split()
        if flag not in flags:
            environ[name] = " ".join([*flags, flag])


def variables(accelerator: str, cache: Path, own: Path, node_rank: int) -> Iterator[tuple[str, str]]:
    """Yield names and values for the workers of a node.

    `cache`: a directory that outlives them, and that other runs may have, too; `own`: one of this run alone.
    """
    yield from CONSTANT.get(accelerator, {}).items()
    for name, folder in SHARED_CACHES.get(accelerator, {}).items():
        yield name, str(cache / folder)
    for name, folder in NODE_CACHES.get(accelerator, {}).items():
        yield name, str(cache / f"node-{node_rank}" / folder)
    for name, folder in RUN_FOLDERS.get(accelerator, {}).items():
        yield name, str(own / f"node-{node_rank}" / folder)


class CompileFolder:
    """The folder of compiled graphs, where a start is refused, which leaves nothing behind.

    Importing PyTorch's compiler makes the folder that its variable names, in the launcher and in the forkserver beside
    it, before anything is compiled. This remembers which folders on the way to it were there before.
    """

    def __init__(self, path: Path) -> None:
        missing = [folder for folder in (path, *path.parents) if not folder.exists()]
        self._outermost = missing[-1] if missing else None
        """Of those that this start makes; None: it makes none."""

    def remove_empty(self) -> None:
        """Remove what was made since and has no file; call when nothing is imported any more."""
        if self._outermost is None:
            return
        for folder, _, _ in os.walk(self._outermost, topdown=False):
            with suppress(OSError):  # it has a file
                Path(folder).rmdir()
