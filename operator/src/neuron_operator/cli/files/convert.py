"""`kubectl neuron convert`: an NxDT file as a NeuronTrainingJob that the API server stores without changing it."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Annotated, Any, Final, get_args, get_origin

from neuron_api import contract
from neuron_api.config import TrainingConfig
from neuron_api.derive import hardware
from neuron_api.findings.finding import Finding, Severity, errors_of, note
from neuron_api.loading import overrides, yaml_text
from neuron_api.manifest import envelope
from neuron_api.platform import inputs
from neuron_api.resource import job_name
from neuron_api.resource.accelerator import Accelerator
from neuron_api.schema.aliases import CANONICAL
from neuron_api.schema.key_path import field_of
from neuron_operator.cli import output
from neuron_operator.kube.errors import UserInputError

from . import documents, job_checks
from . import plan as planning
from .platform_flags import PlatformFlags

CLAIM: Final = "training"
MOUNT_PATH: Final = "/training"


@dataclass(frozen=True, slots=True)
class Wrapping:
    """What a job has beside its configuration."""

    name: str | None
    platform: PlatformFlags
    claim: str | None
    """None: `CLAIM` is assumed."""
    mount_path: str | None
    """None: `MOUNT_PATH` is assumed."""
    image: str | None
    rewrites: Sequence[tuple[str, str]] = field(default_factory=tuple)
    """Paths that begin with the first are on the claim below the second: /home/ubuntu, /fsx."""
    more_claims: Sequence[tuple[str, str]] = field(default_factory=tuple)
    """Claims beside that one, each with where it is mounted."""


@dataclass(frozen=True, slots=True)
class Result:
    """The manifest, and what a person should know about it."""

    text: str
    """Empty when the file is no configuration."""
    remarks: str
    is_refused: bool
    """Whether the operator would refuse the job, or the file is no configuration."""
    name: str = ""
    """Of the job."""
    manifest: Mapping[str, Any] = field(default_factory=dict)
    """What the text says; empty when the file is no configuration."""
    findings: tuple[Finding, ...] = ()
    """What the remarks say."""


def run_all(files: Sequence[str], changes: Sequence[str], wrapping: Wrapping) -> list[Result]:
    """Wrap each of these files and of the files in these folders. Jobs whose configurations have one name are named
    after their files; raises `UserInputError` where that leaves two of one name."""
    texts = [(file, documents.read(file)) for file in documents.expand_folders(files)]
    if wrapping.name and len(texts) > 1:
        raise UserInputError(f"--name is for one file, and there are {len(texts)}")
    results = [wrap(file, text, changes, wrapping) for file, text in texts]
    count = Counter(result.name for result in results)
    results = [
        wrap(file, text, changes, wrapping, by_file=True) if result.name and count[result.name] > 1 else result
        for (file, text), result in zip(texts, results, strict=True)
    ]
    [*repeated] = [
        name for name, times in Counter(result.name for result in results if result.name).items() if times > 1
    ]
    if repeated:
        raise UserInputError(f"several files would be jobs of one name, {repeated[0]}: convert each with its --name")
    return results


def joined(results: Sequence[Result], form: str) -> str:
    """Return the manifests as one YAML stream, or as JSON: an object, or a list of several."""
    texts = [result.text for result in results if result.text]
    if form == "yaml":
        return "---\n".join(texts)
    manifests = [yaml_text.parse(text).value for text in texts]
    return output.dump(manifests[0] if len(manifests) == 1 else manifests, form)


def run(file: str, changes: Sequence[str], wrapping: Wrapping) -> Result:
    """Wrap the file, with the findings that `plan` has of the file and of the job."""
    return wrap(file, documents.read(file), changes, wrapping)


def wrap(file: str, text: str, changes: Sequence[str], wrapping: Wrapping, *, by_file: bool = False) -> Result:
    """Wrap the text of a file; `by_file` names the job after the file, not after the experiment."""
    source = documents.sources(text, file)[0]
    if source.spec is not None:
        raise UserInputError(f"{file} is a {contract.KIND} already")
    document = yaml_text.parse(text)
    loaded = source.load(changes)
    if errors_of(document.findings) or loaded.config is None:
        return Result("", _remarks(loaded.findings), is_refused=True, findings=loaded.findings)
    changed, _ = overrides.apply(document.value, changes)
    rewritten, paths = _rewritten(changed, wrapping.rewrites)
    changes = (*changes, *(overrides.assignment(key, value) for key, value in paths.items()))
    planned = planning.plan_source(source, changes, wrapping.platform, None)
    moved = source.load(changes)
    if moved.config is None:
        return Result("", _remarks(moved.findings), is_refused=True, findings=moved.findings)
    machines = hardware.from_config(
        loaded.config,
        wrapping.platform.accelerator_of(source),
        wrapping.platform.instance_type_of(source),
        wrapping.platform.stated(source),
    )
    name = wrapping.name or job_name.nearest_legal(source.label if by_file else loaded.config.name)
    spec = _spec(machines, wrapping, _object_form(rewritten, moved.resolved))
    manifest = {
        "apiVersion": contract.API_VERSION,
        "kind": contract.KIND,
        "metadata": {"name": name},
        "spec": spec,
    }
    faults = envelope.check_spec(spec)
    job_findings = job_checks.spec_findings(spec, moved.config, (*planned.findings, *faults))
    findings = (
        *planned.findings,
        *faults,
        *source.located(
            _with_rewrite(finding, moved.config, spec["storage"][0]["mountPath"]) for finding in job_findings
        ),
        *_renamed(name, loaded.config.name, wrapping, by_file=by_file),
        *_assumed(wrapping),
        *(note(key, f"rewritten to {value}.") for key, value in paths.items()),
    )
    return Result(
        yaml_text.dump(manifest),
        _remarks(findings),
        is_refused=bool(errors_of(findings)),
        name=name,
        manifest=manifest,
        findings=findings,
    )


def _with_rewrite(finding: Finding, config: TrainingConfig, mount: str) -> Finding:
    """A path on no volume, with the flag that moves it."""
    paths = (path for key, path in inputs.input_paths(config) if key == finding.key and path in finding.message)
    path = next(paths, None) if finding.code == "NTJ-3016" else None
    if path is None or not path.startswith("/"):
        return finding
    folder = PurePosixPath(path).parent
    moved = path if folder == PurePosixPath("/") else folder
    return replace(finding, remedy=f"{finding.remedy} Or move it: --rewrite {moved}={mount}.")


def _assumed(wrapping: Wrapping) -> Iterator[Finding]:
    if wrapping.claim is None:
        yield note("spec.storage", f"the claim {CLAIM} is assumed.", "Give another one with --claim.")
    if wrapping.mount_path is None:
        yield note("spec.storage", f"the mount path {MOUNT_PATH} is assumed.", "Give another one with --mount-path.")


def _spec(machines: hardware.Hardware, wrapping: Wrapping, config: Mapping[str, Any]) -> dict[str, Any]:
    image = {"image": wrapping.image} if wrapping.image else {}
    first = (wrapping.claim or CLAIM, wrapping.mount_path or MOUNT_PATH)
    storage = [{"claimName": claim, "mountPath": path} for claim, path in (first, *wrapping.more_claims)]
    return {"platform": _platform(machines), **image, "storage": storage, "config": config}


def _renamed(name: str, experiment: str, wrapping: Wrapping, *, by_file: bool) -> Iterator[Finding]:
    """Report what is wrong with a name of the command line, or that a generated one differs from the experiment's."""
    if wrapping.name:
        yield from job_name.check(name)
    elif by_file:
        yield note(job_name.KEY, f"{name}, as the file, since several files are named {experiment[:80]!r}.")
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


def _platform(machines: hardware.Hardware) -> dict[str, Any]:
    if machines.instance_type is None:
        return {"accelerator": next(str(kind) for kind in Accelerator if kind.device == machines.name)}
    numbers = {"neuronDevices": machines.stated.chips, "efaInterfaces": machines.stated.efa}
    stated = {name: number for name, number in numbers.items() if number is not None}
    return {"instanceType": machines.instance_type, **stated}


def _object_form(value: Any, typed: Mapping[str, Any], path: str = "") -> Any:
    """Return a value as the API server takes and keeps it: values of the CRD's types (`'1'` is True, 1e4 is 10000),
    fractions as strings where 1 and 1.0 differ (R3), since it stores 1.0 as 1; no null where it is only another word
    for no key, since it drops that. And the word None, which is read as null, where null is not the default: `kubectl
    apply` leaves nulls out of what it sends."""
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
    is_open = info is None or "untyped" in info.metadata or _has_marker(info.annotation, "untyped")
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
    """Return whether null at this key is another value than the default; of texts the word None would be one."""
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
    worst_first = sorted(findings, key=lambda finding: list(Severity).index(finding.severity))
    return "".join(f"{finding.severity}: {finding}\n" for finding in worst_first)
