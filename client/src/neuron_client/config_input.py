"""The configuration that a call is given: a file, an NxDT configuration as a mapping, or a NeuronTrainingJob."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from neuron_api import contract
from neuron_api.findings.finding import Finding
from neuron_api.loading import overrides as override_texts
from neuron_api.loading import yaml_text
from neuron_api.manifest import documents as manifests
from neuron_api.manifest import envelope
from neuron_operator.cli.files import documents
from neuron_operator.kube.errors import UserInputError

from .errors import RequestError

Config = str | os.PathLike[str] | Mapping[str, Any]
"""The path of a YAML file, or its content as a mapping."""
Overrides = Mapping[str, Any] | Sequence[str]
"""Values by key, or texts as on the command line: `trainer.max_steps=10`, `~data.val_dir`."""


@dataclass(frozen=True, slots=True)
class ConfigInput:
    """One configuration, as text."""

    text: str
    file: str = ""
    """Its path; empty for a mapping."""

    @property
    def label(self) -> str:
        """Return the name under which findings are shown."""
        return self.file or "config"

    def source(self) -> documents.Source:
        """Return the one configuration; raise `RequestError` where there are several."""
        try:
            sources = documents.sources(self.text, self.label)
        except UserInputError as problem:
            raise RequestError(str(problem)) from None
        if len(sources) != 1:
            names = ", ".join(source.label for source in sources)
            raise RequestError(f"{self.label} has {len(sources)} jobs: {names}. Pass one of them as a mapping.")
        return sources[0]

    def manifest(self) -> dict[str, Any] | None:
        """Return the NeuronTrainingJob; None for a bare configuration. Other objects beside it are refused: only the
        job would be created."""
        if self.source().spec is None:
            return None
        values = [yaml_text.parse(part).value for _, part in manifests.split(self.text)]
        others = [f"{value.get('kind')}" for value in values if value and not envelope.is_job(str(value.get("kind")))]
        if others:
            raise RequestError(
                f"{self.label} also has {', '.join(others)}, which train does not create: use kubectl apply -f, or "
                f"pass the {contract.KIND} alone."
            )
        return next(dict(value) for value in values if value)

    def located(self, findings: Iterable[Finding]) -> tuple[Finding, ...]:
        """Return findings whose lines are those of the file; a mapping has none."""
        return tuple(findings) if self.file else tuple(replace(finding, line=None) for finding in findings)


def read(config: Config) -> ConfigInput:
    """Read a file, or write a mapping as text."""
    if isinstance(config, Mapping):
        try:
            return ConfigInput(yaml_text.dump(_plain(config)))
        except (yaml.YAMLError, RecursionError) as problem:
            raise RequestError(f"the configuration has a value that YAML cannot hold: {problem}") from None
    if not isinstance(config, str | os.PathLike):
        raise RequestError(f"config must be a path or a mapping, got {type(config).__name__}")
    path = os.fspath(config)
    if Path(path).is_dir():
        raise RequestError(f"{path} is a folder: give the file of one configuration")
    try:
        return ConfigInput(documents.read(path), path)
    except UserInputError as problem:
        raise RequestError(str(problem)) from None


def as_texts(overrides: Overrides) -> tuple[str, ...]:
    """Return overrides as the command line has them; JSON is YAML, and keeps the types of Python."""
    if isinstance(overrides, str):
        raise RequestError(f"overrides must be a mapping or a list of texts: [{overrides!r}]")
    if not isinstance(overrides, Mapping):
        texts = tuple(overrides) if isinstance(overrides, Iterable) else (overrides,)
        wrong = [text for text in texts if not isinstance(text, str)]
        if wrong:
            raise RequestError(f"overrides must be a mapping or a list of texts, got {wrong[0]!r}")
        return texts
    return tuple(_assignment(key, value) for key, value in overrides.items())


def _assignment(key: str, value: Any) -> str:
    try:
        return override_texts.assignment(key, value)
    except (TypeError, ValueError, RecursionError) as problem:
        raise RequestError(f"the override {key} has a value that JSON cannot hold: {problem}") from None


def _plain(value: Any) -> Any:
    """Return a copy of plain types: paths are text, tuples are lists."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return os.fspath(value) if isinstance(value, os.PathLike) else value
