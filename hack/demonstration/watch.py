"""The live view: a progress bar on a terminal, a line for each change elsewhere; acts when a step is reached."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from .kubectl import DemoError, Kubectl

_LINE_EVERY = 20
"""Steps between two lines where there is no terminal."""


@dataclass
class Trigger:
    """Something to do once a step has been reached."""

    step: int
    what: str
    act: Callable[[], str]
    done: bool = False


def follow(
    kubectl: Kubectl, job: str, console: Console, triggers: Sequence[Trigger] = (), seconds: float = 900
) -> dict[str, Any]:
    """Follow a job to its end, bounded; returns the object. Raises when it fails."""
    deadline = time.monotonic() + seconds
    columns = (
        TextColumn("{task.description:<12}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} {task.fields[note]}"),
        TimeElapsedColumn(),
    )
    last: tuple[object, ...] = ()
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("Pending", total=None, note="")
        while time.monotonic() < deadline:
            status = kubectl.get("ntj", job).get("status", {})
            progress = status.get("progress", {})
            phase, step = status.get("phase", "Pending"), progress.get("step", 0)
            loss = f"loss {float(progress['loss']):.4f}" if "loss" in progress else ""
            bar.update(task, description=phase, completed=step, total=progress.get("maxSteps"), note=loss)
            line = f"{phase:<11} ready {status.get('readyNodes', '-'):<2} step {step:>4}  {loss}"
            news = (phase, status.get("readyNodes"), step // _LINE_EVERY)
            if not console.is_terminal and news != last:
                console.print(f"  {line}")
                last = news
            for trigger in triggers:
                if not trigger.done and phase == "Running" and step >= trigger.step:
                    trigger.done = True
                    console.print(f"  [bold]step {step}: {trigger.what} {trigger.act()}[/bold]")
            if phase == "Succeeded":
                return kubectl.get("ntj", job)
            if phase == "Failed":
                raise DemoError(f"{job} failed: {_why(status)}")
            time.sleep(0.5)
    raise DemoError(f"{job} did not end within {seconds:.0f} s: {_why(kubectl.get('ntj', job).get('status', {}))}")


def _why(status: dict[str, Any]) -> str:
    messages = [
        f"{c['type']}={c['status']} {c['reason']}: {c.get('message', '')}" for c in status.get("conditions", [])
    ]
    return "\n  ".join(["", *messages])
