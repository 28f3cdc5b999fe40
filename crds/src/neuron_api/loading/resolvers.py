"""Functions that an interpolation may call: `${multiply:2, 3}`. Arithmetic, the environment (in the pod), decoding."""

import os
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final


class ResolverError(Exception):
    """A function cannot work with its arguments; the message says why."""


def _numbers(arguments: tuple[Any, ...]) -> tuple[int | float, ...]:
    if not arguments:
        raise ResolverError("it needs numbers")
    for argument in arguments:
        if isinstance(argument, bool) or not isinstance(argument, int | float):
            raise ResolverError(f"{str(argument)[:40]!r} is not a number")
    return arguments


def _bounded(value: int | float) -> int | float:
    if not abs(value) < 2**63:
        raise ResolverError("the result is no usable number")
    return value


def _multiply(*factors: Any) -> int | float:
    result: int | float = 1
    for factor in _numbers(factors):
        result = _bounded(result * factor)
    return result


def _add(*terms: Any) -> int | float:
    return _bounded(sum(_numbers(terms)))


def _divide(*arguments: Any) -> int | float:
    """Divide exactly: integers that divide evenly give an integer."""
    if len(arguments) != 2:
        raise ResolverError("it needs two numbers")
    total, part = _numbers(arguments)
    if part == 0:
        raise ResolverError("division by 0")
    if isinstance(total, int) and isinstance(part, int) and total % part == 0:
        return total // part
    return _bounded(total / part)


def _environment(name: Any, *default: Any) -> Any:
    if (value := os.environ.get(str(name))) is not None:
        return value
    if default:
        return default[0]
    raise ResolverError(f"the environment has no variable {name}, and no default is given")


def _decode(text: Any) -> Any:
    """Return the YAML value of a text: `'5'` is 5."""
    from .yaml_text import parse

    if not isinstance(text, str):
        return text
    parsed = parse(f"v: {text}")
    if parsed.findings:
        raise ResolverError(f"{text[:40]!r} is not one value in YAML")
    return parsed.value.get("v")


RESOLVERS: Final[Mapping[str, Callable[..., Any]]] = MappingProxyType(
    {"multiply": _multiply, "add": _add, "divide": _divide, "oc.env": _environment, "oc.decode": _decode}
)
