"""What commands print beside text: `-o json`, `-o yaml`, `-o name`; and whether colours may be used."""

import argparse
import json
import os
from collections.abc import Sequence
from typing import Any, Final, TextIO

from neuron_api import contract
from neuron_api.resource.wire_values import ApiObject

TEXT: Final = "text"
DATA: Final = ("json", "yaml")
NAME: Final = "name"


def add_option(parser: argparse.ArgumentParser, *formats: str) -> None:
    """Add `-o`; text is the default."""
    parser.add_argument(
        "-o",
        "--output",
        choices=(TEXT, *formats),
        default=TEXT,
        help="default: text; json and yaml are for programs"
        + ("; name is KIND/NAME, as other commands take it" if NAME in formats else ""),
    )


def dump(value: Any, form: str) -> str:
    """Return data as a JSON or a YAML document."""
    plain = _plain(value)
    if form == "json":
        return json.dumps(plain, indent=2, ensure_ascii=False) + "\n"
    from neuron_api.loading import yaml_text

    return yaml_text.dump(plain)


def names(jobs: Sequence[str]) -> str:
    """Return a line for each job, as `kubectl get -o name` has it."""
    return "".join(f"{contract.SINGULAR}.{contract.GROUP}/{name}\n" for name in jobs)


def has_colours(stream: TextIO) -> bool:
    """Return whether to colour: on a terminal that can, unless NO_COLOR is set (no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _plain(value: Any) -> Any:
    if isinstance(value, ApiObject):
        return value.model_dump(mode="json", by_alias=True, exclude_none=True)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
