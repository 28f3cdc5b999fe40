"""Unknown keys (R5): refused with a suggestion; in `data` and `model` keys of the user's own are passed on."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from neuron_api.config import TrainingConfig
from neuron_api.findings.finding import Finding
from neuron_api.findings.registry import make_finding
from neuron_api.findings.suggestions import misspelled, nearest
from neuron_api.schema.key_path import all_paths, fields, is_open, section_of

from .limits import MAX_UNKNOWN, ExceededError


def find_unknown(values: Mapping[str, Any], model: type[BaseModel] = TrainingConfig, path: str = "") -> list[Finding]:
    """Return a finding for each undocumented key; raise `ExceededError` when there are too many for a configuration."""
    documented = fields(model)
    result: list[Finding] = []
    for key, value in values.items():
        key_path = f"{path}.{key}" if path else key
        if len(result) > MAX_UNKNOWN:
            raise ExceededError(f"it has more than {MAX_UNKNOWN} keys that the document does not have.")
        if key not in documented:
            result.append(_unknown_key(key, key_path, list(documented), is_open(model)))
        elif isinstance(value, Mapping) and (section := section_of(documented[key])):
            result += find_unknown(value, section, key_path)
    return result


def suggest(path: str) -> str | None:
    """Return the documented key path that is most like this one, if any."""
    parent, _, name = path.rpartition(".")
    siblings = {key.rpartition(".")[2]: key for key, _ in all_paths() if key.rpartition(".")[0] == parent}
    if near := nearest(name, siblings):
        return siblings[near]
    return _in_another_section(name)


def _unknown_key(key: str, key_path: str, documented: list[str], allows_more: bool) -> Finding:
    near = nearest(key, documented)
    if near and not (allows_more and misspelled(key, documented) is None):
        return make_finding(1301, key_path, "there is no such key.", f"Did you mean {near}?")
    if allows_more:
        return make_finding(
            1303, key_path, "not a documented key; it is kept and passed on.", f"Did you mean {near}?" if near else ""
        )
    parent = key_path.rpartition(".")[0] or "the top level"
    if path := _in_another_section(key):
        return make_finding(1302, key_path, f"{parent} has no such key.", f"Did you mean {path}?")
    return make_finding(1302, key_path, "there is no such key.", f"{parent} knows: {', '.join(sorted(documented))}.")


def _in_another_section(name: str) -> str | None:
    """Return the path of the same name in another section, if there is exactly one."""
    places = [path for path, _ in all_paths() if path.rpartition(".")[2] == name]
    return places[0] if len(places) == 1 else None
