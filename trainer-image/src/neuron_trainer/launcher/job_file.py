"""The configuration in a file: an NxDT file, or the `spec.config` of a NeuronTrainingJob among other documents."""

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

log = logging.getLogger(__name__)

_PREFIX: Final = "spec.config."


@dataclass(frozen=True, slots=True)
class _Document:
    value: Mapping[str, Any]
    lines: Mapping[str, int]
    """Of the file."""

    @property
    def kind(self) -> str:
        return str(self.value.get("kind", "")) if "apiVersion" in self.value else ""

    @property
    def name(self) -> str:
        return str(_mapping(self.value.get("metadata")).get("name", ""))

    @property
    def spec(self) -> Mapping[str, Any]:
        return _mapping(self.value.get("spec"))


def load(data: bytes, path: str, overrides: Sequence[str], job: str | None) -> Loaded:
    """Raises `InputError` where the file has no configuration, or none of that name."""
    documents = list(_objects(data.decode(errors="replace")))
    jobs = [document for document in documents if document.kind == contract.KIND]
    if not jobs:
        if job is not None or documents:
            raise _refusal(path, documents)
        return load_bytes(data, overrides, source=path, in_pod=True)
    chosen = _choose(jobs, path, job)
    log.info("%s is a Kubernetes manifest: the configuration of job %s runs on this machine.", path, chosen.name)
    loaded = _load(chosen, documents, path, overrides)
    if missing := list(_off_this_machine(chosen, loaded.resolved)):
        raise InputError([replace(one, line=line_of(_lines(chosen), one.key)) for one in missing])
    return loaded


def _objects(text: str) -> Iterator[_Document]:
    """Kubernetes' objects; nothing where the file has none."""
    if contract.KIND not in text and "kind:" not in text:
        return
    for first, part in documents.split(text):
        parsed = yaml_text.parse(part)
        document = _Document(parsed.value, {key: line + first - 1 for key, line in parsed.lines.items()})
        if document.kind:
            yield document


def _choose(jobs: Sequence[_Document], path: str, name: str | None) -> _Document:
    names = ", ".join(one.name or "without a name" for one in jobs)
    if name is None and len(jobs) > 1:
        raise InputError([error("", f"{path} has {len(jobs)} jobs: {names}.", "Choose one with --job NAME.")])
    chosen = [one for one in jobs if name in (None, one.name)]
    if not chosen:
        raise InputError([error("", f"{path} has no job {name!r}.", f"It has {names}.")])
    return chosen[0]


def _load(job: _Document, documents: Sequence[_Document], path: str, overrides: Sequence[str]) -> Loaded:
    if isinstance(job.spec.get("config"), dict):
        loaded, lines = load_object(job.spec["config"], overrides, in_pod=True), _lines(job)
        numbered = (replace(one, line=one.line or line_of(lines, one.key)) for one in loaded.findings)
        return replace(loaded, findings=tuple(numbered))
    reference = _mapping(_mapping(job.spec.get("configFrom")).get("configMapKeyRef"))
    name, key = str(reference.get("name", "")), str(reference.get("key", ""))
    if not name:
        message = f"job {job.name} has neither spec.config nor spec.configFrom.configMapKeyRef."
        raise InputError([error("", f"{path}: {message}", "Add the configuration under spec.config.")])
    maps = {one.name: _mapping(one.value.get("data")) for one in documents if one.kind == "ConfigMap"}
    text = maps.get(name, {}).get(key)
    if not isinstance(text, str):
        command = (
            f"kubectl get configmap {name} -o jsonpath='{{.data.{key.replace('.', chr(92) + '.')}}}' > config.yaml"
        )
        message = f"job {job.name} takes its configuration from ConfigMap {name}, key {key}, which is not in the file."
        raise InputError([error("", f"{path}: {message}", f"Save it with `{command}` and run that file.")])
    return load_text(text, overrides, source=f"ConfigMap {name}, key {key}", in_pod=True)


def _lines(job: _Document) -> dict[str, int]:
    return {key.removeprefix(_PREFIX): line for key, line in job.lines.items() if key.startswith(_PREFIX)}


def _off_this_machine(job: _Document, resolved: Mapping[str, Any]) -> Iterator[Finding]:
    """Paths on a volume that a pod would have, and this machine has not."""
    missing = [mount for mount in _mounts(job.spec) if not is_directory(Path(mount))]
    for key, value in _texts(resolved):
        mount = next((one for one in missing if f"{value}/".startswith(f"{one.rstrip('/')}/")), None)
        if mount is not None:
            message = f"{value} is on a volume that the job mounts at {mount}; this machine has no such directory."
            yield error(key, message, f"Add a path of this machine: {key}=PATH.")


def _mounts(spec: Mapping[str, Any]) -> Iterator[str]:
    claims = spec.get("storage")
    pod = _mapping(_mapping(spec.get("podTemplate")).get("spec"))
    containers = [_mapping(one).get("volumeMounts") for one in _list(pod.get("containers"))]
    for mount in (claims, *containers):
        for one in _list(mount):
            if isinstance(path := _mapping(one).get("mountPath"), str):
                yield path


def _texts(tree: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Every text with its key."""
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from _texts(value, f"{path}.{key}" if path else str(key))
    elif isinstance(tree, str):
        yield path, tree


def _refusal(path: str, documents: Sequence[_Document]) -> InputError:
    kinds = ", ".join(dict.fromkeys(one.kind for one in documents)) or "no Kubernetes object"
    return InputError([error("", f"{path} has no {contract.KIND} (it has {kinds}).",
                             "Give an NxDT file, or a manifest with a job.")])  # fmt: skip


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
