"""Where a rule of the configuration stands: on the deepest part that holds its key and every key that it reads.

The API server evaluates a rule only where the part it stands on is there, and each step of a path costs it a copy of
the schemas of all neighbours (`Structural.Properties` in Kubernetes 1.34): a rule on the key itself is nearly free. So
a rule must never refuse the absence of the part it stands on; `tests/unit/api/test_place.py` asks the loader.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import takewhile
from typing import Any, Final

from .rule import Rule

Schema = dict[str, Any]

_READ: Final = re.compile(r"\bself\)?((?:\.\??\w+\b(?!\())*)")
"""A path in an expression, without what is called at its end."""
_DEFAULT: Final = r"""\.orValue\((?:[^()"']*|"[^"]*"|'[^']*')\)"""


def add(schema: Schema, rules: Iterable[Rule]) -> Schema:
    """The schema of the configuration with these rules, each in its place."""
    for rule in rules:
        place = place_of(rule, schema)
        wire = rule.at(".".join(place), within(place, rule.refused))
        _node(schema, place).setdefault("x-kubernetes-validations", []).append(wire)
    return schema


def place_of(rule: Rule, schema: Schema) -> Sequence[str]:
    """Keys from the configuration down to where the rule stands, which has a type: CEL does not know the others."""
    steps = zip(rule.key.split("."), *reads(rule.refused), strict=False)
    place = [keys[0] for keys in takewhile(lambda keys: len(set(keys)) == 1, steps)]
    while not _has_type(_node(schema, place)):
        place = place[:-1]
    return place


def reads(refused: str) -> Iterator[Sequence[str]]:
    """The keys of every path in an expression."""
    for path in _READ.findall(refused):
        yield path.replace("?", "").split(".")[1:]


def within(place: Sequence[str], refused: str) -> str:
    """An expression over the configuration as one over a part, which is there whenever it is evaluated."""
    if not place:
        return refused
    part = r"\bself(\)?)" + "".join(rf"\.\??{key}\b" for key in place)
    itself = re.sub(rf"{part}\.hasValue\(\)", "true", refused)
    itself = re.sub(rf"{part}{_DEFAULT}", r"self\1", itself)
    itself = re.sub(part, r"self\1", itself)
    return re.sub(r"(?<![!\w])true && ", "", itself)


def _node(schema: Schema, place: Sequence[str]) -> Schema:
    for key in place:
        schema = schema["properties"][key]
    return schema


def _has_type(node: Schema) -> bool:
    return "type" in node or "x-kubernetes-int-or-string" in node
