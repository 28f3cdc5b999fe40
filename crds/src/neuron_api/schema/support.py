"""How far this release's trainer supports the configuration. The loader reads every documented key; a value that the
trainer would silently ignore is refused here by name.

The operator checks this before it starts anything, and the launcher before it starts any process; the loader does not,
so that `kubectl neuron plan` works for all configurations. The level of each key stands on its field
(`config.markers`).
"""

from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from functools import cache

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from neuron_api.config import TrainingConfig
from neuron_api.config.markers import Ignored, MegatronOnly, NotSupported, OnlyValues, SupportMarker
from neuron_api.derive import alignment
from neuron_api.findings.finding import Finding, errors_of
from neuron_api.findings.registry import make_finding

from .aliases import CANONICAL
from .key_path import all_paths, field_of, fields, section_of


class SupportLevel(StrEnum):
    """How far this release supports a key."""

    SUPPORTED = "supported"
    MEGATRON_ONLY = "with Megatron"
    """With model_source megatron, which alone reads it; NTJ-4001 (a section: NTJ-4002) without."""
    SOME_VALUES = "some values"
    """`supported_values` lists them."""
    IGNORED = "no effect"
    REFUSED = "refused"
    """Any value but the default; NTJ-4001."""


def check(config: TrainingConfig, reported: Iterable[Finding] = ()) -> tuple[Finding, ...]:
    """Return a finding for each key that is set and not supported: a warning if it does not change the results, else an
    error. Keys with an error in `reported` are skipped."""
    exempt = {CANONICAL.get(finding.key, finding.key) for finding in errors_of(reported)}
    is_megatron, reads_records = config.model_source == "megatron", alignment.reads_records(config)
    for path, marker in _megatron_keys().items():
        if is_megatron or (reads_records and marker.with_records):
            exempt.add(path)
    return tuple(finding for finding in _section(config, "") if finding.key not in exempt)


def level_of(path: str) -> SupportLevel:
    """Return the support level of a key path; a section is supported when any of its keys is."""
    path = CANONICAL.get(path, path)
    if any(path == key or path.startswith(f"{key}.") for key in _megatron_keys()):
        return SupportLevel.MEGATRON_ONLY
    info = field_of(path)
    match _marker(info) if info is not None else None:
        case OnlyValues():
            return SupportLevel.SOME_VALUES
        case Ignored():
            return SupportLevel.IGNORED
        case NotSupported():
            return SupportLevel.REFUSED
        case _:
            return SupportLevel.SUPPORTED


def supported_values(path: str) -> tuple[object, ...]:
    """Return the supported values of a key with `SupportLevel.SOME_VALUES`."""
    marker = _marker_at(path)
    assert isinstance(marker, OnlyValues)
    return marker.values


def is_read_with_records(path: str) -> bool:
    """Return whether the key, or a section that holds it, is for Megatron models and also read by fine-tuning."""
    markers = (_marker_at(prefix) for prefix in (*_sections_above(path), path))
    return any(isinstance(marker, MegatronOnly) and marker.with_records for marker in markers)


def _section(section: BaseModel, path: str) -> Iterator[Finding]:
    attributes = _attributes(type(section))
    for key, info in fields(type(section)).items():
        key_path, value, marker = f"{path}.{key}" if path else key, getattr(section, attributes[key]), _marker(info)
        if key_path in CANONICAL:
            continue  # checked at the key that the value is read from
        if marker is None:
            if isinstance(value, BaseModel):
                yield from _section(value, key_path)
        elif isinstance(marker, OnlyValues):
            if value not in marker.values:
                yield _unsupported_value(key_path, value, marker)
        elif value != info.get_default(call_default_factory=True):
            yield _unsupported(key_path, value, marker, is_section=section_of(info) is not None)


def _unsupported_value(path: str, value: object, marker: OnlyValues) -> Finding:
    allowed = " or ".join(str(allowed) for allowed in marker.values if allowed is not None)
    message = f"{value!r} is not supported in this release; the job will be rejected."
    return make_finding(4001, path, message, f"Supported: {allowed}. Another value may train something else.")


def _unsupported(path: str, value: object, marker: SupportMarker, *, is_section: bool) -> Finding:
    if isinstance(marker, Ignored):
        return make_finding(4003, path, "it has no effect in this release.")
    detail = marker if isinstance(marker, NotSupported) else NotSupported()
    subject = detail.name or ("this section" if is_section else repr(value))
    message = f"{subject} is not supported in this release; the job will be rejected."
    return make_finding(4002 if is_section else 4001, path, message, detail.without)


@cache
def _attributes(model: type[BaseModel]) -> Mapping[str, str]:
    """Return attribute names by keys of the document."""
    return {info.alias or name: name for name, info in model.model_fields.items()}


@cache
def _megatron_keys() -> Mapping[str, MegatronOnly]:
    """Return the markers of keys that only model_source megatron reads, by path."""
    return {path: marker for path, info in all_paths() if isinstance(marker := _marker(info), MegatronOnly)}


def _marker(info: FieldInfo) -> SupportMarker | None:
    return next((item for item in info.metadata if isinstance(item, SupportMarker)), None)


def _marker_at(path: str) -> SupportMarker | None:
    info = field_of(path)
    return _marker(info) if info is not None else None


def _sections_above(path: str) -> Iterator[str]:
    parts = path.split(".")
    return (".".join(parts[:count]) for count in range(1, len(parts)))
