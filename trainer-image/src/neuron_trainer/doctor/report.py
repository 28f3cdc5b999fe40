"""What is sent back: the lines, and what they rest on, without secrets and names of people or hosts."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from neuron_api import version

from .machine import Machine
from .result import Outcome, Result
from .trials import Trial

_PRIVATE: Final = frozenset({"instance_id", "command"})
"""Of the answer of neuron-ls: whose machine it is, and what else runs there."""


def render(results: Sequence[Result], machine: Machine, made: Mapping[str, Trial], *, as_json: bool) -> str:
    """Return the report: a JSON object, or the lines and below them the object."""
    document = {
        "release": version(),
        "results": [asdict(result) for result in results],
        "machine": _without_private(asdict(machine)),
        "trials": {name: asdict(trial) for name, trial in made.items()},
    }
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    return text if as_json else "".join(f"{result}\n" for result in results) + "\n" + text


def is_json(path: Path) -> bool:
    """Return whether the file's name asks for JSON alone."""
    return path.suffix == ".json"


def has_failed(results: Sequence[Result]) -> bool:
    """Return whether something failed."""
    return any(result.outcome is Outcome.FAILED for result in results)


def _without_private(machine: dict[str, Any]) -> dict[str, Any]:
    answer = machine["neuron_ls"]
    try:
        parsed = json.loads(answer["output"])
    except ValueError:
        parsed = "left out: it is no JSON" if answer["output"] else ""
    return {**machine, "neuron_ls": {**answer, "output": _cut(parsed)}}


def _cut(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _cut(item) for key, item in value.items() if key not in _PRIVATE}
    return [_cut(item) for item in value] if isinstance(value, list) else value
