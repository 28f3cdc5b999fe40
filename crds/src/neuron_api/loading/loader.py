"""From text or object to a typed configuration with its findings: the one way in for CRD, operator and trainer.

Order: YAML text -> overrides -> interpolations -> other spellings -> names -> types -> checks between keys. What this
release's trainer cannot do yet is not asked here: see `support`.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from neuron_api import checks, fingerprint
from neuron_api.config import TrainingConfig
from neuron_api.findings.finding import Finding, Severity, errors_of, presentable
from neuron_api.findings.registry import ENTRIES, make_finding
from neuron_api.schema import aliases

from . import coercion, foreign_formats, interpolation, overrides, unknown_keys, yaml_text
from . import from_object as object_form
from .limits import ExceededError


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration as far as it could be understood."""

    config: TrainingConfig | None
    """None when a key is missing or has a wrong type."""
    resolved: dict[str, Any]
    """The effective configuration as plain data, defaults filled in; empty when `config` is None."""
    hash: str
    """`fingerprint.of` what in `resolved` is not a default; empty when `config` is None. An operator that knows a key
    more has the same for jobs that do not set it."""
    findings: tuple[Finding, ...]
    """Errors, warnings and notes; in the order of the document's lines where there is a text."""

    @property
    def errors(self) -> tuple[Finding, ...]:
        """What stops the job."""
        return errors_of(self.findings)


def load_text(text: str, changes: Sequence[str] = (), *, source: str = "", in_pod: bool = False) -> Loaded:
    """Load YAML text (a file, a ConfigMap key); `source` is named in findings about the document as a whole."""
    return _of_document(yaml_text.parse(text), changes, source, in_pod)


def load_bytes(content: bytes, changes: Sequence[str] = (), *, source: str = "", in_pod: bool = False) -> Loaded:
    """As `load_text`, of a file's bytes."""
    try:
        document = yaml_text.parse(yaml_text.decode(content))
    except yaml_text.EncodingError as problem:
        document = yaml_text.refused(problem)
    return _of_document(document, changes, source, in_pod)


def _of_document(document: yaml_text.Document, changes: Sequence[str], source: str, in_pod: bool) -> Loaded:
    if not document.value and errors_of(document.findings):
        loaded = Loaded(None, {}, "", document.findings)
    else:
        read = (*document.findings, *coercion.unquoted(_unchanged(document.written, changes)))
        loaded = _with(read, _load(document.value, changes, in_pod))
    overridden = tuple(_overridden(changes))
    numbered = (
        replace(f, key=f.key or source, line=f.line or line_of(document.lines, f.key, overridden))
        for f in loaded.findings
    )
    return replace(loaded, findings=presentable(_in_order(numbered)))


def load_object(given: Mapping[str, Any], changes: Sequence[str] = (), *, in_pod: bool = False) -> Loaded:
    """Load the object form (`spec.config`)."""
    plain, findings = object_form.plain(given)
    if not plain and errors_of(findings):
        loaded = Loaded(None, {}, "", findings)
    else:
        loaded = _with(findings, _load(plain, changes, in_pod))
    return replace(loaded, findings=presentable(loaded.findings))


def line_of(lines: Mapping[str, int], key: str, overridden: Collection[str] = ()) -> int | None:
    """Line of the key, or of the nearest mapping above it (a missing key has none of its own); None for a key that an
    override has set, since the file's line holds another value."""
    while key and key not in overridden:
        if key in lines:
            return lines[key]
        key = key.rpartition(".")[0]
    return None


def _load(plain: dict[str, Any], changes: Sequence[str], in_pod: bool) -> Loaded:
    changed, overriding = overrides.apply(plain, changes)
    if (other := foreign_formats.recognized(changed)) is not None:
        return Loaded(None, {}, "", (other,))
    resolved, unresolved = interpolation.resolve(changed, in_pod=in_pod)
    unified, aliased = aliases.unify(resolved)
    clean, nones = coercion.read_none(unified)
    try:
        unknown = unknown_keys.unknown(resolved)
    except ExceededError as problem:
        return Loaded(None, {}, "", (make_finding(1002, "", f"not a configuration: {problem}"),))
    so_far = (*overriding, *unresolved, *aliased, *nones, *unknown)
    refused = {f.key for f in (*overriding, *unresolved, *unknown) if f.severity is Severity.ERROR}
    config, wrong = _typed(_without(clean, refused), refused)
    so_far = (*so_far, *_as_written(wrong, aliases.written(resolved)))
    without = refused | {f.key for f in wrong}
    if config is None:
        return Loaded(None, {}, "", so_far)
    checked = tuple(one for one in checks.check(config) if not _is_about(one, without))
    if errors_of(wrong):
        return Loaded(None, {}, "", (*so_far, *checked))
    if errors_of(unresolved):
        return Loaded(config, {}, "", (*so_far, *checked))
    effective = config.model_dump(mode="json", by_alias=True)
    own = config.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return Loaded(config, effective, fingerprint.compute(own), (*so_far, *checked))


def _with(read: Sequence[Finding], loaded: Loaded) -> Loaded:
    """Together with what was found while reading; a value that could not be read is not also missing."""
    unread = {finding.key for finding in read}
    others = (f for f in loaded.findings if f.key not in unread or f.code != "NTJ-1401")
    return replace(loaded, findings=(*read, *others))


def _unchanged(written: Mapping[str, str], changes: Sequence[str]) -> dict[str, str]:
    overridden = set(_overridden(changes))
    return {key: text for key, text in written.items() if key not in overridden}


def _overridden(changes: Sequence[str]) -> Iterator[str]:
    """Keys that the overrides name."""
    return (text.lstrip("+~").partition("=")[0] for text in changes)


def _typed(plain: Any, refused: Iterable[str]) -> tuple[TrainingConfig | None, tuple[Finding, ...]]:
    """The typed form and the faults of single values. With faults it is the form without those values, so that the
    rules between the other keys can still be told; None where a required key is among them."""
    try:
        return TrainingConfig.model_validate(plain), ()
    except ValidationError as problem:
        wrong = tuple(_own(problem, refused))
    try:
        return TrainingConfig.model_validate(_without(plain, {finding.key for finding in wrong})), wrong
    except ValidationError:
        return None, wrong


def _is_about(finding: Finding, keys: Iterable[str]) -> bool:
    """Whether a rule between keys has to do with one of these, which have been left out."""
    own = (finding.key, *(ENTRIES[finding.code].keys if finding.code else ()))
    return any(key == one or key.startswith(f"{one}.") or one.startswith(f"{key}.") for key in keys for one in own)


def _as_written(findings: Iterable[Finding], spelled: Mapping[str, str]) -> tuple[Finding, ...]:
    """Each named by the key that is in the file; what is told of both spellings is told once."""
    return tuple(dict.fromkeys(replace(f, key=spelled.get(f.key, f.key)) for f in findings))


def _own(problem: ValidationError, refused: Iterable[str]) -> Iterable[Finding]:
    """The model's errors, once per key, but for keys that were left out because they are told already."""
    told = set(refused)
    for detail in problem.errors(include_url=False):
        one = coercion.finding(detail)
        if one.key not in told:
            told.add(one.key)
            yield one


def _in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    return tuple(sorted(findings, key=lambda f: f.line or 1_000_000))


def _without(tree: Any, keys: Iterable[str], path: str = "") -> Any:
    """A copy of the mappings without some of their keys."""
    if not isinstance(tree, dict):
        return tree
    return {
        key: _without(value, keys, where)
        for key, value in tree.items()
        if (where := f"{path}.{key}" if path else key) not in keys
    }
