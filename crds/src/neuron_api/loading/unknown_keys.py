"""Names of keys (R5): unknown ones are refused with "did you mean"; in `data` and `model` others are passed on."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from neuron_api.config import TrainingConfig
from neuron_api.findings.finding import Finding
from neuron_api.findings.registry import make_finding
from neuron_api.findings.suggestions import misspelled, nearest
from neuron_api.schema.key_path import all_paths, fields, is_open, section_of

from .limits import MAX_UNKNOWN, ExceededError


def unknown(values: Mapping[str, Any], model: type[BaseModel] = TrainingConfig, path: str = "") -> list[Finding]:
    """A finding for each key that no section knows; `ExceededError` when there are more than any configuration has."""
    known = fields(model)
    result: list[Finding] = []
    for key, value in values.items():
        where = f"{path}.{key}" if path else key
        if len(result) > MAX_UNKNOWN:
            raise ExceededError(f"it has more than {MAX_UNKNOWN} keys that the document does not have.")
        if key not in known:
            result.append(_unknown(key, where, list(known), is_open(model)))
        elif isinstance(value, Mapping) and (section := section_of(known[key])):
            result += unknown(value, section, where)
    return result


def suggestion(path: str) -> str | None:
    """A documented key path near this one."""
    parent, _, name = path.rpartition(".")
    siblings = {one.rpartition(".")[2]: one for one, _ in all_paths() if one.rpartition(".")[0] == parent}
    if near := nearest(name, siblings):
        return siblings[near]
    return _elsewhere(name)


def _unknown(key: str, where: str, known: list[str], allows_more: bool) -> Finding:
    near = nearest(key, known)
    if near and not (allows_more and misspelled(key, known) is None):
        return make_finding(1301, where, "there is no such key.", f"Did you mean {near}?")
    if allows_more:
        return make_finding(
            1303, where, "not a documented key; it is kept and passed on.", f"Did you mean {near}?" if near else ""
        )
    parent = where.rpartition(".")[0] or "the top level"
    if other := _elsewhere(key):
        return make_finding(1302, where, f"{parent} has no such key.", f"Did you mean {other}?")
    return make_finding(1302, where, "there is no such key.", f"{parent} knows: {', '.join(sorted(known))}.")


def _elsewhere(name: str) -> str | None:
    """The same name in another section, where there is exactly one."""
    places = [path for path, _ in all_paths() if path.rpartition(".")[2] == name]
    return places[0] if len(places) == 1 else None
