"""`--explain KEY`: what a key means, what it may be, what it is when it is absent; of a code, cause and remedy."""

from neuron_api.contract import SHORT_NAME
from neuron_api.derive.hardware import XLA_DEVICE
from neuron_api.findings.registry import ENTRIES
from neuron_api.findings.suggestions import nearest
from neuron_api.manifest.documents import new_name
from neuron_api.manifest.openapi import Dialect, object_schema
from neuron_api.resource.accelerator import Accelerator
from neuron_api.resource.spec import JobSpec
from neuron_api.schema import effects, key_docs
from neuron_api.schema.key_path import all_paths
from neuron_operator.kube.errors import UserInputError

_PARTS = ("apiVersion", "kind", "metadata", "spec", "status")
_DEVICES = (*(accelerator.device for accelerator in Accelerator), XLA_DEVICE)
_MAX_PLACES = 5
"""Keys that a hint names."""


def text(query: str) -> str:
    """A few lines for a key path, with or without `spec.config.` before it, or for a code."""
    if query.upper().startswith("NTJ-"):
        return _code(query.upper())
    path = query.removeprefix("spec.").removeprefix("config.")
    key = key_docs.lookup(path)
    if key is None:
        raise UserInputError(_elsewhere(query) or f"there is no key {path}{_hint(path)}")
    lines = [path, f"  type     {key.kind}", f"  default  {key.default}"]
    if key.codes:
        lines.append(f"  checks   {', '.join(key.codes)}")
    if not key.below:
        lines += [f"  on {device:<8}{effects.describe(path, device)}" for device in _DEVICES]
    lines += ["", f"  {key.meaning}"]
    if key.below:
        lines += ["", "  keys", *(f"    {name}" for name in key.below)]
    return "\n".join(lines) + "\n"


def _elsewhere(query: str) -> str:
    """Return who explains a field of the job beside its configuration, or the new name for an old one."""
    if (new := new_name(query)) is not None:
        return f"{query} is called {new} now: kubectl explain {SHORT_NAME}.{new}"
    path = query if query.partition(".")[0] in _PARTS else f"spec.{query}"
    _, _, below = path.partition(".")
    if path.startswith("spec.") and below.partition(".")[0] not in object_schema(JobSpec, Dialect.API)["properties"]:
        return ""
    return f"{query} is no key of the configuration: kubectl explain {SHORT_NAME}.{path}"


def _hint(path: str) -> str:
    """A key of this name in a section, or one that is written nearly so."""
    keys = [key for key, _ in all_paths()]
    places = [key for key in keys if key.rpartition(".")[2] == path.rpartition(".")[2]]
    near = nearest(path, keys) or nearest(path, {key.rpartition(".")[2] for key in keys})
    if not places and near:
        places = [key for key in keys if near in (key, key.rpartition(".")[2])]
    return f"; did you mean {' or '.join(places[:_MAX_PLACES])}?" if places else ""


def _code(code: str) -> str:
    entry = ENTRIES.get(code)
    if entry is None:
        raise UserInputError(f"there is no code {code}; there are NTJ-1001 to {max(ENTRIES)}")
    lines = [
        f"{entry.code}  {entry.title}",
        f"  severity {entry.severity}",
        f"  keys     {', '.join(entry.keys) or 'any'}",
    ]
    return "\n".join((*lines, "", f"  {entry.cause}", f"  {entry.remedy}")) + "\n"
