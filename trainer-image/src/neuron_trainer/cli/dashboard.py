"""`neuron-train dashboard RUN…`: the page of `neuron_dashboard` for runs of this machine, without Kubernetes."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from neuron_api.contract import ExitCode
from neuron_trainer.metrics import history

from .run_source import RunSource


def run(folders: Sequence[Path], *, port: int, browser: bool | None) -> int:
    """Serve until interrupted; an exit code."""
    named = history.folders_by_name(folders)
    missing = next((folder for folder in named.values() if not folder.is_dir()), None)
    if missing is not None:
        return _refuse(f"there is no directory {missing}. Give the log directory of a run.")
    from neuron_dashboard import server

    opens = browser if browser is not None else sys.stdout.isatty()
    try:
        server.run(RunSource(named), port=port, opens_browser=opens, say=_say)
    except (OSError, OverflowError) as problem:
        # asyncio's own text has the address as a Python tuple.
        number = getattr(problem, "errno", None)
        return _refuse(f"--port {port}: {os.strerror(number) if number else problem}. Give another one, or none.")
    return int(ExitCode.SUCCESS)


def _say(text: str) -> None:
    print(text, end="", flush=True)  # noqa: T201


def _refuse(message: str) -> int:
    print(f"neuron-train: {message}", file=sys.stderr)  # noqa: T201
    return int(ExitCode.CONFIG)
