"""CEL texts that read keys of the configuration: an absent key and null are the default, an interpolation is unknown.

Whole numbers are int-or-string in the CRD, so an expression first asks whether they are numbers (`numbers`, `above`);
what is not is left to the operator, which sees the resolved value. Keys whose type the CRD leaves open (fractions, and
what is somebody else's) are not declared to CEL; through `dyn` they can be asked for and compared for equality, no more
(`unknownPreserved` in Kubernetes' pkg/cel/common, 1.29 to 1.34).

`root` is where the configuration is: `self` in its own rules, `self.config` in those of `spec`; or a section that has
been bound to a name. Every step of a path costs the API server a copy of the schemas of all neighbours, so a value that
is asked twice is bound once, in a list of one: `[value].exists(name, …)`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from neuron_api.schema.key_path import field_of

CONFIG: Final = "self"
IN_SPEC: Final = "self.config"


@dataclass(frozen=True, slots=True)
class Bound:
    """A section of the configuration under a name."""

    name: str
    section: str


Root = str | Bound


def flag(key: str, root: Root = CONFIG) -> str:
    """A boolean."""
    return _value(key, root, False)


def text(key: str, root: Root = CONFIG) -> str:
    """A string; empty where there is none."""
    return _value(key, root, "")


def raw(key: str, root: Root = CONFIG, absent: int = 0) -> str:
    """The value of a whole-number key as it is written; `absent` where there is none and the key has no default."""
    return _value(key, root, absent)


def section(bound: Bound, that: str, root: Root = CONFIG) -> str:
    """Whether something holds, in which a section has a name."""
    return f"[{_path(bound.section, root)[0]}].exists({bound.name}, {that})"


def numbers(*keys: str, that: Callable[..., str], root: Root = CONFIG, name: str = "n") -> str:
    """Whether all of these are whole numbers above 0, written or by default, for which something holds; `that` is
    called with the numbers, and `name` must be another one for numbers within numbers."""
    return numbers_of([raw(key, root) for key in keys], that, name)


def numbers_of(values: Sequence[str], that: Callable[..., str], name: str = "n") -> str:
    """As `numbers`, of values."""
    are_whole = f"{name}.all(x, type(x) == int && int(x) > 0)"
    holds = that(*(f"int({name}[{index}])" for index in range(len(values))))
    return f"[[{', '.join(values)}]].exists({name}, {are_whole} && {holds})"


def above(key: str, bound: int | str, root: Root = CONFIG) -> str:
    """Whether it is a whole number above the bound."""
    return f"[{raw(key, root)}].exists(x, type(x) == int && int(x) > {bound})"


def given(key: str, root: Root = CONFIG) -> str:
    """Whether it is there and not null."""
    path, is_optional = _path(key, root)
    return f"{path}.hasValue()" if is_optional else "true"


def loose(key: str) -> str:
    """The value of a key whose type the CRD leaves open, as an optional; null is none."""
    return f"dyn(self).?{key.replace('.', '.?')}"


def is_other(key: str, *allowed: str) -> str:
    """Whether a string is there and none of these (nor, of course, an interpolation)."""
    value = plain(key)
    listed = ", ".join(f"'{one}'" for one in allowed)
    return f"({given(key)} && !({value} in [{listed}]) && !{is_interpolated(key)})"


def plain(key: str, root: str = CONFIG) -> str:
    """The value of a key that is there: after `orValue` the API server no longer knows how long a string can be."""
    return f"{root}.{key}"


def is_interpolated(key: str) -> str:
    """Whether a string that is there has an interpolation in it."""
    return f"{plain(key)}.contains('${{')"


def fraction(key: str) -> str:
    """Whether a quantity is a fraction, which is a string in the CRD: '0.5'."""
    value = plain(key)
    return f"({given(key)} && type({value}) == string && {value}.matches(r'^\\d*[.]\\d+$'))"


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
    """The path with `.?` from the first key on that may be absent, and whether there is one."""
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
