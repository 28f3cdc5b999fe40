"""When the device is opened, for which core, and what is refused then.

Variables of the stand-in: `NEURON_STANDIN_NODE`, a folder that is the node: a core is held by one process of it.
`NEURON_STANDIN_STALE`, a file: while it exists no core is available, as after a crash. `NEURON_STANDIN_TEARDOWN=crash`:
the process dies of SIGSEGV when it ends well. `NEURON_STANDIN_FALLBACKS`, operators (`aten::topk,…`) that the CPU
computes. `NEURON_STANDIN_PIN=0`: pinning memory raises, as on hosts whose driver cannot.
"""

import fcntl
import multiprocessing.util
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import IO, Final

from . import _C

BUSY: Final = (
    "NRT:nrt_allocate_neuron_cores  Logical Neuron Core(s) not available - Requested:lnc{core}-lnc{core} Available:0 "
    "Logical Core size:2 (cores busy, ret=-16)"
)
_FORKED: Final = (
    "neuron rule no-fork: this process was forked from one that had opened the device; start it by spawn or forkserver"
)


class _State:
    is_forked = False
    is_grouped = False
    """A process group exists, or has existed."""
    first_touch = ""
    core: IO[str] | None = None
    """The lock of the core; held as long as the process lives."""


def register() -> None:
    """Give the device its opener, and take the index that the launcher chose."""
    _C.set_index(_local_rank() or 0)
    _C.register(_open)
    chosen = os.environ.get("NEURON_STANDIN_FALLBACKS", "")
    _C.choose_fallbacks({name for name in chosen.split(",") if name})
    os.register_at_fork(after_in_child=_after_fork)
    if os.environ.get("NEURON_STANDIN_TEARDOWN") == "crash":
        multiprocessing.util.Finalize(None, _crash, exitpriority=0)  # its children leave without atexit


def is_neuron_runtime_initialized() -> bool:
    """Return whether the device was touched."""
    return bool(_C.is_open())


def first_touch() -> str:
    """Return the line that opened the device; empty: nobody has."""
    return _State.first_touch


def open_for_group() -> None:
    """Open the device for the default process group, which must be there before anybody else touches it."""
    if _State.is_grouped:
        return
    if is_neuron_runtime_initialized():
        raise AssertionError(
            "neuron rule group-first: the device was touched before init_process_group, by " + first_touch()
        )
    missing = [name for name in ("LOCAL_RANK", "LOCAL_WORLD_SIZE") if not os.environ.get(name)]
    if missing:
        raise RuntimeError(f"neuron rule local-rank: {' and '.join(missing)} must be set before init_process_group")
    local_rank = _local_rank()
    os.environ.setdefault("NEURON_RT_VISIBLE_CORES", str(local_rank))
    _C.set_index(local_rank)
    _State.is_grouped = True
    _C.touch()


def _local_rank() -> int | None:
    value = os.environ.get("LOCAL_RANK")
    return int(value) if value else None


def _open() -> str:
    """Return why the device cannot be opened; empty: it is open from now on."""
    if _State.is_forked:
        return _FORKED
    core = _core()
    stale = os.environ.get("NEURON_STANDIN_STALE")
    if (stale and Path(stale).exists()) or not _hold(core):
        return BUSY.format(core=core)
    _State.first_touch = _caller()
    return ""


def _core() -> str:
    """Return the first core that the process may use; all processes of a node that set nothing have core 0."""
    return os.environ.get("NEURON_RT_VISIBLE_CORES", "0").partition("-")[0].partition(",")[0] or "0"


def _hold(core: str) -> bool:
    """Lock a core of the node; False where another process has it."""
    node = os.environ.get("NEURON_STANDIN_NODE")
    if not node:
        return True
    Path(node).mkdir(parents=True, exist_ok=True)
    file = (Path(node) / f"core{core}").open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return False
    _State.core = file
    return True


def _caller() -> str:
    frames = [one for one in traceback.extract_stack() if "/torch_neuronx/" not in one.filename]
    own = [one for one in frames if "/site-packages/" not in one.filename and "/lib/python" not in one.filename]
    chosen = (own or frames)[-1]
    return f"{chosen.filename}:{chosen.lineno}"


def _after_fork() -> None:
    """Let no child of a process that has the device use it."""
    if _C.is_open():
        _State.is_forked = True
        _C.close()


def _crash() -> None:
    """Die as the runtime does in its teardown, after the work is done."""
    if _C.is_open() and not getattr(sys, "last_exc", None):
        sys.stdout.flush()
        sys.stderr.flush()
        signal.signal(signal.SIGSEGV, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGSEGV)
