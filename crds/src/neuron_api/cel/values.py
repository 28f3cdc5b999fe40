"""Rules of single keys: integers, their bounds, lists of allowed values; and two names of one key with different values
(`schema.aliases`). Interpolations pass, and so does the word None, which is read as null (R1).
"""

from collections.abc import Iterator
from typing import Any, Final

import annotated_types
from pydantic.fields import FieldInfo

from neuron_api.config import FusionsConfig
from neuron_api.schema.key_path import all_paths, choices, fields
from neuron_api.schema.off_switches import OFF

from .expressions import flag, is_interpolated, is_set, raw, value_of
from .rule import Rule

Schema = dict[str, Any]

_MAY_BE_MINUS_ONE: Final = ("model.num_layers", "model.hidden_size", "model.optim.sched.max_steps")
"""Keys where -1 means the value of config.json, or of the trainer."""
_REFUSED_BY_ANOTHER_RULE: Final = {"model.optim.sched.name": ("rprop",)}
"""Values that another rule refuses."""
_NOT_A_NUMBER: Final = (
    # By first and last character, which costs next to nothing: a regular expression over an int-or-string value is
    # estimated at a million units (of ten for a rule, a hundred for the CRD, Kubernetes 1.34) for its 3 MB at most.
    "type(self) == string && self != 'None' && "
    "!(self > '' && self < ':' && (self.endsWith('}') || self.charAt(size(self) - 1) < ':'))"
)


def add(schema: Schema) -> Schema:
    """Return the schema of the configuration with the key_rules of its keys."""
    for key, info in all_paths():
        node = schema
        for part in key.split("."):
            node = node["properties"][part]
        if validations := [rule.on_key() for rule in key_rules(key, info, node)]:
            node["x-kubernetes-validations"] = validations
    return schema


def key_rules(key: str, info: FieldInfo, node: Schema) -> Iterator[Rule]:
    """Yield the key_rules of one key with its schema."""
    if node.get("x-kubernetes-int-or-string"):
        expected = "a number" if "quantity" in repr((info.annotation, info.metadata)) else "an integer"
        yield Rule(1402, key, _NOT_A_NUMBER, f"must be {expected}")
        yield from _bounds(key, info)
    elif allowed := choices(info):
        listed = ", ".join(f"'{value}'" for value in (*allowed, "None", *_REFUSED_BY_ANOTHER_RULE.get(key, ())))
        refused = f"!(self in [{listed}]) && !self.contains('${{')"
        yield Rule(1404, key, refused, f"must be one of {', '.join(allowed)}")


def _bounds(key: str, info: FieldInfo) -> Iterator[Rule]:
    unless_minus_one = " && self != -1" if key in _MAY_BE_MINUS_ONE else ""
    for item in info.metadata:
        for refused, expected in _broken(item):
            yield Rule(1403, key, f"type(self) == int && {refused}{unless_minus_one}", expected, OFF.get(key, ""))


def _broken(item: object) -> Iterator[tuple[str, str]]:
    """Yield the expression that breaks a bound, and what the bound requires."""
    if isinstance(item, annotated_types.Ge):
        yield f"int(self) < {item.ge}", f"must be {item.ge} or more"
    elif isinstance(item, annotated_types.Gt):
        yield f"int(self) <= {item.gt}", f"must be greater than {item.gt}"
    elif isinstance(item, annotated_types.Le):
        yield f"int(self) > {item.le}", f"must be {item.le} or less"


_QUEUE: Final = ("async_exec_max_inflight_requests", "aync_exec_max_inflight_requests")
_LOGS: Final = ("exp_manager.exp_log_dir", "exp_manager.explicit_log_dir")
_SWITCHES: Final = (
    ("model.fusions.do_layer_norm_weight_decay", "model.do_layer_norm_weight_decay"),
    ("data.packing", "model_alignment_strategy.sft.packing"),
    *((f"fusions.{name}", f"model.fusions.{name}") for name in fields(FusionsConfig)),
)


def alias_rules() -> Iterator[Rule]:
    """Yield one rule for each pair of keys."""
    first, second = map(raw, _QUEUE)
    are_numbers = f"[{first}, {second}].all(x, type(x) == int)"
    yield Rule(1305, _QUEUE[0], f"{_both(_QUEUE)} && {are_numbers} && int({first}) != int({second})")
    are_known = " && ".join(f"!{is_interpolated(key)}" for key in _LOGS)
    yield Rule(1305, _LOGS[0], f"{_both(_LOGS)} && {value_of(_LOGS[0])} != {value_of(_LOGS[1])} && {are_known}")
    for pair in _SWITCHES:
        yield Rule(1305, pair[0], f"{_both(pair)} && {flag(pair[0])} != {flag(pair[1])}")


def _both(pair: tuple[str, str]) -> str:
    return " && ".join(map(is_set, pair))
