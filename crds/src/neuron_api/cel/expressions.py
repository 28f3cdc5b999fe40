"""CEL texts that read keys of the configuration: an absent key and null are the default, an interpolation is unknown.

Integers are int-or-string in the CRD, so an expression first checks that they are numbers (`numbers`, `is_above`);
other values are left to the operator, which sees them resolved. Keys that the CRD leaves untyped (fractions, and
arguments of other libraries) are not declared to CEL; through `dyn` their presence can be tested and they can be
compared for equality, no more (`unknownPreserved` in Kubernetes' pkg/cel/common, 1.29 to 1.34).

`root` is where the configuration is: `self` in its own rules, `self.config` in those of `spec`; or a section that has
been bound to a name. Every step of a path costs the API server a copy of the schemas of all neighbours, so a value that
is used twice is bound once, in a list of one: `[value].exists(name, …)`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from neuron_api.schema.key_path import field_of

CONFIG: Final = "self"
IN_SPEC: Final = "self.config"


@dataclass(frozen=True, slots=True)
class BoundSection:
    """A section of the configuration that is bound to a name."""

    name: str
    section: str


Root = str | BoundSection


def flag(key: str, root: Root = CONFIG) -> str:
    """Return the expression of a boolean."""
    return _value(key, root, False)


def text(key: str, root: Root = CONFIG) -> str:
    """Return the expression of a string; empty if it is absent."""
    return _value(key, root, "")


def raw(key: str, root: Root = CONFIG, absent: int = 0) -> str:
    """Return the expression of an integer key as written; `absent` if it is absent and has no default."""
    return _value(key, root, absent)


def in_section(bound: BoundSection, condition: str, root: Root = CONFIG) -> str:
    """Return an expression that binds a section and is true if the condition holds in it."""
    return f"[{_path(bound.section, root)[0]}].exists({bound.name}, {condition})"


def numbers(*keys: str, condition: Callable[..., str], root: Root = CONFIG, name: str = "n") -> str:
    """Return an expression that is true if all keys are integers above 0, written or by default, and the condition
    holds.

    `condition` is called with the expressions of the numbers; nested calls need another `name`.
    """
    return numbers_of([raw(key, root) for key in keys], condition, name)


def numbers_of(values: Sequence[str], condition: Callable[..., str], name: str = "n") -> str:
    """Return the expression of `numbers` for values that are expressions themselves."""
    are_whole = f"{name}.all(x, type(x) == int && int(x) > 0)"
    holds = condition(*(f"int({name}[{index}])" for index in range(len(values))))
    return f"[[{', '.join(values)}]].exists({name}, {are_whole} && {holds})"


def is_above(key: str, bound: int | str, root: Root = CONFIG) -> str:
    """Return an expression that is true if the key is an integer above the bound."""
    return f"[{raw(key, root)}].exists(x, type(x) == int && int(x) > {bound})"


def is_set(key: str, root: Root = CONFIG) -> str:
    """Return an expression that is true if the key is present and not null."""
    path, is_optional = _path(key, root)
    return f"{path}.hasValue()" if is_optional else "true"


def untyped(key: str) -> str:
    """Return the value of a key that is untyped in the CRD, as an optional; null is absent."""
    return f"dyn(self).?{key.replace('.', '.?')}"


def is_other(key: str, *allowed: str) -> str:
    """Return an expression that is true if a string is present and is neither one of these nor an interpolation."""
    listed = ", ".join(f"'{value}'" for value in allowed)
    return f"({is_set(key)} && !({value_of(key)} in [{listed}]) && !{is_interpolated(key)})"


def value_of(key: str, root: str = CONFIG) -> str:
    """Return the value of a key that is present: after `orValue` the API server no longer knows a string's bound."""
    return f"{root}.{key}"


def is_interpolated(key: str) -> str:
    """Return an expression that is true if a present string contains an interpolation."""
    return f"{value_of(key)}.contains('${{')"


def fraction(key: str) -> str:
    """Return an expression that is true if a quantity is a fraction, which is a string in the CRD: '0.5'."""
    value = value_of(key)
    return f"({is_set(key)} && type({value}) == string && {value}.matches(r'^\\d*[.]\\d+$'))"


def _value(key: str, root: Root, fallback: bool | int | str) -> str:
    path, is_optional = _path(key, root)
    if not is_optional:
        return path
    info = field_of(key)
    default = fallback if info is None or info.is_required() or info.default is None else info.default
    return f"{path}.orValue({_literal(default)})"


def _literal(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)


def _path(key: str, root: Root) -> tuple[str, bool]:
    """Return the path with `.?` from the first key on that may be absent, and whether any may be."""
    path, is_optional, parts = root if isinstance(root, str) else root.name, False, key.split(".")
    above_root = 0 if isinstance(root, str) else len(root.section.split("."))
    for count, part in enumerate(parts, start=1):
        info = field_of(".".join(parts[:count]))
        if info is None:
            raise KeyError(f"the configuration has no key {key}")
        is_optional = is_optional or not info.is_required()
        if count > above_root:
            path += f".?{part}" if is_optional else f".{part}"
    return path, is_optional
