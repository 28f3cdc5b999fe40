"""Types of single values: the word None, unquoted numbers in text keys, and pydantic's errors as findings."""

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

_MAX_SHOWN: Final = 60
"""Maximum characters of a wrong value in a message."""

_SELF_EXPLANATORY: Final = (1402, 1403, 1404)
"""Codes whose messages name the legal values, so that a remedy would repeat them."""

_UNION_MEMBER: Final = re.compile(
    r"^(?:function-|dict\[|tuple\[|constrained-|str$|int$|float$|bool$|literal|lax-|json-or)"
)
"""Parts of pydantic's error location that name a member of a union rather than a key."""


def read_none_words(
    values: Mapping[str, Any], model: type[BaseModel] = TrainingConfig, path: str = ""
) -> tuple[dict[str, Any], list[Finding]]:
    """Return a copy in which the word None is null for keys that are not texts (R1), and a note for each."""
    result, findings = dict(values), []
    for key, value in values.items():
        info, key_path = fields(model).get(key), f"{path}.{key}" if path else key
        if info is None:
            continue
        if isinstance(value, Mapping) and (section := section_of(info)):
            result[key], nested = read_none_words(value, section, key_path)
            findings += nested
        elif value == "None" and not _is_text(info):
            result[key] = None
            findings.append(make_finding(1006, key_path, "the word None is read as null."))
    return result, findings


def find_unquoted_texts(written: Mapping[str, str]) -> Iterator[Finding]:
    """Yield a finding for each text key whose value YAML reads as another number: `version: 2.10` is not 2.1."""
    for key, text in written.items():
        info = field_of(key)
        if info is not None and _is_text(info):
            message = f"must be a string, got {text[:_MAX_SHOWN]}, which YAML reads as a number."
            yield make_finding(1402, key, message, f"Write it in quotes: '{text[:_MAX_SHOWN]}'.")


def _is_text(info: FieldInfo) -> bool:
    return info.annotation is str or str in get_args(info.annotation)


def from_pydantic(problem: ErrorDetails) -> Finding:
    """Return one of pydantic's errors as a finding."""
    key = _key(problem["loc"])
    error_type, value = problem["type"], problem["input"]
    if error_type == "missing" and isinstance(problem["loc"][-1], int):
        return make_finding(1405, key.rpartition(".")[0], f"a list of {problem['loc'][-1]} is too short.")
    if error_type == "missing":
        return make_finding(1401, key, "the key is required and missing.")
    if reads_environment(value):
        return make_finding(1106, key, "oc.env is resolved in the pod, and this key is needed before.")
    if key == "model.optim.sched.name" and value == "rprop":
        return make_finding(2611, key, "'rprop' is an optimizer, not a schedule.")
    number, expected = _expected(problem)
    shown_value = repr(value)
    shown_value = shown_value if len(shown_value) <= _MAX_SHOWN else f"{shown_value[:_MAX_SHOWN]}…"
    hint = "" if number in _SELF_EXPLANATORY else None
    if number == 1404 and isinstance(value, str) and (suggestion := nearest(value, _allowed(problem))):
        hint = f"Did you mean {suggestion}?"
    if error_type == "tuple_type" and isinstance(value, str):
        hint = f"Write [{value[:_MAX_SHOWN]}]."
    if number == 1403 and key in OFF:
        hint = OFF[key]
    return make_finding(number, key, f"{expected}, got {shown_value}.", hint)


def _key(location: tuple[int | str, ...]) -> str:
    """Return pydantic's location as a key path, without `str`, `function-before[…]` and the like."""
    parts: list[str] = []
    for part in location:
        path = ".".join((*parts, str(part)))
        if isinstance(part, str) and field_of(path) is None and _UNION_MEMBER.match(part):
            continue
        parts.append(str(part))
    return ".".join(parts)


def _allowed(problem: ErrorDetails) -> list[str]:
    return re.findall(r"'([^']*)'", str((problem.get("ctx") or {}).get("expected", "")))


def _expected(problem: ErrorDetails) -> tuple[int, str]:
    """Return the code and what would be legal."""
    context = problem.get("ctx") or {}
    error_type = problem["type"]
    bounds = {
        "greater_than": ("gt", "must be greater than {}"),
        "greater_than_equal": ("ge", "must be {} or more"),
        "less_than": ("lt", "must be less than {}"),
        "less_than_equal": ("le", "must be {} or less"),
    }
    if error_type in bounds:
        name, wording = bounds[error_type]
        return 1403, wording.format(f"{context[name]:g}")
    if error_type == "finite_number":
        return 1403, "must be finite"
    if error_type == "literal_error":
        return 1404, f"must be one of {', '.join(_allowed(problem))}"
    if error_type in ("too_short", "too_long", "string_too_short", "string_too_long"):
        return 1405, _length(context, "characters" if error_type.startswith("string") else "items")
    return 1402, _EXPECTED_TYPES.get(error_type) or _validator_message(problem["msg"])


def _validator_message(message: str) -> str:
    """Return the message of one of our validators, or pydantic's own."""
    text = message.removeprefix("Value error, ")
    return text[:1].lower() + text[1:]


def _length(context: Mapping[str, Any], unit: str) -> str:
    """Return the legal length of a text or a list in words."""
    if "min_length" in context:
        return f"must have {context['min_length']} or more {unit}"
    return f"must have {context['max_length']} {unit} or fewer"


_EXPECTED_TYPES: Final = {
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
