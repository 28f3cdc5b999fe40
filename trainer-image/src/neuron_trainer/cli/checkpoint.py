"""`neuron-train checkpoint list | verify | inspect`: which exist, whether they are whole, what they hold."""

import sys
from collections.abc import Sequence
from pathlib import Path
from textwrap import indent
from typing import Any, Final

import yaml
from rich.console import Console
from rich.progress import track
from rich.table import Column, Table

from neuron_api import contract
from neuron_api.contract import ExitCode
from neuron_trainer.checkpoint import catalog, layout, reader, retention
from neuron_trainer.checkpoint.manifest import Manifest, read
from neuron_trainer.data.paths import is_directory
from neuron_trainer.errors import CheckpointError
from neuron_trainer.storage import files

_REMEDY: Final = "Give the log directory of a run, or a checkpoint in it."
_NOTHING: Final = "there is no checkpoint"

_NO_LIMIT: Final = 1_000
"""Columns; a name of a file has at most 255."""


def run(command: str, paths: Sequence[Path], output: str) -> int:
    """Run one of the commands; `output`: `table` or `json`. Return the exit code."""
    commands = {"list": _list, "verify": _verify, "inspect": _inspect}
    try:
        return int(commands[command](paths, output))
    except CheckpointError as problem:
        print(f"neuron-train: {problem}", file=sys.stderr)  # noqa: T201
        return int(ExitCode.CONFIG)


def _list(paths: Sequence[Path], output: str) -> ExitCode:
    rows = [_row(path) for place in paths for path in (*_in(place), *retention.moved_aside(_folder(place)))]
    if output == "json":
        _print_json(rows)
        return ExitCode.SUCCESS
    name = Column("checkpoint", overflow="fold", no_wrap=True)
    table = Table(name, "step", "samples", Column("written", no_wrap=True), "size", "state")
    for row in rows:
        shown = (row["name"], row["step"], row["consumed_samples"], row["time"], _size(row["bytes"]), row["state"])
        table.add_row(*("" if value is None else str(value) for value in shown))
    _console().print(table if rows else _NOTHING)
    return ExitCode.SUCCESS


def _folder(place: Path) -> Path:
    """Return where a log directory has its checkpoints, or the directory itself."""
    if not is_directory(place):
        raise CheckpointError(f"there is no directory {place}. {_REMEDY}")
    below = place / contract.CHECKPOINTS_DIR
    return below if is_directory(below) else place


def _in(place: Path) -> list[Path]:
    """Return the complete ones, newest first, then those that no start can resume from."""
    folder = _folder(place)
    if folder.name.endswith(contract.CHECKPOINT_SUFFIX):
        return [folder]
    contents = catalog.survey(folder)
    return [candidate.path for candidate in contents.complete] + [broken.path for broken in contents.broken]


def _row(path: Path) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(("name", "step", "consumed_samples", "time", "bytes", "state", "message"))
    row |= {"name": path.name, "state": "incomplete"}
    if not path.name.endswith(contract.CHECKPOINT_SUFFIX):
        return row | {"state": "moved aside"}
    if not layout.is_complete(path):
        return row
    try:
        manifest = read(path)
    except CheckpointError as problem:
        return row | {"state": "damaged", "message": str(problem)}
    return row | {
        "step": manifest.step,
        "consumed_samples": manifest.consumed_samples,
        "time": manifest.time.strftime("%Y-%m-%d %H:%M:%S"),
        "bytes": sum(file.size for file in manifest.files.values()),
        "state": "complete",
    }


def _verify(paths: Sequence[Path], output: str) -> ExitCode:
    checkpoints = [path for folder in paths for path in _in(folder)]
    rows: list[dict[str, str]] = []
    console = Console(stderr=True)
    for path in track(checkpoints, description="reading", console=console, disable=not console.is_terminal):
        try:
            catalog.verify(path)
            rows.append({"name": path.name, "verdict": "whole", "message": ""})
        except CheckpointError as problem:
            rows.append({"name": path.name, "verdict": "damaged", "message": str(problem)})
    if output == "json":
        _print_json(rows)
    elif not rows:
        _console().print(_NOTHING)
    for row in rows if output == "table" else ():
        print(" ".join(filter(None, (row["verdict"], row["name"], row["message"]))))  # noqa: T201
    is_whole = bool(rows) and all(row["verdict"] == "whole" for row in rows)
    return ExitCode.SUCCESS if is_whole else ExitCode.ERROR


def _inspect(paths: Sequence[Path], output: str) -> ExitCode:
    for place in paths:
        path = next(iter(_in(place)), place)  # the newest of a log directory
        manifest, tensors = _contents(path)
        if output == "json":
            shown = [{"name": t.name, "shape": list(t.shape), "dtype": t.dtype, "bytes": t.size} for t in tensors]
            _print_json({**manifest.model_dump(mode="json"), "tensors": shown})
            continue
        table = Table("tensor", "shape", "type", "size", title=path.name)
        for tensor in tensors:
            table.add_row(tensor.name, " x ".join(map(str, tensor.shape)), tensor.dtype, _size(tensor.size))
        for name, value in _facts(manifest).items():
            print(f"{name:<28}{value}")  # noqa: T201
        if manifest.config is not None:
            text = yaml.safe_dump(manifest.config, sort_keys=False, allow_unicode=True)
            print("config", indent(text, "  "), sep="\n")  # noqa: T201
        _console().print(table)
    return ExitCode.SUCCESS


def _facts(manifest: Manifest) -> dict[str, Any]:
    """Return the values of a line each: what is empty is left out, and what is counted in steps is an integer.

    The metrics repeat step and epoch as floating-point numbers, for the names of checkpoints.
    """
    sections = {"files", "architecture", "topology", "metrics", "config"}
    facts = manifest.model_dump(mode="json", exclude=sections)
    shown = {**manifest.metrics, **facts, **manifest.topology, **manifest.architecture}
    return {name: shown[name] for name in {**facts, **shown} if shown[name] not in ("", None)}


def _contents(path: Path) -> tuple[Manifest, list[reader.StoredTensor]]:
    if not is_directory(path):
        raise CheckpointError(f"there is no directory {path}. {_REMEDY}")
    try:
        return read(path), reader.tensor_entries(path)
    except CheckpointError as problem:
        remedy = f"`neuron-train checkpoint list {path.parent}` shows which checkpoints are complete."
        raise CheckpointError(f"{problem}. {remedy}") from None


def _console() -> Console:
    """Return what writes to stdout. Only a terminal has a width; a pipe gets whole names."""
    return Console() if sys.stdout.isatty() else Console(width=_NO_LIMIT)


def _size(count: int | None) -> str:
    return "" if count is None else files.decimal_size(count)


def _print_json(value: Any) -> None:
    print(files.json_dumps(value, indent=2))  # noqa: T201
