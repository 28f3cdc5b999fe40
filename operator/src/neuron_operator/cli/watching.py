"""`--watch`: a text again and again; on a terminal redrawn in place, into a file or a pipe once for each change."""

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, TextIO

from neuron_operator.kube.errors import UnreachableError

INTERVAL: Final = 2.0
"""Seconds between two looks."""


@dataclass(frozen=True, slots=True)
class Frame:
    """What a command says at one moment."""

    text: str
    is_over: bool = False
    """Nothing will change any more."""
    has_failed: bool = False
    """The job that is followed has failed."""
    content: object = None
    """What has to differ for a new frame in a file: ages do not count. None: the text."""

    @property
    def identity(self) -> object:
        """Return what has to differ for a new frame."""
        return self.text if self.content is None else self.content


def run(
    look: Callable[[], Frame],
    *,
    watch: bool,
    is_drawn: bool = True,
    stream: TextIO | None = None,
    pause: Callable[[float], None] = time.sleep,
) -> Frame:
    """Print once, or until nothing will change any more; return the last frame. `is_drawn`: text for people, which a
    terminal shows in place."""
    out = stream or sys.stdout
    last = look()
    if is_drawn and out.isatty():
        from .live import screen

        history = [last]
        screen.draw((frame.text for frame in _recorded(_frames(look, last, pause), history, watch=watch)), out)
        return history[-1]
    out.write(last.text)
    for frame in _frames(look, last, pause) if watch else ():
        if frame.identity != last.identity:
            out.write(frame.text)
        out.flush()
        last = frame
    return last


def _recorded(frames: Iterator[Frame], history: list[Frame], *, watch: bool) -> Iterator[Frame]:
    """Yield the frames, only the first one without `watch`; the newest is the only entry of `history`."""
    for frame in frames:
        history[:] = [frame]
        yield frame
        if not watch:
            return


def _frames(look: Callable[[], Frame], first: Frame, pause: Callable[[float], None]) -> Iterator[Frame]:
    """Yield a frame for each look; where the API server is away, the last one again with a note."""
    last = first
    yield first
    while not last.is_over:
        pause(INTERVAL)
        try:
            last = look()
        except UnreachableError as problem:
            yield Frame(f"{last.text}{problem}; trying again\n", content=str(problem))
            continue
        yield last
