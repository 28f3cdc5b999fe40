"""What the host made the device wait or copy for, by the phase of a training and the line that caused it.

With `NEURON_STANDIN_REPORT=<folder>` every process writes `rank<RANK>-<pid>.json` there, anew with each phase and at
its end. `tests/support/neuron_device/report.py` reads it. A step lasts until the next one begins: the batch that is
copied ahead belongs to the step before.
"""

import atexit
import json
import os
import sys
import threading
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing.util import Finalize
from pathlib import Path
from types import FrameType
from typing import Final

from . import _C

_TRAINER: Final = "/neuron_trainer/"
_PHASES: Final = {
    "checkpoint/writer.py": "save",
    "checkpoint/staging.py": "save",
    "checkpoint/reader.py": "load",
}
"""Modules of the trainer whose frames say what is going on."""
_EVALUATION: Final = ("validation_step", "test_step", "_means")
_Event = tuple[str, str, str, str]


@dataclass
class _Observations:
    file: Path | None = None
    phase: str = "build"
    events: Counter[_Event] = field(default_factory=Counter)
    operators: dict[str, Counter[str]] = field(default_factory=dict)
    before: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)


_SEEN: Final = _Observations()


def register() -> None:
    """Begin to look, where a report is wanted."""
    if folder := os.environ.get("NEURON_STANDIN_REPORT"):
        watch(Path(folder) / f"rank{_rank()}-{os.getpid()}.json")
        atexit.register(write)
        Finalize(None, write, exitpriority=10)  # processes of multiprocessing run no atexit in Python 3.11


def watch(file: Path) -> None:
    """Begin anew: what is seen from now on goes into a file, by `write`."""
    _C.observe(record)
    _SEEN.file, _SEEN.phase, _SEEN.before = file, "build", Counter(_C.operators())
    _SEEN.events.clear()
    _SEEN.operators.clear()


def record(kind: str, detail: str) -> None:
    """Count an event."""
    frames = _frames()
    with _SEEN.lock:
        _enter(_phase(frames))
        _SEEN.events[(_phase_of_event(frames), kind, detail, _line(frames))] += 1


def count_collective(name: str, size: int) -> None:
    """Count a collective of a group."""
    if _SEEN.file is not None:
        record("collective", f"{name} of {size}")


def begin(phase: str) -> None:
    """Say that a phase begins: for tests that drive the parts of the trainer by themselves."""
    with _SEEN.lock:
        _enter(phase)


def write() -> None:
    """Write what was seen."""
    if _SEEN.file is None:
        return
    names = ("phase", "kind", "detail", "line")
    with _SEEN.lock:
        _close_phase()
        events = [dict(zip(names, event, strict=True), count=count) for event, count in _SEEN.events.items()]
        document = {"rank": _rank(), "events": events, "operators": _SEEN.operators}
    _SEEN.file.parent.mkdir(parents=True, exist_ok=True)
    scratch = _SEEN.file.with_suffix(".part")
    scratch.write_text(json.dumps(document))
    scratch.rename(_SEEN.file)


def _rank() -> int:
    return int(os.environ.get("RANK") or os.environ.get("LOCAL_RANK") or 0)


def _enter(phase: str) -> None:
    if phase and phase != _SEEN.phase:
        _close_phase()
        _SEEN.phase = phase


def _close_phase() -> None:
    now = Counter(_C.operators())
    _SEEN.operators.setdefault(_SEEN.phase, Counter()).update(now - _SEEN.before)
    _SEEN.before = now


def _frames() -> list[FrameType]:
    """Return the frames of the thread that issued, innermost first; autograd's threads have those of the main one."""
    frame: FrameType | None = sys._getframe(1)
    own = list(_outward(frame))
    if any(_TRAINER in one.f_code.co_filename for one in own):
        return own
    main = sys._current_frames().get(threading.main_thread().ident or 0)
    return list(_outward(main)) if threading.current_thread() is not threading.main_thread() else own


def _outward(frame: FrameType | None):  # type: ignore[no-untyped-def]
    while frame is not None:
        if "/torch_neuronx/" not in frame.f_code.co_filename:
            yield frame
        frame = frame.f_back


def _phase(frames: list[FrameType]) -> str:
    """Return the step that a frame is in; empty: none."""
    for frame in frames:
        if frame.f_code.co_name == "training_step" and frame.f_code.co_filename.endswith("loop/module.py"):
            here = frame.f_locals
            return f"step {here['step'] if 'step' in here else here['self'].trainer.global_step + 1}"
    return ""


def _phase_of_event(frames: list[FrameType]) -> str:
    """Return what a frame says is going on, else the step that was begun last."""
    for frame in frames:
        name = frame.f_code.co_filename
        if frame.f_code.co_name in _EVALUATION and name.endswith("loop/module.py"):
            return "evaluate"
        for module, phase in _PHASES.items():
            if name.endswith(f"{_TRAINER}{module}"):
                return phase
    return _SEEN.phase


def _line(frames: list[FrameType]) -> str:
    """Return the trainer's line, and the innermost one where that is another's."""
    innermost = _place(frames[0]) if frames else f"thread {threading.current_thread().name}"
    for frame in frames:
        if _TRAINER in frame.f_code.co_filename:
            return _place(frame) if frame is frames[0] else f"{_place(frame)} <- {innermost}"
    return innermost


def _place(frame: FrameType) -> str:
    name = frame.f_code.co_filename.rpartition(_TRAINER)[2].rpartition("/site-packages/")[2]
    return f"{name}:{frame.f_lineno} {frame.f_code.co_name}"
