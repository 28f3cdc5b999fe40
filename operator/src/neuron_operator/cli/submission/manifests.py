"""From a file to the objects that `submit` creates: the job, and the ConfigMaps of the same file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from neuron_api import contract
from neuron_api.findings.finding import Finding, Severity, errors_of
from neuron_api.loading import yaml_text
from neuron_api.manifest import documents as manifests
from neuron_api.manifest import envelope
from neuron_operator.cli.files import convert, documents, manifest_changes
from neuron_operator.cli.files import plan as planning
from neuron_operator.cli.files.manifest_changes import ManifestChanges
from neuron_operator.cli.files.platform_flags import PlatformFlags
from neuron_operator.kube.errors import UserInputError

Json = dict[str, Any]
CONFIG_MAP: Final = "ConfigMap"


@dataclass(frozen=True, slots=True)
class Request:
    """What the command line asks for; None: as the file has it, or the default."""

    file: str
    overrides: Sequence[str] = ()
    name: str | None = None
    nodes: int | None = None
    platform: PlatformFlags = field(default_factory=PlatformFlags)
    storage: tuple[str | None, str | None] = (None, None)
    """Claim and mount path."""
    image: str | None = None
    rewrites: Sequence[tuple[str, str]] = ()

    @property
    def changes(self) -> tuple[str, ...]:
        """Return all changes of the configuration."""
        return manifest_changes.config_overrides(self.overrides, self.nodes)

    @property
    def manifest_changes(self) -> ManifestChanges:
        """Return what is changed about a job that the file has."""
        claim, mount_path = self.storage
        claims = ((claim, mount_path),) if claim else ()
        return ManifestChanges(self.name, self.changes, self.platform, claims, self.image)


@dataclass(frozen=True, slots=True)
class Objects:
    """What is to be created."""

    job: Json
    config_maps: tuple[Json, ...] = ()
    remarks: str = ""
    """Findings and what was skipped, a line each."""
    is_refused: bool = False
    """Whether the operator would reject the job."""
    skipped: tuple[str, ...] = field(default_factory=tuple)
    """Other objects of the file, KIND/NAME."""


def from_request(request: Request) -> Objects:
    """Return the objects; raises `UserInputError` for a file that has no job, or more than one."""
    text = documents.read(request.file)
    sources = documents.sources(text, request.file)
    if len(sources) > 1:
        named = ", ".join(source.label for source in sources[:5])
        raise UserInputError(f"{request.file} has {len(sources)} jobs ({named}): submit takes one; see kubectl apply")
    return _converted(request, text) if sources[0].spec is None else _of_manifest(request, text)


def _converted(request: Request, text: str) -> Objects:
    """An NxDT file."""
    claim, mount_path = request.storage
    wrapping = convert.Wrapping(request.name, request.platform, claim, mount_path, request.image, request.rewrites)
    result = convert.wrap(request.file, text, request.changes, wrapping)
    job = dict(yaml_text.parse(result.text).value) if result.text else {}
    return Objects(job, remarks=result.remarks, is_refused=result.is_refused)


def _of_manifest(request: Request, text: str) -> Objects:
    """A job among other documents, with what the command line changes about it."""
    if request.rewrites:
        raise UserInputError(f"--rewrite is for an NxDT file; {request.file} is a {contract.KIND} already")
    parts = [yaml_text.parse(part).value for _, part in manifests.split(text)]
    stated = next(part for part in parts if envelope.is_job(str(part.get("kind", ""))))
    job, faults = request.manifest_changes.apply(manifest_changes.without_server_fields(stated))
    if errors_of(faults):
        raise UserInputError("; ".join(map(str, errors_of(faults))))
    if not job["metadata"].get("name"):
        raise UserInputError(f"{request.file}: the job has no metadata.name: give --name")
    others = [part for part in parts if part and not envelope.is_job(str(part.get("kind", "")))]
    maps = tuple(part for part in others if part.get("kind") == CONFIG_MAP)
    skipped = tuple(_label(part) for part in others if part.get("kind") != CONFIG_MAP)
    stream = "---\n".join(yaml_text.dump(part) for part in (job, *maps))
    [source] = documents.sources(text if job == stated else stream, request.file)  # with its lines where it may
    findings = planning.plan_source(source, (), PlatformFlags(), None).findings
    return Objects(job, maps, _remarks(findings, skipped), is_refused=bool(errors_of(findings)), skipped=skipped)


def _remarks(findings: Sequence[Finding], skipped: Sequence[str]) -> str:
    worst_first = sorted(findings, key=lambda finding: list(Severity).index(finding.severity))
    lines = [f"{finding.severity}: {finding}\n" for finding in worst_first]
    lines += [f"skipped: {label} of the same file; kubectl apply creates it\n" for label in skipped]
    return "".join(lines)


def _label(part: Mapping[str, Any]) -> str:
    return f"{part.get('kind')}/{(part.get('metadata') or {}).get('name')}"
