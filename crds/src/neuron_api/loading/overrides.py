"""Overrides of the command line: `a.b=v` changes a key, `+a.b=v` adds one, `~a.b` deletes one (B-1)."""

import copy
import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

from neuron_api.findings.finding import Finding
from neuron_api.findings.registry import make_finding
from neuron_api.schema.key_path import field_of

from . import coercion, yaml_text
from .unknown_keys import suggest

_PLACEHOLDER: Final = "v"
"""Key of the one-line document that a value is parsed from."""
_UNPRINTABLE: Final = re.compile(r"[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]")
"""What JSON may have as it is, and YAML only as an escape."""


def assignment(key: str, value: Any) -> str:
    """Return the override that sets a key to a value, with its type: JSON, as far as it is YAML too.

    Raises `ValueError` for numbers that are not finite, and `TypeError` for what JSON cannot hold.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, default=os.fspath)
    return f"{key}={_UNPRINTABLE.sub(_escape, text)}"


def _escape(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"


def apply(values: dict[str, Any], overrides: Sequence[str]) -> tuple[dict[str, Any], tuple[Finding, ...]]:
    """Return a changed copy, and a finding for each override that cannot be applied."""
    result = copy.deepcopy(values) if overrides else values
    findings = [finding for text in overrides for finding in _apply_one(result, text)]
    return result, tuple(findings)


def _apply_one(values: dict[str, Any], text: str) -> list[Finding]:
    if text.startswith("~"):
        name = text[1:].partition("=")[0]
        return [] if _delete(values, name) else [make_finding(1202, name, "cannot be deleted: there is no such key.")]
    key, equals, value = text.removeprefix("+").partition("=")
    if not equals or not all(key.split(".")):
        return [make_finding(1201, text, "an override is written key=value, +key=value or ~key.")]
    parsed = yaml_text.parse(f"{_PLACEHOLDER}: {value}")
    if parsed.findings or parsed.value.keys() != {_PLACEHOLDER}:
        return list(_unreadable(key, value, parsed.findings))
    if not text.startswith("+") and field_of(key) is None and not _has(values, key):
        near = suggest(key)
        return [make_finding(1203, key, "there is no such key.", f"Did you mean {near}?" if near else None)]
    if not _set(values, key, parsed.value[_PLACEHOLDER]):
        return [
            make_finding(1201, key, "it would be in a list, whose items have numbers.", "Name an item: betas.0=0.9.")
        ]
    return list(coercion.find_unquoted_texts({_path(key, place): text for place, text in parsed.number_texts.items()}))


def _unreadable(key: str, value: str, findings: Sequence[Finding]) -> Iterator[Finding]:
    """Yield the reader's findings about the value, at the override's key; a value that is no YAML needs quoting."""
    for finding in findings:
        if finding.code != "NTJ-1001":
            yield replace(finding, key=_path(key, finding.key), line=None)
            continue
        remedy = "Quote the whole override for the shell, and write its value as YAML."
        yield make_finding(
            1201, key, f"the value {value[:80]!r} is not YAML: {finding.message.partition(': ')[2]}", remedy
        )
    if not findings:
        yield make_finding(1201, key, f"the value {value[:80]!r} is more than one value.")


def _path(key: str, place: str) -> str:
    """Return a path below the placeholder key as a path below the override's key."""
    return key + place.removeprefix(_PLACEHOLDER)


def _set(values: dict[str, Any], key: str, value: Any) -> bool:
    """Set a value, and return False if a list has no such item; the index after its last item appends one."""
    *parents, name = key.split(".")
    node: Any = values
    for parent in parents:
        child = node[int(parent)] if _is_item(node, parent) else node.get(parent) if isinstance(node, dict) else None
        if not isinstance(child, dict | list):
            child = {}
            if not _put(node, parent, child):
                return False
        node = child
    return _put(node, name, value)


def _put(node: Any, name: str, value: Any) -> bool:
    if _is_item(node, name):
        node[int(name)] = value
    elif isinstance(node, dict):
        node[name] = value
    elif name == str(len(node)):
        node.append(value)
    else:
        return False
    return True


def _is_item(node: Any, name: str) -> bool:
    return isinstance(node, list) and _is_number(name) and int(name) < len(node)


def _is_number(name: str) -> bool:
    return name.isdecimal() and len(name) < 7


def _parent(values: dict[str, Any], key: str) -> tuple[Any, str]:
    *parents, name = key.split(".")
    node: Any = values
    for parent in parents:
        node = node[int(parent)] if _is_item(node, parent) else node.get(parent) if isinstance(node, dict) else None
    return node, name


def _has(values: dict[str, Any], key: str) -> bool:
    node, name = _parent(values, key)
    return _is_item(node, name) or (isinstance(node, dict) and name in node)


def _delete(values: dict[str, Any], key: str) -> bool:
    node, name = _parent(values, key)
    if _is_item(node, name):
        del node[int(name)]
        return True
    if not isinstance(node, dict) or name not in node:
        return False
    del node[name]
    return True
