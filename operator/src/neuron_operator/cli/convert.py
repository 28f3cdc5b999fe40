"""`kubectl neuron convert`: an NxDT file as a NeuronTrainingJob that the API server stores without changing it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Annotated, Any, get_args, get_origin

from neuron_api import contract, job_name, overrides, yaml_text
from neuron_api.aliases import CANONICAL
from neuron_api.derive import hardware
from neuron_api.findings import Finding, Severity, errors_of, note
from neuron_api.paths import field_of
from neuron_api.spec import Accelerator
from neuron_operator.errors import UserInputError

from . import documents, job_checks
from . import plan as planning


@dataclass(frozen=True, slots=True)
class Wrapping:
    """What a job has beside its configuration."""

    name: str | None
    platform: tuple[str | None, str | None]
    """Accelerator and instance type."""
    claim: str
    mount_path: str
    image: str | None
    rewrites: Sequence[tuple[str, str]] = field(default_factory=tuple)
    """Paths that begin with the first are on the claim below the second: /home/ubuntu, /fsx."""


@dataclass(frozen=True, slots=True)
class Result:
    """The manifest, and what a person should know about it."""

    text: str
    """Empty when the file is no configuration."""
    remarks: str
    is_refused: bool
    """Whether the operator would refuse the job, or the file is no configuration."""


def run(file: str, changes: Sequence[str], wrapping: Wrapping) -> Result:
    """Wrap the file, with the findings that `plan` has of the file and of the job."""
    text = documents.read(file)
    source = documents.sources(text, file)[0]
    if source.spec is not None:
        raise UserInputError(f"{file} is a {contract.KIND} already")
    document = yaml_text.parse(text)
    loaded = source.load(changes)
    if errors_of(document.findings) or loaded.config is None:
        return Result("", _remarks(loaded.findings), is_refused=True)
    changed, _ = overrides.apply(document.value, changes)
    rewritten, paths = _rewritten(changed, wrapping.rewrites)
    changes = (*changes, *(f"{key}={value}" for key, value in paths.items()))
    planned = planning.of_source(source, changes, wrapping.platform, None)
    moved = source.load(changes)
    if moved.config is None:
        return Result("", _remarks(moved.findings), is_refused=True)
    machines = hardware.of(loaded.config, Accelerator(wrapping.platform[0] or Accelerator.NEURON), wrapping.platform[1])
    name = wrapping.name or job_name.legal(loaded.config.name)
    spec = _spec(machines, wrapping, _object_form(rewritten, moved.resolved))
    manifest = {
        "apiVersion": contract.API_VERSION,
        "kind": contract.KIND,
        "metadata": {"name": name},
        "spec": spec,
    }
    findings = (
        *planned.findings,
        *source.located(job_checks.around(spec, moved.config, planned.findings)),
        *_renamed(name, loaded.config.name, wrapping),
        *(note(key, f"rewritten to {value}.") for key, value in paths.items()),
    )
    return Result(yaml_text.dump(manifest), _remarks(findings), is_refused=bool(errors_of(findings)))


def _spec(machines: hardware.Hardware, wrapping: Wrapping, config: Mapping[str, Any]) -> dict[str, Any]:
    image = {"image": wrapping.image} if wrapping.image else {}
    storage = [{"claimName": wrapping.claim, "mountPath": wrapping.mount_path}]
    return {"platform": _platform(machines), **image, "storage": storage, "config": config}


def _renamed(name: str, experiment: str, wrapping: Wrapping) -> Iterator[Finding]:
    """Of a name that is given, what is wrong with it; of one that is made, that it is another."""
    if wrapping.name:
        yield from job_name.check(name)
    elif name != experiment:
        message = f"{name}, since {experiment[:80]!r} cannot be the name of a job."
        yield note(job_name.KEY, message, "Give another one with --name.")


def _rewritten(value: Mapping[str, Any], rewrites: Sequence[tuple[str, str]]) -> tuple[dict[str, Any], dict[str, str]]:
    """A copy with the paths moved, and the moved ones by key; raises `UserInputError` for a prefix of none."""
    moved: dict[str, str] = {}
    copied: dict[str, Any] = _moved(value, rewrites, "", moved)
    unused = [old for old, new in rewrites if not any(_is_below(path, new) for path in moved.values())]
    if unused:
        raise UserInputError(f"--rewrite {unused[0]}=…: no value of the file begins with {unused[0]}")
    return copied, moved


def _moved(value: Any, rewrites: Sequence[tuple[str, str]], path: str, moved: dict[str, str]) -> Any:
    below = f"{path}." if path else ""
    if isinstance(value, Mapping):
        return {key: _moved(item, rewrites, f"{below}{key}", moved) for key, item in value.items()}
    if isinstance(value, list):
        return [_moved(item, rewrites, f"{below}{index}", moved) for index, item in enumerate(value)]
    if not isinstance(value, str):
        return value
    for old, new in rewrites:
        if _is_below(value, old):
            moved[path] = str(PurePosixPath(new, PurePosixPath(value).relative_to(old)))
            return moved[path]
    return value


def _is_below(path: str, folder: str) -> bool:
    return path.startswith("/") and PurePosixPath(path).is_relative_to(folder)


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


def _remarks(findings: Sequence[Finding]) -> str:
    """A line for each, errors first."""
    worst_first = sorted(findings, key=lambda one: list(Severity).index(one.severity))
    return "".join(f"{one.severity}: {one}\n" for one in worst_first)
