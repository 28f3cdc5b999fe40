"""From a file to configurations: a job among other documents, or an NxDT file as it is; lines are those of the file."""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, Final

from neuron_api import contract
from neuron_api.findings.finding import Finding
from neuron_api.findings.suggestions import nearest
from neuron_api.loading import foreign_formats, yaml_text
from neuron_api.loading.loader import Loaded, line_of, load_object, load_text
from neuron_api.manifest import documents as manifests
from neuron_api.manifest import envelope
from neuron_operator.kube.errors import UserInputError

_PREFIX: Final = "spec.config."
_MANIFEST: Final = ("spec.", "metadata.")
"""Where keys of a manifest begin."""
_SUFFIXES: Final = (".yaml", ".yml", ".json")
"""Of files that are taken from a folder, as kubectl does."""
_MAX_BYTES: Final = 16_000_000
"""More is no manifest; a ConfigMap holds 1 MB."""
_MAX_DOCUMENTS: Final = 1_000
_MAX_KINDS: Final = 5
"""Kinds that a message names."""


@dataclass(frozen=True, slots=True)
class Source:
    """A configuration and where it stands."""

    label: str
    """The job's name, or the file's without its suffix."""
    spec: Mapping[str, Any] | None = None
    """`spec` of the job; None for an NxDT file."""
    text: str | None = None
    config_object: Mapping[str, Any] | None = None
    """Object form, where there is no text; None where the job has no configuration, which its findings say."""
    lines: Mapping[str, int] = field(default_factory=dict)
    """Key of the configuration to line of the file."""
    manifest_lines: Mapping[str, int] = field(default_factory=dict)
    """Key of the manifest (`spec.storage`) to line of the file."""
    first_line: int = 1
    """Line of the file that the text begins in."""
    findings: tuple[Finding, ...] = ()
    """Of the manifest around it."""
    config_maps: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Data of the ConfigMaps in the same file, by name."""

    def load(self, overrides: Sequence[str]) -> Loaded:
        """Load the configuration, with findings that name lines of the file."""
        if self.text is None and self.config_object is None:
            return Loaded(None, {}, "", self.findings)
        if self.text is None:
            loaded = load_object(self.config_object or {}, overrides)
            return replace(loaded, findings=(*self.findings, *self.located(loaded.findings)))
        loaded = load_text(self.text, overrides)
        numbered = (replace(f, line=f.line and f.line + self.first_line - 1) for f in loaded.findings)
        return replace(loaded, findings=(*self.findings, *numbered))

    def located(self, findings: Iterable[Finding]) -> Iterator[Finding]:
        """Add the lines of their keys to findings that have none yet."""
        lines, before = self.lines, 0
        if self.text is not None:
            lines, before = yaml_text.parse(self.text).lines, self.first_line - 1
        for finding in findings:
            line = line_of(lines, finding.key)
            manifest_line = line_of(self.manifest_lines, finding.key) if finding.key.startswith(_MANIFEST) else None
            yield replace(finding, line=finding.line or manifest_line or (line and line + before))


@dataclass(frozen=True, slots=True)
class _Document:
    value: dict[str, Any]
    lines: Mapping[str, int]
    findings: tuple[Finding, ...]
    text: str
    first_line: int

    @property
    def kind(self) -> str:
        is_object = "apiVersion" in self.value or "metadata" in self.value or "spec" in self.value
        return str(self.value.get("kind", "")) if is_object else ""

    @property
    def name(self) -> str:
        metadata = self.value.get("metadata")
        return str(metadata.get("name", "")) if isinstance(metadata, dict) else ""


class NoJobError(UserInputError):
    """The file holds Kubernetes objects, and no job among them."""


def from_files(files: Sequence[str]) -> list[Source]:
    """Every configuration of these files and folders, in order.

    What lies in a folder beside jobs, such as a claim, is named on stderr and skipped.
    """
    result: list[Source] = []
    skipped: list[NoJobError] = []
    for file in expand_folders(files):
        try:
            result += sources(read(file), file)
        except NoJobError as problem:
            if file in files:
                raise
            skipped.append(problem)
    if skipped and not result:
        raise skipped[0]
    sys.stderr.writelines(f"skipped: {problem}\n" for problem in skipped)
    return result


def expand_folders(files: Sequence[str]) -> Iterator[str]:
    """These files, and the YAML and JSON files of these folders."""
    if files.count("-") > 1:
        raise UserInputError("stdin (-) can be read once")
    for file in files:
        folder = Path(file)
        if not folder.is_dir():
            yield file
            continue
        inside = sorted(str(path) for path in folder.iterdir() if path.suffix in _SUFFIXES and path.is_file())
        if not inside:
            raise UserInputError(f"{file} has no {' or '.join(_SUFFIXES)} file")
        yield from inside


def read(file: str) -> str:
    """The text of a file, or of stdin for `-`."""
    if program := foreign_formats.program_of(file):
        raise UserInputError(f"{file} is {program}, not a configuration. {foreign_formats.PROGRAM_REMEDY}")
    try:
        with nullcontext(sys.stdin.buffer) if file == "-" else Path(file).open("rb") as stream:
            data = stream.read(_MAX_BYTES + 1)
    except OSError as problem:
        raise UserInputError(f"{file}: {problem.strerror}") from None
    if len(data) > _MAX_BYTES:
        raise UserInputError(f"{file} has more than {_MAX_BYTES} bytes")
    try:
        return yaml_text.decode(data)
    except yaml_text.EncodingError as problem:
        raise UserInputError(f"{file}: {problem}") from None


def sources(text: str, file: str) -> list[Source]:
    """Every job of a file; or the file itself, when it is an NxDT file."""
    parts = list(islice(manifests.split(text), _MAX_DOCUMENTS + 1))
    if len(parts) > _MAX_DOCUMENTS:
        raise UserInputError(f"{file} has more than {_MAX_DOCUMENTS} documents")
    documents = [_parsed(part, line) for line, part in parts]
    jobs = [document for document in documents if envelope.is_job(document.kind)]
    if not jobs and len(documents) <= 1 and not (documents and documents[0].kind):
        return [Source("stdin" if file == "-" else Path(file).stem, text=text)]
    if not jobs:
        named = dict.fromkeys(document.kind or "no kind" for document in documents)
        kinds = ", ".join([*islice(named, _MAX_KINDS), *(["…"] if len(named) > _MAX_KINDS else [])])
        near = [
            f"{document.kind} (line {document.lines.get('kind', document.first_line)})"
            for document in documents
            if _is_typo(document.kind)
        ]
        if near:
            raise UserInputError(f"{file} has no {contract.KIND}; did you mean {contract.KIND} in place of {near[0]}?")
        raise NoJobError(f"{file} has no {contract.KIND}: it has {kinds}")
    maps = {d.name: _texts(d.value.get("data")) for d in documents if d.kind == "ConfigMap"}
    return [_from_job(job, maps, documents, file) for job in jobs]


def _is_typo(kind: str) -> bool:
    return nearest(kind, [contract.KIND]) is not None


def _parsed(text: str, first_line: int) -> _Document:
    parsed = yaml_text.parse(text)
    offset = first_line - 1
    lines = {key: line + offset for key, line in parsed.lines.items()}
    findings = tuple(replace(f, line=f.line and f.line + offset) for f in parsed.findings)
    return _Document(parsed.value, lines, findings, text, first_line)


def _from_job(
    job: _Document, maps: Mapping[str, Mapping[str, str]], documents: Sequence[_Document], file: str
) -> Source:
    spec = job.value.get("spec")
    spec = spec if isinstance(spec, dict) else {}
    faults = (
        replace(finding, line=line_of(job.lines, finding.key) or job.first_line)
        for finding in envelope.check(job.value)
    )
    manifest_findings = (*_own(job.findings), *faults)
    source = Source(job.name, spec, findings=manifest_findings, config_maps=maps, manifest_lines=job.lines)
    if isinstance(spec.get("config"), dict):
        lines = {key.removeprefix(_PREFIX): n for key, n in job.lines.items() if key.startswith(_PREFIX)}
        return replace(source, config_object=spec["config"], lines=lines)
    reference = _reference(spec)
    if reference is None:
        return source
    name, key = reference
    if key not in maps.get(name, {}):
        raise UserInputError(
            f"{file}: {job.name} takes its configuration from ConfigMap {name}, key {key}, which is not in the file"
        )
    owner = next(document for document in documents if document.kind == "ConfigMap" and document.name == name)
    return replace(source, text=maps[name][key], first_line=_first_line(owner, key, maps[name][key]))


def _own(findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
    """Keys of the configuration are named as in an NxDT file."""
    return tuple(replace(f, key=f.key.removeprefix(_PREFIX)) for f in findings)


def _reference(spec: Mapping[str, Any]) -> tuple[str, str] | None:
    source = spec.get("configFrom")
    reference = source.get("configMapKeyRef") if isinstance(source, dict) else None
    if not isinstance(reference, dict) or not {"name", "key"} <= reference.keys():
        return None
    return str(reference["name"]), str(reference["key"])


def _first_line(owner: _Document, key: str, text: str) -> int:
    """Line of the file that a literal block begins in; 1, when its lines are not those of the file."""
    start = owner.lines.get(f"data.{key}", 0) + 1
    in_file = owner.text.splitlines()[start - owner.first_line :]
    block = text.splitlines()
    is_literal = [line.strip() for line in in_file[: len(block)]] == [line.strip() for line in block]
    return start if is_literal else 1


def _texts(data: Any) -> dict[str, str]:
    return {str(k): v for k, v in data.items() if isinstance(v, str)} if isinstance(data, dict) else {}
