"""The configuration in a file: an NxDT file, or the `spec.config` of a NeuronTrainingJob among other documents; and the
environment variables that override it."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from neuron_api import contract
from neuron_api.findings.finding import Finding, error
from neuron_api.loading import yaml_text
from neuron_api.loading.loader import Loaded, line_of, load_bytes, load_object, load_text
from neuron_api.manifest import documents
from neuron_trainer.data.paths import is_directory
from neuron_trainer.errors import InputError
from neuron_trainer.run_config import LOGGERS

log = logging.getLogger(__name__)

_PREFIX: Final = "spec.config."
_COMPILE: Final = "COMPILE"
_TRAIN_ITERS: Final = "TRAIN_ITERS"
"""Variables that NxDT's own scripts read."""
_COMPILE_OVERRIDES: Final = (
    "trainer.max_steps=10",
    *(f"exp_manager.{key}=False" for key in LOGGERS),
    "exp_manager.create_checkpoint_callback=False",
)


@dataclass(frozen=True, slots=True)
class _KubernetesObject:
    value: Mapping[str, Any]
    lines: Mapping[str, int]
    """Line in the file, by key."""

    @property
    def kind(self) -> str:
        return str(self.value.get("kind", "")) if "apiVersion" in self.value else ""

    @property
    def name(self) -> str:
        return str(_mapping(self.value.get("metadata")).get("name", ""))

    @property
    def spec(self) -> Mapping[str, Any]:
        return _mapping(self.value.get("spec"))

    @property
    def config_lines(self) -> dict[str, int]:
        """Lines of `spec.config`, by the keys of the configuration."""
        return {key.removeprefix(_PREFIX): line for key, line in self.lines.items() if key.startswith(_PREFIX)}


def load(data: bytes, path: str, overrides: Sequence[str], job: str | None) -> Loaded:
    """Load a configuration; raises `InputError` where the file has none, or none of the job's name."""
    objects = list(_objects(data.decode(errors="replace")))
    jobs = [item for item in objects if item.kind == contract.KIND]
    if not jobs:
        if job is not None or objects:
            raise _refusal(path, objects)
        return load_bytes(data, overrides, source=path, in_pod=True)
    chosen = _choose(jobs, path, job)
    log.info("%s is a Kubernetes manifest: the configuration of job %s runs on this machine.", path, chosen.name)
    loaded = _load(chosen, objects, path, overrides)
    if missing := list(_missing_volumes(chosen, loaded.resolved)):
        raise InputError([replace(finding, line=line_of(chosen.config_lines, finding.key)) for finding in missing])
    return loaded


def environment_overrides(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the overrides of NxDT's variables and of a data module.

    `COMPILE=1`: ten steps that write nothing; `TRAIN_ITERS=n` with `COMPILE=0`: n steps.
    """
    compiles, steps, module = (environ.get(name) for name in (_COMPILE, _TRAIN_ITERS, contract.ENV_DATA_MODULE))
    own = (data_module_override(module),) if module else ()
    if compiles == "1":
        return (*_COMPILE_OVERRIDES, *own)
    return (f"trainer.max_steps={steps}", *own) if compiles == "0" and steps else own


def data_module_override(name: str) -> str:
    """Return the override that takes samples from this class."""
    return f"data.data_module={name}"


def _objects(text: str) -> Iterator[_KubernetesObject]:
    """Yield the Kubernetes objects of a file."""
    if contract.KIND not in text and "kind:" not in text:
        return
    for first, part in documents.split(text):
        parsed = yaml_text.parse(part)
        item = _KubernetesObject(parsed.value, {key: line + first - 1 for key, line in parsed.lines.items()})
        if item.kind:
            yield item


def _choose(jobs: Sequence[_KubernetesObject], path: str, name: str | None) -> _KubernetesObject:
    names = ", ".join(job.name or "without a name" for job in jobs)
    if name is None and len(jobs) > 1:
        raise InputError([error("", f"{path} has {len(jobs)} jobs: {names}.", "Choose one with --job NAME.")])
    chosen = [job for job in jobs if name in (None, job.name)]
    if not chosen:
        raise InputError([error("", f"{path} has no job {name!r}.", f"It has {names}.")])
    return chosen[0]


def _load(job: _KubernetesObject, objects: Sequence[_KubernetesObject], path: str, overrides: Sequence[str]) -> Loaded:
    if isinstance(job.spec.get("config"), dict):
        loaded, lines = load_object(job.spec["config"], overrides, in_pod=True), job.config_lines
        numbered = (replace(finding, line=finding.line or line_of(lines, finding.key)) for finding in loaded.findings)
        return replace(loaded, findings=tuple(numbered))
    reference = _mapping(_mapping(job.spec.get("configFrom")).get("configMapKeyRef"))
    name, key = str(reference.get("name", "")), str(reference.get("key", ""))
    if not name:
        message = f"job {job.name} has neither spec.config nor spec.configFrom.configMapKeyRef."
        raise InputError([error("", f"{path}: {message}", "Add the configuration under spec.config.")])
    maps = {item.name: _mapping(item.value.get("data")) for item in objects if item.kind == "ConfigMap"}
    text = maps.get(name, {}).get(key)
    if not isinstance(text, str):
        field = f"{{.data.{key.replace('.', chr(92) + '.')}}}"
        command = f"kubectl get configmap {name} -o jsonpath='{field}' > config.yaml"
        message = f"job {job.name} takes its configuration from ConfigMap {name}, key {key}, which is not in the file."
        raise InputError([error("", f"{path}: {message}", f"Save it with `{command}` and run that file.")])
    return load_text(text, overrides, source=f"ConfigMap {name}, key {key}", in_pod=True)


def _missing_volumes(job: _KubernetesObject, resolved: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield a finding for each path on a volume that a pod would have and this machine does not."""
    missing = [mount for mount in _mounts(job.spec) if not is_directory(Path(mount))]
    for key, value in _texts(resolved):
        mount = next((mount for mount in missing if f"{value}/".startswith(f"{mount.rstrip('/')}/")), None)
        if mount is not None:
            message = f"{value} is on a volume that the job mounts at {mount}; this machine has no such directory."
            yield error(key, message, f"Add a path of this machine: {key}=PATH.")


def _mounts(spec: Mapping[str, Any]) -> Iterator[str]:
    claims = spec.get("storage")
    pod = _mapping(_mapping(spec.get("podTemplate")).get("spec"))
    containers = [_mapping(container).get("volumeMounts") for container in _list(pod.get("containers"))]
    for mounts in (claims, *containers):
        for mount in _list(mounts):
            if isinstance(path := _mapping(mount).get("mountPath"), str):
                yield path


def _texts(tree: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield every text with its key."""
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from _texts(value, f"{path}.{key}" if path else str(key))
    elif isinstance(tree, str):
        yield path, tree


def _refusal(path: str, objects: Sequence[_KubernetesObject]) -> InputError:
    kinds = ", ".join(dict.fromkeys(item.kind for item in objects)) or "no Kubernetes object"
    message = f"{path} has no {contract.KIND} (it has {kinds})."
    return InputError([error("", message, "Give an NxDT file, or a manifest with a job.")])


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
