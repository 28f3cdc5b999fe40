"""Rules of single keys: whole numbers, their bounds, lists of allowed values. An interpolation passes, and the word
None, which is read as null (R1)."""

from collections.abc import Iterator
from typing import Any, Final

import annotated_types
from pydantic.fields import FieldInfo

from neuron_api.schema.key_path import all_paths, choices
from neuron_api.schema.off_switches import OFF

from .rule import Rule

Schema = dict[str, Any]

_ELSEWHERE: Final = ("model.num_layers", "model.hidden_size", "model.optim.sched.max_steps")
"""-1 takes config.json's, or the trainer's."""
_TOLD_ELSEWHERE: Final = {"model.optim.sched.name": ("rprop",)}
"""Values that another rule refuses."""
_NOT_A_NUMBER: Final = (
    # By first and last character, which costs next to nothing: a regular expression over an int-or-string value is
    # estimated at a million units (of ten for a rule, a hundred for the CRD, Kubernetes 1.34) for its 3 MB at most.
    "type(self) == string && self != 'None' && "
    "!(self > '' && self < ':' && (self.endsWith('}') || self.charAt(size(self) - 1) < ':'))"
)


def add(schema: Schema) -> Schema:
    """The schema of the configuration with the rules of its keys."""
    for key, info in all_paths():
        node = schema
        for part in key.split("."):
            node = node["properties"][part]
        if found := [rule.of_value() for rule in rules(key, info, node)]:
            node["x-kubernetes-validations"] = found
    return schema


def rules(key: str, info: FieldInfo, node: Schema) -> Iterator[Rule]:
    """Of one key with its schema."""
    if node.get("x-kubernetes-int-or-string"):
        what = "a number" if "quantity" in repr((info.annotation, info.metadata)) else "an integer"
        yield Rule(1402, key, _NOT_A_NUMBER, f"must be {what}")
        yield from _bounds(key, info)
    elif allowed := choices(info):
        listed = ", ".join(f"'{one}'" for one in (*allowed, "None", *_TOLD_ELSEWHERE.get(key, ())))
        refused = f"!(self in [{listed}]) && !self.contains('${{')"
        yield Rule(1404, key, refused, f"must be one of {', '.join(allowed)}")


def _bounds(key: str, info: FieldInfo) -> Iterator[Rule]:
    but = " && self != -1" if key in _ELSEWHERE else ""
    for item in info.metadata:
        for refused, expected in _broken(item):
            yield Rule(1403, key, f"type(self) == int && {refused}{but}", expected, OFF.get(key, ""))


def _broken(item: object) -> Iterator[tuple[str, str]]:
    """When a bound is broken, and what it asks for."""
    if isinstance(item, annotated_types.Ge):
        yield f"int(self) < {item.ge}", f"must be {item.ge} or more"
    elif isinstance(item, annotated_types.Gt):
        yield f"int(self) <= {item.gt}", f"must be greater than {item.gt}"
    elif isinstance(item, annotated_types.Le):
        yield f"int(self) > {item.le}", f"must be {item.le} or less"
