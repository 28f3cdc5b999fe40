"""The published models whose `config.json` this release ships: what a name like `meta-llama/Llama-3.1-8B` means.

Sizes only, no weights: enough to plan a run, and to train from scratch. A file or a directory of the same name on the
machine wins over the catalog; callers look for it first.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final

from neuron_api.findings.suggestions import nearest

_FILE: Final = "models.json"


@dataclass(frozen=True, slots=True)
class PublishedModel:
    """One architecture; variants that differ only in their weights share it."""

    names: tuple[str, ...]
    """On the Hugging Face Hub, the base model first."""
    parameters: int
    """As published: what the safetensors index of the weights counts."""
    source: str
    """Where the numbers come from."""
    config: Mapping[str, Any]
    """Its `config.json`, the keys that are read."""


def find(name: str) -> PublishedModel | None:
    """Return the model of that name, in whatever case; None for any other text."""
    return _by_name().get(name.strip().strip("/").lower())


def names() -> tuple[str, ...]:
    """Return every name of the catalog."""
    return tuple(name for model in models() for name in model.names)


def is_name(value: str) -> bool:
    """Return whether the text has the form of a model's name, `organization/model`, and not that of a path."""
    organization, slash, model = value.partition("/")
    return bool(slash and organization and model) and "/" not in model and value[0] not in "/.~" and not _is_file(model)


def suggestion(name: str) -> str | None:
    """Return the name of the catalog that was probably meant, by the whole name or by the part after the slash."""
    if near := nearest(name, names()):
        return near
    by_model = {full.partition("/")[2]: full for full in reversed(names())}
    near = nearest(name.rpartition("/")[2], by_model)
    return by_model[near] if near else None


@cache
def models() -> tuple[PublishedModel, ...]:
    """Return the whole catalog."""
    entries = json.loads(files(__package__).joinpath(_FILE).read_text(encoding="utf-8"))
    return tuple(PublishedModel(**{**entry, "names": tuple(entry["names"])}) for entry in entries)


def _is_file(model: str) -> bool:
    return model.endswith((".json", ".yaml", ".yml"))


@cache
def _by_name() -> Mapping[str, PublishedModel]:
    return {name.lower(): model for model in models() for name in model.names}
