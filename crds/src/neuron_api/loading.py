"""From text or object to a typed configuration with its findings: the one way in for CRD, operator and trainer."""

import difflib
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from . import checks, interpolation, yaml_text
from .config import TrainingConfig
from .findings import Finding, Severity, error, errors_of, warning

_CLOSE: Final = 0.8
"""Similarity from which an unknown key is taken for a misspelled one (`tensor_model_paralel_size`: 0.98)."""

_LATER: Final = {
    "model_alignment_strategy": "fine-tuning strategies",
    "model.moe": "mixture of experts",
    "data.data_prefix": "Megatron data sets",
    "data.tokenizer": "tokenizers inside the data section",
}
"""Documented parts that this release does not do: refused by name rather than called unknown."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration as far as it could be understood."""

    config: TrainingConfig | None
    """None when a key is missing or has a wrong type."""
    resolved: dict[str, Any]
    """The effective configuration as plain data, defaults filled in; empty when `config` is None."""
    hash: str
    """SHA-256 of `resolved` in canonical JSON, hexadecimal; empty when `config` is None."""
    findings: tuple[Finding, ...]

    @property
    def errors(self) -> tuple[Finding, ...]:
        """What stops the job."""
        return errors_of(self.findings)


def load_text(text: str, overrides: Sequence[str] = (), *, source: str = "", in_pod: bool = False) -> Loaded:
    """Load YAML text (a file, a ConfigMap key); `source` is named in findings about the document as a whole."""
    document = yaml_text.parse(text)
    if errors_of(document.findings) and not document.value:
        return Loaded(None, {}, "", tuple(_at(finding, source) for finding in document.findings))
    loaded = load_object(document.value, overrides, in_pod=in_pod)
    numbered = tuple(replace(f, line=f.line or _line(document.lines, f.key)) for f in loaded.findings)
    return replace(loaded, findings=(*document.findings, *numbered))


def load_object(values: Mapping[str, Any], overrides: Sequence[str] = (), *, in_pod: bool = False) -> Loaded:
    """Load the object form (`spec.config`)."""
    resolved, unresolved = interpolation.resolve(_plain(values), overrides, in_pod=in_pod)
    if errors_of(unresolved):
        return Loaded(None, {}, "", unresolved)
    unknown = _unknown_keys(resolved, TrainingConfig, "")
    try:
        config = TrainingConfig.model_validate(_without(resolved, [f.key for f in unknown if f.severity == "error"]))
    except ValidationError as problem:
        return Loaded(None, {}, "", (*unresolved, *unknown, *map(_finding, problem.errors(include_url=False))))
    effective = config.model_dump(mode="json", by_alias=True)
    return Loaded(config, effective, _hash(effective), (*unresolved, *unknown, *checks.check(config)))


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    copied: dict[str, Any] = json.loads(json.dumps(values))
    return copied


def _hash(effective: Mapping[str, Any]) -> str:
    text = json.dumps(effective, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _at(finding: Finding, source: str) -> Finding:
    return replace(finding, key=finding.key or source)


def _line(lines: Mapping[str, int], key: str) -> int | None:
    """Line of the key, or of the nearest mapping above it (a missing key has none of its own)."""
    while key:
        if key in lines:
            return lines[key]
        key = key.rpartition(".")[0]
    return None


# ---- unknown keys (R5) -------------------------------------------------------------------------------------------


def _unknown_keys(values: Mapping[str, Any], model: type[BaseModel], path: str) -> list[Finding]:
    fields = {field.alias or name: field for name, field in model.model_fields.items()}
    is_open = model.model_config.get("extra") == "allow"
    found: list[Finding] = []
    for key, value in values.items():
        where = f"{path}.{key}" if path else key
        field = fields.get(key)
        if field is None:
            found.append(_unknown(key, where, list(fields), is_open))
        elif (section := _section(field.annotation)) and isinstance(value, Mapping):
            found += _unknown_keys(value, section, where)
    return found


def _unknown(key: str, where: str, known: list[str], is_open: bool) -> Finding:
    if where in _LATER:
        return error(where, f"{_LATER[where]} are not supported by this release.", "Remove the key.")
    near = difflib.get_close_matches(key, known, n=1, cutoff=_CLOSE)
    if near:
        return error(where, "there is no such key.", f"Did you mean {near[0]}?")
    if is_open:
        return warning(where, "not a documented key; it is kept and passed on.")
    parent = where.rpartition(".")[0] or "the top level"
    return error(where, "there is no such key.", f"{parent} knows: {', '.join(sorted(known))}.")


def _section(annotation: Any) -> type[BaseModel] | None:
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def _without(values: dict[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(json.dumps(values))
    for key in keys:
        *parents, name = key.split(".")
        node = result
        for parent in parents:
            node = node[parent]
        node.pop(name, None)
    return result


# ---- wrong values ------------------------------------------------------------------------------------------------


def _finding(problem: ErrorDetails) -> Finding:
    key = ".".join(str(part) for part in problem["loc"] if not str(part).startswith("function-"))
    if problem["type"] == "missing":
        return Finding(Severity.ERROR, key, "the key is required and is not there.", "Add it.")
    expected = problem["msg"][:1].lower() + problem["msg"][1:]
    return Finding(Severity.ERROR, key, f"{problem['input']!r} is not a legal value: {expected}.")
