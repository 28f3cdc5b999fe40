"""`kubectl neuron convert`: an NxDT file as a NeuronTrainingJob that the API server stores without changing it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, get_args, get_origin

from neuron_api import contract, overrides, yaml_text
from neuron_api.aliases import CANONICAL
from neuron_api.derive import hardware
from neuron_api.findings import Finding, errors_of
from neuron_api.loading import load_text
from neuron_api.paths import field_of
from neuron_api.spec import Accelerator
from neuron_operator.errors import UserInputError

from . import documents

_LONGEST_NAME: Final = 48
"""metadata.name becomes a host name (CEL rule of the CRD)."""


@dataclass(frozen=True, slots=True)
class Wrapping:
    """What a job has beside its configuration."""

    name: str | None
    platform: tuple[str | None, str | None]
    """Accelerator and instance type."""
    claim: str
    mount_path: str
    image: str | None


@dataclass(frozen=True, slots=True)
class Result:
    """The manifest, and what a person should know about it."""

    text: str
    """Empty when the file is no configuration."""
    remarks: str


def run(file: str, changes: Sequence[str], wrapping: Wrapping) -> Result:
    """Wrap the file; only what cannot be understood at all is refused here, the rest is told."""
    text = documents.read(file)
    sources = documents.sources(text, file)
    if sources[0].spec is not None:
        raise UserInputError(f"{file} is a {contract.KIND} already")
    document = yaml_text.parse(text)
    loaded = load_text(text, changes)
    if errors_of(document.findings) or loaded.config is None:
        return Result("", _remarks(loaded.findings))
    changed, _ = overrides.apply(document.value, changes)
    accelerator, instance_type = wrapping.platform
    machines = hardware.of(loaded.config, Accelerator(accelerator or Accelerator.NEURON), instance_type)
    spec: dict[str, Any] = {"platform": _platform(machines)}
    if wrapping.image:
        spec["image"] = wrapping.image
    spec["storage"] = [{"claimName": wrapping.claim, "mountPath": wrapping.mount_path}]
    spec["config"] = _object_form(changed, loaded.resolved)
    manifest = {
        "apiVersion": contract.API_VERSION,
        "kind": contract.KIND,
        "metadata": {"name": wrapping.name or _name(loaded.config.name)},
        "spec": spec,
    }
    assumed = f"kubectl neuron: assumed instance type {machines.instance_type}\n" if machines.is_assumed else ""
    return Result(yaml_text.dump(manifest), assumed + _remarks(loaded.findings))


def _platform(machines: hardware.Hardware) -> dict[str, str]:
    if machines.instance_type is None:
        return {"accelerator": str(Accelerator.CPU)}
    return {"instanceType": machines.instance_type}


def _object_form(value: Any, typed: Mapping[str, Any], path: str = "") -> Any:
    """As the API server takes and keeps it: values of the CRD's types (`'1'` is True, 1e4 is 10000), fractions as
    strings where 1 and 1.0 differ (R3), since it stores 1.0 as 1; no null where it is only another word for no key,
    since it drops that. And the word None, which is read as null, where null is not the default: `kubectl apply` leaves
    nulls out of what it sends."""
    if isinstance(value, Mapping):
        below = {key: f"{path}.{key}" if path else key for key in value}
        return {
            key: _object_form(item, typed, below[key])
            for key, item in value.items()
            if item is not None or _may_be_null(below[key])
        }
    if value is None and _means_something(path):
        return "None"
    if _is_quantity(path):
        return str(value) if isinstance(value, float) else value
    return _of_its_type(value, _value_at(typed, CANONICAL.get(path, path)), path)


def _of_its_type(value: Any, typed: Any, path: str) -> Any:
    info = field_of(path)
    is_open = info is None or "loose" in info.metadata or _has_marker(info.annotation, "loose")
    if is_open or not isinstance(typed, bool | int | float | str):
        return value
    if isinstance(value, str) and "${" in value and not isinstance(typed, bool):
        return value  # the CRD takes an interpolation anywhere but for a boolean
    is_number = type(value) is int and type(typed) is float
    return value if value is None or is_number or isinstance(value, list) else typed


def _value_at(tree: Any, path: str) -> Any:
    for part in path.split("."):
        tree = tree.get(part) if isinstance(tree, Mapping) else None
    return tree


def _may_be_null(path: str) -> bool:
    info = field_of(path)
    return info is None or type(None) in get_args(info.annotation)


def _means_something(path: str) -> bool:
    """Whether null at this key is another value than the default; of texts the word None would be one."""
    info = field_of(path)
    if info is None or info.default is None or str in get_args(info.annotation):
        return False
    return type(None) in get_args(info.annotation)


def _is_quantity(path: str) -> bool:
    info = field_of(path)
    return info is not None and ("quantity" in info.metadata or _has_marker(info.annotation, "quantity"))


def _has_marker(annotation: Any, marker: str) -> bool:
    if get_origin(annotation) is Annotated and marker in getattr(annotation, "__metadata__", ()):
        return True
    return any(_has_marker(member, marker) for member in get_args(annotation))


def _name(experiment: str) -> str:
    """The experiment's name as an object's: lower case, digits, hyphens."""
    name = re.sub(r"[^a-z0-9]+", "-", experiment.lower()).strip("-")[:_LONGEST_NAME].rstrip("-")
    return name or "training"


def _remarks(findings: Sequence[Finding]) -> str:
    return "".join(f"{one.severity}: {one}\n" for one in findings)
