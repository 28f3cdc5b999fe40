"""CEL texts that read keys of the configuration: an absent key and null are the default, an interpolation is unknown.

Whole numbers are int-or-string in the CRD, so an expression first asks whether they are numbers (`whole`, `above`);
what is not is left to the operator, which sees the resolved value. Keys whose type the CRD leaves open (fractions, and
what is somebody else's) are not declared to CEL; through `dyn` they can be asked for and compared for equality, no more
(`unknownPreserved` in Kubernetes' pkg/cel/common, 1.29 to 1.34).

`root` is where the configuration is: `self` in its own rules, `self.config` in those of `spec`.
"""

from typing import Any, Final

from neuron_api.paths import field_of

CONFIG: Final = "self"
IN_SPEC: Final = "self.config"


def flag(key: str, root: str = CONFIG) -> str:
    """A boolean."""
    return _value(key, root, False)


def text(key: str, root: str = CONFIG) -> str:
    """A string; empty where there is none."""
    return _value(key, root, "")


def number(key: str, root: str = CONFIG) -> str:
    """A whole number, within `whole` of the same key only."""
    return f"int({_value(key, root, 0)})"


def raw(key: str, root: str = CONFIG, absent: int = 0) -> str:
    """The value of a whole-number key as it is written; `absent` where there is none and the key has no default."""
    return _value(key, root, absent)


def whole(*keys: str, root: str = CONFIG, absent: int = 0) -> str:
    """Whether all of these are whole numbers above 0, written or by default; `absent` stands for one without both."""
    return f"[{', '.join(raw(key, root, absent) for key in keys)}].all(x, type(x) == int && int(x) > 0)"


def above(key: str, bound: int | str, root: str = CONFIG) -> str:
    """Whether it is a whole number above the bound."""
    value = raw(key, root)
    return f"(type({value}) == int && int({value}) > {bound})"


def given(key: str, root: str = CONFIG) -> str:
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


def _value(key: str, root: str, fallback: bool | int | str) -> str:
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


def _path(key: str, root: str) -> tuple[str, bool]:
    """The path with `.?` from the first key on that may be absent, and whether there is one."""
    path, is_optional, parts = root, False, key.split(".")
    for count, part in enumerate(parts, start=1):
        info = field_of(".".join(parts[:count]))
        if info is None:
            raise KeyError(f"the configuration has no key {key}")
        is_optional = is_optional or not info.is_required()
        path += f".?{part}" if is_optional else f".{part}"
    return path, is_optional
