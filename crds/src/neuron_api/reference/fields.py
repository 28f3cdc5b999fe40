"""The tables of spec and status in docs/spec/v1alpha1/neurontrainingjob.md, between markers in a hand-written page."""

import re
from collections.abc import Iterator
from enum import Enum
from typing import Final, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from neuron_api.resource.spec import JobSpec
from neuron_api.resource.status import JobStatus

_MARKED: Final = re.compile(r"(<!-- generated: (spec|status) -->\n).*?(<!-- end -->\n)", re.DOTALL)


def fill(page: str) -> str:
    """Return the page with its tables generated from the models."""
    tables = {"spec": _spec, "status": _status}
    return _MARKED.sub(lambda match: f"{match[1]}{tables[match[2]]()}{match[3]}", page)


def _spec() -> str:
    rows = (f"| `{path}` | {_default(info)} | {_meaning(info)} |\n" for path, info in _leaves(JobSpec))
    return f"| field | default | meaning |\n|---|---|---|\n{''.join(rows)}"


def _status() -> str:
    rows = (f"| `{path}` | {_meaning(info)} |\n" for path, info in _leaves(JobStatus))
    return f"| field | meaning |\n|---|---|\n{''.join(rows)}"


def _leaves(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Yield every field with its path on the wire, objects and lists before their fields."""
    for name, info in model.model_fields.items():
        path = f"{prefix}{info.alias or name}"
        below, is_list = _object_of(info)
        yield f"{path}[]" if is_list else path, info
        if below is not None:
            yield from _leaves(below, f"{path}[]." if is_list else f"{path}.")


def _object_of(info: FieldInfo) -> tuple[type[BaseModel] | None, bool]:
    """Return the model that a field holds, and whether it is a list of them."""
    for candidate in (info.annotation, *get_args(info.annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate, candidate is not info.annotation and Ellipsis in get_args(info.annotation)
    return None, False


def _default(info: FieldInfo) -> str:
    default = None if info.is_required() else info.get_default(call_default_factory=True)
    if default is None or default == () or isinstance(default, BaseModel):
        return "required" if info.is_required() else ""
    if isinstance(default, Enum):
        default = default.value
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def _meaning(info: FieldInfo) -> str:
    return " ".join((info.description or "").split()).replace("|", "\\|")
