"""Single values: the word None (R1), environment texts in numbers, and pydantic's words into ours."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from neuron_api.config import TrainingConfig
from neuron_api.findings.finding import Finding
from neuron_api.findings.registry import make_finding
from neuron_api.findings.suggestions import nearest
from neuron_api.schema.key_path import field_of, fields, section_of
from neuron_api.schema.off_switches import OFF

from .interpolation import reads_environment

_SHOWN: Final = 60
"""Characters of a wrong value that a message repeats."""

_PLAIN: Final = (1402, 1403, 1404)
"""Codes whose messages say what would be right, so that a remedy would repeat them."""

_UNION: Final = re.compile(r"^(?:function-|dict\[|tuple\[|constrained-|str$|int$|float$|bool$|literal|lax-|json-or)")
"""Parts of pydantic's location that name a member of a union, not a key."""


def read_none(
    values: Mapping[str, Any], model: type[BaseModel] = TrainingConfig, path: str = ""
) -> tuple[dict[str, Any], list[Finding]]:
    """A copy in which the word None is null, for keys that are not texts (R1)."""
    result, findings = dict(values), []
    for key, value in values.items():
        info, where = fields(model).get(key), f"{path}.{key}" if path else key
        if info is None:
            continue
        if isinstance(value, Mapping) and (section := section_of(info)):
            result[key], below = read_none(value, section, where)
            findings += below
        elif value == "None" and not _is_text(info):
            result[key] = None
            findings.append(make_finding(1006, where, "the word None is read as null."))
    return result, findings


def unquoted(written: Mapping[str, str]) -> Iterator[Finding]:
    """Texts that YAML took for numbers, and that would be other texts as such: `version: 2.10` is not 2.1."""
    for key, text in written.items():
        info = field_of(key)
        if info is not None and _is_text(info):
            message = f"must be a string, got {text[:_SHOWN]}, which YAML reads as a number."
            yield make_finding(1402, key, message, f"Write it in quotes: '{text[:_SHOWN]}'.")


def _is_text(info: FieldInfo) -> bool:
    return info.annotation is str or str in get_args(info.annotation)


def finding(problem: ErrorDetails) -> Finding:
    """One of pydantic's errors in our words."""
    key = _key(problem["loc"])
    kind, given = problem["type"], problem["input"]
    if kind == "missing" and isinstance(problem["loc"][-1], int):
        return make_finding(1405, key.rpartition(".")[0], f"a list of {problem['loc'][-1]} is too short.")
    if kind == "missing":
        return make_finding(1401, key, "the key is required and missing.")
    if reads_environment(given):
        return make_finding(1106, key, "oc.env is resolved in the pod, and this key is needed before.")
    if key == "model.optim.sched.name" and given == "rprop":
        return make_finding(2611, key, "'rprop' is an optimizer, not a schedule.")
    number, expected = _expected(problem)
    shown = repr(given)
    shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"
    hint = "" if number in _PLAIN else None
    if number == 1404 and isinstance(given, str) and (near := nearest(given, _allowed(problem))):
        hint = f"Did you mean {near}?"
    if number == 1403 and key in OFF:
        hint = OFF[key]
    return make_finding(number, key, f"{expected}, got {shown}.", hint)


def _key(location: tuple[int | str, ...]) -> str:
    """pydantic's location as a key path: `str`, `function-before[…]` and the like are not parts of it."""
    parts: list[str] = []
    for part in location:
        path = ".".join((*parts, str(part)))
        if isinstance(part, str) and field_of(path) is None and _UNION.match(part):
            continue
        parts.append(str(part))
    return ".".join(parts)


def _allowed(problem: ErrorDetails) -> list[str]:
    return re.findall(r"'([^']*)'", str((problem.get("ctx") or {}).get("expected", "")))


def _expected(problem: ErrorDetails) -> tuple[int, str]:
    """Code, and what would be legal."""
    context = problem.get("ctx") or {}
    kind = problem["type"]
    bounds = {
        "greater_than": ("gt", "must be greater than {}"),
        "greater_than_equal": ("ge", "must be {} or more"),
        "less_than": ("lt", "must be less than {}"),
        "less_than_equal": ("le", "must be {} or less"),
    }
    if kind in bounds:
        name, words = bounds[kind]
        return 1403, words.format(f"{context[name]:g}")
    if kind == "finite_number":
        return 1403, "must be finite"
    if kind == "literal_error":
        return 1404, f"must be one of {', '.join(_allowed(problem))}"
    if kind in ("too_short", "too_long", "string_too_short", "string_too_long"):
        return 1405, _length(context, "characters" if kind.startswith("string") else "items")
    return 1402, _WANTED.get(kind) or _reason(problem["msg"])


def _reason(message: str) -> str:
    """The words of one of our validators, or pydantic's."""
    text = message.removeprefix("Value error, ")
    return text[:1].lower() + text[1:]


def _length(context: Mapping[str, Any], of_what: str) -> str:
    """What a text or a list should be long."""
    if "min_length" in context:
        return f"must have {context['min_length']} or more {of_what}"
    return f"must have {context['max_length']} {of_what} or fewer"


_WANTED: Final = {
    "int_parsing": "must be an integer",
    "int_type": "must be an integer",
    "int_from_float": "must be an integer, not a fraction",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "string_type": "must be a string",
    "tuple_type": "must be a list",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "model_attributes_type": "must be a mapping",
    "extra_forbidden": "there is no such key",
}
