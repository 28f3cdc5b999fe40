"""From text or object to a typed configuration with its findings: the one way in for CRD, operator and trainer.

Order: YAML text -> overrides -> interpolations -> aliases -> key names -> types -> checks between keys. What this
release's trainer does not support is not checked here: see `schema.support`.

`fingerprint_of` is the hash of an effective configuration: the same for text and object form, whatever the order of the
keys.
"""

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from neuron_api import checks
from neuron_api.config import TrainingConfig
from neuron_api.findings.finding import Finding, Severity, errors_of, for_display
from neuron_api.findings.registry import ENTRIES, make_finding
from neuron_api.schema import aliases
from neuron_api.schema.key_path import fields, section_of

from . import coercion, foreign_formats, from_object, interpolation, overrides, unknown_keys, yaml_text
from .limits import ExceededError


def fingerprint_of(effective: Mapping[str, Any]) -> str:
    """Return the SHA-256 of canonical JSON in hexadecimal."""
    text = json.dumps(_section(effective, TrainingConfig), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()


def _section(values: Mapping[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    return {key: _value(value, fields(model).get(key)) for key, value in values.items()}


def _value(value: Any, info: FieldInfo | None) -> Any:
    """Return the value; untyped floats without a fraction become integers, as the API server stores 1.0 as 1 (R3)."""
    section = section_of(info) if info is not None else None
    if section is not None and isinstance(value, Mapping):
        return _section(value, section)
    return _without_point(value) if info is None or _is_untyped(info.annotation) else value


def _is_untyped(annotation: Any) -> bool:
    return annotation is Any or any(map(_is_untyped, get_args(annotation)))


def _without_point(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_point(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_point(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration as far as it could be read."""

    config: TrainingConfig | None
    """None when a key is missing or has a wrong type."""
    resolved: dict[str, Any]
    """The effective configuration as plain data, defaults filled in; empty when `config` is None."""
    hash: str
    """`fingerprint_of` of the values that are not defaults; empty when `config` is None. An operator with more
    keys computes the same hash for jobs that do not set them."""
    findings: tuple[Finding, ...]
    """Errors, warnings and notes; in the order of the document's lines where there is a text."""

    @property
    def errors(self) -> tuple[Finding, ...]:
        """Return the findings that stop the job."""
        return errors_of(self.findings)


def load_text(text: str, changes: Sequence[str] = (), *, source: str = "", in_pod: bool = False) -> Loaded:
    """Load YAML text (a file, a ConfigMap key); `source` is named in findings about the document as a whole."""
    return _load_document(yaml_text.parse(text), changes, source, in_pod)


def load_bytes(content: bytes, changes: Sequence[str] = (), *, source: str = "", in_pod: bool = False) -> Loaded:
    """Load a file's bytes as `load_text` does its text."""
    try:
        document = yaml_text.parse(yaml_text.decode(content))
    except yaml_text.EncodingError as problem:
        document = yaml_text.undecodable(problem)
    return _load_document(document, changes, source, in_pod)


def _load_document(document: yaml_text.Document, changes: Sequence[str], source: str, in_pod: bool) -> Loaded:
    if not document.value and errors_of(document.findings):
        loaded = Loaded(None, {}, "", document.findings)
    else:
        reading = (
            *document.findings,
            *coercion.find_unquoted_texts(_without_overridden(document.number_texts, changes)),
        )
        loaded = _with_reading_findings(reading, _load(document.value, changes, in_pod))
    overridden = tuple(_overridden(changes))
    numbered = (
        replace(f, key=f.key or source, line=f.line or line_of(document.lines, f.key, overridden))
        for f in loaded.findings
    )
    return replace(loaded, findings=for_display(_in_order(numbered)))


def load_object(values: Mapping[str, Any], changes: Sequence[str] = (), *, in_pod: bool = False) -> Loaded:
    """Load the object form (`spec.config`)."""
    plain, findings = from_object.copy_plain(values)
    if not plain and errors_of(findings):
        loaded = Loaded(None, {}, "", findings)
    else:
        loaded = _with_reading_findings(findings, _load(plain, changes, in_pod))
    return replace(loaded, findings=for_display(loaded.findings))


def line_of(lines: Mapping[str, int], key: str, overridden: Collection[str] = ()) -> int | None:
    """Return the line of the key, or of the nearest mapping above it if the key is missing; None for a key that an
    override has set, since the file's line holds another value."""
    while key and key not in overridden:
        if key in lines:
            return lines[key]
        key = key.rpartition(".")[0]
    return None


def _load(plain: dict[str, Any], changes: Sequence[str], in_pod: bool) -> Loaded:
    changed, overriding = overrides.apply(plain, changes)
    if (foreign := foreign_formats.recognize(changed)) is not None:
        return Loaded(None, {}, "", (foreign,))
    resolved, unresolved = interpolation.resolve(changed, in_pod=in_pod)
    unified, aliased = aliases.unify(resolved)
    without_nones, nones = coercion.read_none_words(unified)
    try:
        unknown = unknown_keys.find_unknown(resolved)
    except ExceededError as problem:
        return Loaded(None, {}, "", (make_finding(1002, "", f"not a configuration: {problem}"),))
    findings = (*overriding, *unresolved, *aliased, *nones, *unknown)
    refused = {f.key for f in (*overriding, *unresolved, *unknown) if f.severity is Severity.ERROR}
    config, wrong = _validate(_drop_keys(without_nones, refused), refused)
    findings = (*findings, *_at_written_keys(wrong, aliases.written_keys(resolved)))
    excluded = refused | {f.key for f in wrong}
    if config is None:
        return Loaded(None, {}, "", (*findings, *_missing_by_source(without_nones, excluded)))
    checked = tuple(finding for finding in checks.check(config) if not _concerns(finding, excluded))
    if errors_of(wrong):
        return Loaded(None, {}, "", (*findings, *checked))
    if errors_of(unresolved):
        return Loaded(config, {}, "", (*findings, *checked))
    effective = config.model_dump(mode="json", by_alias=True)
    changed_from_defaults = config.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return Loaded(config, effective, fingerprint_of(changed_from_defaults), (*findings, *checked))


def _missing_by_source(plain: Any, excluded: Collection[str]) -> Iterator[Finding]:
    """Yield what the model's source requires and a document lacks that lacks other keys, too."""
    section = plain.get("model") if isinstance(plain, dict) else None
    if isinstance(section, dict):
        missing = checks.model.missing_keys(plain.get("model_source"), section)
        yield from (finding for finding in missing if finding.key not in excluded)


def _with_reading_findings(reading: Sequence[Finding], loaded: Loaded) -> Loaded:
    """Prepend the findings of reading; a value that could not be read is not also reported as missing."""
    unread = {finding.key for finding in reading}
    others = (f for f in loaded.findings if f.key not in unread or f.code != "NTJ-1401")
    return replace(loaded, findings=(*reading, *others))


def _without_overridden(texts: Mapping[str, str], changes: Sequence[str]) -> dict[str, str]:
    overridden = set(_overridden(changes))
    return {key: text for key, text in texts.items() if key not in overridden}


def _overridden(changes: Sequence[str]) -> Iterator[str]:
    """Yield the keys that the overrides name."""
    return (text.lstrip("+~").partition("=")[0] for text in changes)


def _validate(plain: Any, refused: Iterable[str]) -> tuple[TrainingConfig | None, tuple[Finding, ...]]:
    """Return the typed form and the faults of single values.

    With faults it is the form without those values, so that the rules between the other keys are still checked; None
    if a required key is among them.
    """
    try:
        return TrainingConfig.model_validate(plain), ()
    except ValidationError as problem:
        wrong = tuple(_model_errors(problem, refused))
    try:
        return TrainingConfig.model_validate(_drop_keys(plain, {finding.key for finding in wrong})), wrong
    except ValidationError:
        return None, wrong


def _concerns(finding: Finding, keys: Iterable[str]) -> bool:
    """Return whether a finding of a rule between keys involves one of these keys, which were left out."""
    involved = (finding.key, *(ENTRIES[finding.code].keys if finding.code else ()))
    return any(
        key == other or key.startswith(f"{other}.") or other.startswith(f"{key}.") for key in keys for other in involved
    )


def _at_written_keys(findings: Iterable[Finding], written_keys: Mapping[str, str]) -> tuple[Finding, ...]:
    """Return findings at the keys that are in the file; one that both spellings have is reported once."""
    return tuple(dict.fromkeys(replace(f, key=written_keys.get(f.key, f.key)) for f in findings))


def _model_errors(problem: ValidationError, refused: Iterable[str]) -> Iterable[Finding]:
    """Yield the model's errors, one per key, except for keys that have been reported already."""
    reported = set(refused)
    for detail in problem.errors(include_url=False):
        finding = coercion.from_pydantic(detail)
        if finding.key not in reported:
            reported.add(finding.key)
            yield finding


def _in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    return tuple(sorted(findings, key=lambda f: f.line or 1_000_000))


def _drop_keys(tree: Any, keys: Iterable[str], path: str = "") -> Any:
    """Return a copy of the mappings without some of their keys."""
    if not isinstance(tree, dict):
        return tree
    return {
        key: _drop_keys(value, keys, key_path)
        for key, value in tree.items()
        if (key_path := f"{path}.{key}" if path else key) not in keys
    }
