"""The scope of a rule of the configuration: the deepest section that holds its key and every key that it reads.

The API server evaluates a rule only if its scope is present, and each step of a path costs it a copy of the schemas of
all neighbours (`Structural.Properties` in Kubernetes 1.34): a rule on the key itself is nearly free. So a rule must
never refuse the absence of its scope; `tests/unit/api/test_scoping.py` checks that with the loader.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import takewhile
from typing import Any, Final

from .rule import Rule

Schema = dict[str, Any]

_READ: Final = re.compile(r"\bself\)?((?:\.\??\w+\b(?!\())*)")
"""A path in an expression, without a call at its end."""
_DEFAULT: Final = r"""\.orValue\((?:[^()"']*|"[^"]*"|'[^']*')\)"""


def add(schema: Schema, rules: Iterable[Rule]) -> Schema:
    """Return the schema of the configuration with these rules, each at its scope."""
    for rule in rules:
        scope = scope_of(rule, schema)
        validation = rule.in_section(".".join(scope), within(scope, rule.refuse_if))
        _node(schema, scope).setdefault("x-kubernetes-validations", []).append(validation)
    return schema


def scope_of(rule: Rule, schema: Schema) -> Sequence[str]:
    """Return the keys from the configuration down to the rule's scope, which has a type, as CEL requires."""
    steps = zip(rule.key.split("."), *reads(rule.refuse_if), strict=False)
    scope = [keys[0] for keys in takewhile(lambda keys: len(set(keys)) == 1, steps)]
    while not _has_type(_node(schema, scope)):
        scope = scope[:-1]
    return scope


def reads(expression: str) -> Iterator[Sequence[str]]:
    """Yield the keys of every path in an expression."""
    for path in _READ.findall(expression):
        yield path.replace("?", "").split(".")[1:]


def within(scope: Sequence[str], expression: str) -> str:
    """Return an expression over the configuration as one over a section, which is present whenever it is evaluated."""
    if not scope:
        return expression
    prefix = r"\bself(\)?)" + "".join(rf"\.\??{key}\b" for key in scope)
    relative = re.sub(rf"{prefix}\.hasValue\(\)", "true", expression)
    relative = re.sub(rf"{prefix}{_DEFAULT}", r"self\1", relative)
    relative = re.sub(prefix, r"self\1", relative)
    return re.sub(r"(?<![!\w])true && ", "", relative)


def _node(schema: Schema, scope: Sequence[str]) -> Schema:
    for key in scope:
        schema = schema["properties"][key]
    return schema


def _has_type(node: Schema) -> bool:
    return "type" in node or "x-kubernetes-int-or-string" in node
