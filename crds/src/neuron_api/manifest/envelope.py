"""Checks of a NeuronTrainingJob manifest outside its configuration: apiVersion, kind, metadata and spec, against the
schema of the API server. `loading` checks `spec.config`, and the operator the pod template."""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Final

from neuron_api import cel, contract
from neuron_api.findings.finding import Finding, error
from neuron_api.findings.suggestions import nearest
from neuron_api.resource import job_name
from neuron_api.resource.accelerator import Accelerator
from neuron_api.resource.scheduling import CONFIG_MAP_KEY, LABEL_KEY, OBJECT_NAME
from neuron_api.resource.spec import JobSpec

from .documents import RENAMED
from .openapi import Dialect, Schema, object_schema

_METADATA: Final = (
    "name",
    "generateName",
    "namespace",
    "labels",
    "annotations",
    "finalizers",
    "ownerReferences",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "selfLink",
    "managedFields",
)
_TOP: Final = ("apiVersion", "kind", "metadata", "spec", "status")
_ACCELERATOR: Final = "spec.platform.accelerator"
_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
}
_WORDS: Final = {
    "object": "a mapping",
    "array": "a list",
    "string": "a string",
    "boolean": "true or false",
    "integer": "an integer",
    "number": "a number",
}
_PATTERNS: Final = {
    "^/.*$": "an absolute path, such as /training",
    OBJECT_NAME: "the name of an object: lower-case letters, digits, hyphens and dots",
    CONFIG_MAP_KEY: "a key of a ConfigMap: letters, digits, hyphens, dots and underscores",
    LABEL_KEY: "the key of a label, such as topology.kubernetes.io/zone",
}
"""Words for the patterns of the schema."""


def check(document: Mapping[str, Any]) -> tuple[Finding, ...]:
    """Return every fault of a job's manifest; keys are paths from its top (`spec.restartPolicy`)."""
    return (*_check_identity(document), *_check_metadata(document.get("metadata")), *check_spec(document.get("spec")))


def is_job(kind: str) -> bool:
    """Return whether a kind is ours, ignoring case."""
    return kind.lower() == contract.KIND.lower()


def _check_identity(document: Mapping[str, Any]) -> Iterator[Finding]:
    version, kind = document.get("apiVersion"), document.get("kind")
    if version != contract.API_VERSION:
        yield error("apiVersion", f"must be {contract.API_VERSION}, got {_shown(version)}.")
    if kind != contract.KIND:
        yield error("kind", f"must be {contract.KIND}, got {_shown(kind)}.")
    yield from _check_unknown(document, "", _TOP)


def _check_metadata(metadata: Any) -> Iterator[Finding]:
    if not isinstance(metadata, Mapping):
        yield error("metadata", "must be a mapping with a name.", "Add metadata.name.")
        return
    yield from _check_unknown(metadata, "metadata", _METADATA)
    name = metadata.get("name")
    if isinstance(name, str):
        yield from job_name.check(name)
    elif name is not None or "generateName" not in metadata:
        yield error(job_name.KEY, f"must be a string, got {_shown(name)}.", f"{job_name.EXPECTED.capitalize()}.")
    for key in ("labels", "annotations"):
        values = metadata.get(key)
        for name, value in (values if isinstance(values, Mapping) else {}).items():
            if not isinstance(value, str):
                yield error(f"metadata.{key}.{name}", f"must be a string, got {_shown(value)}.", "Write it in quotes.")


def check_spec(spec: Any) -> tuple[Finding, ...]:
    """Return every fault of a job's `spec` outside its configuration."""
    return tuple(_check_spec(spec))


def _check_spec(spec: Any) -> Iterator[Finding]:
    if not isinstance(spec, Mapping):
        yield error("spec", f"must be a mapping, got {_shown(spec)}.")
        return
    yield from _check_value(spec, _schema(), "spec")
    yield from cel.spec_findings(spec)


@cache
def _schema() -> Schema:
    """Return the schema of `spec` in the CustomResourceDefinition; the configuration, with its own rules, is
    untyped."""
    return object_schema(JobSpec, Dialect.API, replace={"config": {"type": "object"}})


def _check_value(value: Any, schema: Schema, path: str) -> Iterator[Finding]:
    kind = schema.get("type")
    if kind is None or value is None:  # open, or null: the API server drops it
        return
    if not _has_type(value, kind):
        yield error(path, f"must be {_WORDS[kind]}, got {_shown(value)}.", _quote(value, kind))
    elif kind == "object":
        yield from _check_object(value, schema, path)
    elif kind == "array":
        yield from _check_array(value, schema, path)
    elif fault := _scalar(value, schema):
        yield error(path, f"must be {fault}, got {_shown(value)}.", _choice(value, schema, path))


def _check_object(value: Mapping[str, Any], schema: Schema, path: str) -> Iterator[Finding]:
    properties = schema.get("properties")
    if properties is None:
        return
    yield from _check_unknown(value, path, properties)
    for key in schema.get("required", ()):
        if value.get(key) is None:
            yield error(f"{path}.{key}", "is required and missing.", "Add it.")
    for key, item in value.items():
        if key in properties:
            yield from _check_value(item, properties[key], f"{path}.{key}")


def _check_array(value: list[Any], schema: Schema, path: str) -> Iterator[Finding]:
    if len(value) > schema.get("maxItems", len(value)):
        yield error(path, f"must have at most {schema['maxItems']} items, got {len(value)}.")
    for index, item in enumerate(value):
        yield from _check_value(item, schema["items"], f"{path}.{index}")


def _scalar(value: Any, schema: Schema) -> str:
    """Return what the value must be and is not; empty if it is legal."""
    if "enum" in schema and value not in schema["enum"]:
        return f"one of {', '.join(schema['enum'])}"
    if "minimum" in schema and value < schema["minimum"]:
        return f"at least {schema['minimum']}"
    if "maximum" in schema and value > schema["maximum"]:
        return f"at most {schema['maximum']}"
    if isinstance(value, str) and not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value)):
        return f"{schema.get('minLength', 0)} to {schema.get('maxLength', 'any number of')} characters long"
    if "pattern" in schema and not re.search(schema["pattern"], value):
        return _PATTERNS.get(schema["pattern"], f"a match of {schema['pattern']}")
    return ""


def _check_unknown(value: Mapping[str, Any], path: str, allowed: Any) -> Iterator[Finding]:
    for key in value:
        if key in allowed:
            continue
        key_path = f"{path}.{key}" if path else str(key)
        near = RENAMED.get(key_path) or nearest(str(key), allowed)
        listing = f"{path or 'A job'} has: {', '.join(sorted(allowed))}."
        yield error(key_path, "unknown field.", f"Did you mean {near}?" if near else listing)


def _has_type(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    if kind == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _TYPES[kind])


def _quote(value: Any, kind: str) -> str:
    return f"Write it in quotes: '{value}'." if kind == "string" and isinstance(value, bool | int | float) else ""


def _choice(value: Any, schema: Schema, path: str) -> str:
    meant = Accelerator.meant_by(str(value)) if path == _ACCELERATOR else None
    near = meant or nearest(str(value), schema.get("enum", ()))
    return f"Did you mean {near}?" if near else ""


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
