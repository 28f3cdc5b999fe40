"""What there is on this machine, as values: files, versions, limits, variables, answers of the vendor's programs.

PyTorch is not imported and no device is touched; a program that does not answer is ended after `PROGRAM_SECONDS`.
"""

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from neuron_api import contract, redaction

PROGRAM_SECONDS: Final = 20.0
PACKAGES: Final = (
    "torch",
    "torch-neuronx",
    "torch-xla",
    "libneuronxla",
    "neuronx-cc",
    "neuronx-distributed",
    "nki",
    "neuron-training-operator",
)
"""Distributions whose versions matter."""
VARIABLES: Final = (
    "CCOM_SOCKET_IFNAME",
    "CUDA_VISIBLE_DEVICES",
    "FI_EFA_FORK_SAFE",
    "FI_EFA_USE_DEVICE_RDMA",
    "FI_PROVIDER",
    "LOCAL_RANK",
    "LOCAL_WORLD_SIZE",
    "NEURON_CC_FLAGS",
    "NEURON_COMPILE_CACHE_URL",
    "NEURON_LOGICAL_NC_CONFIG",
    "NEURON_PJRT_PROCESSES_NUM_DEVICES",
    "NEURON_PJRT_PROCESS_INDEX",
    "NEURON_PJRT_WORLD_SIZE",
    "NEURON_RT_ASYNC_EXEC_MAX_INFLIGHT_REQUESTS",
    "NEURON_RT_EXEC_TIMEOUT",
    "NEURON_RT_NUM_CORES",
    "NEURON_RT_VIRTUAL_CORE_SIZE",
    "NEURON_RT_VISIBLE_CORES",
    contract.ENV_ACCELERATOR,
    contract.ENV_NUM_NODES,
    contract.ENV_PROCESSES_PER_NODE,
    "PJRT_DEVICE",
    "TMPDIR",
    "TORCHINDUCTOR_CACHE_DIR",
    "TORCH_DEVICE_BACKEND_AUTOLOAD",
    "TORCH_NEURONX_DEBUG_DIR",
    "TORCH_NEURONX_DISABLE_FALLBACK_EXECUTION",
    "TORCH_NEURONX_ENABLE_HOST_CC",
    "TORCH_NEURONX_FALLBACK_ONLY_FOR_UNIMPLEMENTED_OPS",
    "TORCH_NEURONX_NEFF_CACHE_DIR",
    "TORCH_NEURONX_NEFF_LOCAL_CACHE_DIR",
)
"""The variables that are read and reported, and no others: an environment may hold secrets."""
_SHM: Final = Path("/dev/shm")
NEURON: Final = ("neuron", "xla")
"""PyTorch's names of a NeuronCore: TorchNeuron's, and PyTorch/XLA's on Trn1."""
_DEVICE_FILES: Final = {**dict.fromkeys(NEURON, "neuron[0-9]*"), "cuda": "nvidia[0-9]*"}
_MEMORY_ONLY: Final = frozenset({"tmpfs", "ramfs"})


@dataclass(frozen=True, slots=True)
class Answer:
    """What a program said."""

    code: int | None = None
    """Exit code; None if it is not installed or did not end in time."""
    output: str = ""
    is_late: bool = False
    """It did not end in time, and was killed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A directory and the file system that it is, or would be, on."""

    path: str
    is_writable: bool
    free: int
    """Bytes."""
    total: int
    """Bytes."""
    kind: str
    """Type of the file system, as the kernel calls it: `overlay`, `tmpfs`, `lustre`."""
    is_root: bool
    """It is on the root's file system, which a container loses when it ends."""

    @property
    def is_lasting(self) -> bool:
        """Return whether files outlive the container."""
        return not self.is_root and self.kind not in _MEMORY_ONLY


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """All that checks judge."""

    accelerator: str
    """PyTorch's name of the device."""
    python: tuple[int, int]
    packages: Mapping[str, str | None]
    """Versions of `PACKAGES`; None for one that is not installed."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Those of `VARIABLES` that are set."""
    device_files: Mapping[str, bool] = field(default_factory=dict)
    """Device files, and whether this user may read and write them."""
    driver: str | None = None
    """Version of the Neuron driver that the kernel has loaded."""
    runtime: str | None = None
    """Version of the Neuron runtime library."""
    neuron_ls: Answer = Answer()
    efa_files: Mapping[str, bool] = field(default_factory=dict)
    fi_info: Answer = Answer()
    places: Mapping[str, Place] = field(default_factory=dict)
    """`cache`, `temporary`, `memory` (/dev/shm)."""
    open_files: int | None = None
    """Limit of open files; None: unlimited."""
    locked_memory: int | None = None
    """Limit of locked memory in bytes; None: unlimited."""

    @property
    def has_neuron(self) -> bool:
        """Return whether a run here computes on NeuronCores."""
        return self.accelerator in NEURON

    @property
    def nodes(self) -> int:
        """Return the nodes of the job; 1 where no operator says so."""
        text = self.variables.get(contract.ENV_NUM_NODES, "")
        return int(text) if text.isdigit() else 1

    @property
    def neuron_devices(self) -> tuple[dict[str, Any], ...] | None:
        """Return the devices of `neuron-ls --json-output`; None if it gave no list of them."""
        try:
            devices = json.loads(self.neuron_ls.output) if self.neuron_ls.code == 0 else None
        except ValueError:
            return None
        if not isinstance(devices, list) or not all(isinstance(device, dict) for device in devices):
            return None
        return tuple(devices)

    @property
    def logical_cores(self) -> int:
        """Return how many processes have a device of their own here; 0 if that is not known."""
        if self.accelerator == "cuda":
            return len(self.device_files)
        counts = (device.get("nc_count") for device in self.neuron_devices or ())
        return sum(count for count in counts if isinstance(count, int))


def read(accelerator: str, cache: Path) -> Machine:
    """Return what this machine has; `cache`: where compiled graphs would be kept."""
    is_neuron = accelerator in NEURON
    return Machine(
        accelerator=accelerator,
        python=sys.version_info[:2],
        packages={name: _version(name) for name in PACKAGES},
        variables=variables(os.environ),
        device_files=_files("/dev", _DEVICE_FILES[accelerator]) if accelerator in _DEVICE_FILES else {},
        driver=_text("/sys/module/neuron/version"),
        runtime=_runtime(),
        neuron_ls=ask(["neuron-ls", "--json-output"]) if is_neuron else Answer(),
        efa_files=_files("/dev/infiniband", "uverbs*"),
        fi_info=ask(["fi_info", "-p", "efa"]) if is_neuron else Answer(),
        places={"cache": place(cache), "temporary": place(Path(tempfile.gettempdir())), "memory": place(_SHM)},
        open_files=_limit(resource.RLIMIT_NOFILE),
        locked_memory=_limit(resource.RLIMIT_MEMLOCK),
    )


def variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of the list that are set, without users, passwords and signatures in addresses."""
    return {name: redaction.text(environ[name]) for name in VARIABLES if name in environ}


def ask(command: Sequence[str], seconds: float = PROGRAM_SECONDS) -> Answer:
    """Return what a program says; it gets no input, and is killed when it does not end in time."""
    if shutil.which(command[0]) is None:
        return Answer()
    try:
        program = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except OSError as problem:
        return Answer(output=str(problem))
    try:
        output, errors = program.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        return Answer(is_late=True)
    finally:
        end_session(program)
    return Answer(program.returncode, output.strip() or errors.strip())


def end_session(program: subprocess.Popen[Any]) -> None:
    """End a program that has a session of its own, with what it has started."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(program.pid, signal.SIGKILL)
    program.wait()
    for pipe in (program.stdout, program.stderr):
        if pipe is not None:
            pipe.close()


def place(path: Path) -> Place:
    """Return what is known of a directory, or of the nearest folder above it that exists."""
    nearest = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    existing = nearest if nearest.is_dir() else nearest.parent
    usage = shutil.disk_usage(existing)
    mount, kind = _mount(existing.resolve(), _text("/proc/self/mountinfo") or "")
    return Place(
        path=str(path),
        is_writable=nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK),
        free=usage.free,
        total=usage.total,
        kind=kind,
        is_root=mount == "/",
    )


def _mount(path: Path, table: str) -> tuple[str, str]:
    """Return the mount point of a path and its file system's type, from the text of /proc/self/mountinfo."""
    nearest = ("/", "")
    for line in table.splitlines():
        fields, _, tail = line.partition(" - ")
        point = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), fields.split()[4])
        if path.is_relative_to(point) and len(point) >= len(nearest[0]):
            nearest = (point, tail.split()[0])
    return nearest


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _runtime() -> str | None:
    """Return the version of libnrt, which its file name ends with: libnrt.so.2.35.10."""
    folders = [*os.environ.get("LD_LIBRARY_PATH", "").split(":"), "/opt/aws/neuron/lib"]
    numbers = (re.fullmatch(r"libnrt\.so\.([0-9]+\.[0-9.]+)", file.name) for file in _libraries(folders))
    return next((number[1] for number in numbers if number), None)


def _libraries(folders: Sequence[str]) -> Iterator[Path]:
    for folder in filter(None, folders):
        yield from sorted(Path(folder).glob("libnrt.so.*"), key=lambda file: len(file.name), reverse=True)


def _files(folder: str, pattern: str) -> dict[str, bool]:
    names = (file for file in sorted(Path(folder).glob(pattern)) if re.fullmatch(r"[a-z]+[0-9]+", file.name))
    return {str(file): os.access(file, os.R_OK | os.W_OK) for file in names}


def _text(path: str) -> str | None:
    try:
        return Path(path).read_text(errors="replace").strip()
    except OSError:
        return None


def _limit(which: int) -> int | None:
    soft, _ = resource.getrlimit(which)
    return None if soft == resource.RLIM_INFINITY else soft
