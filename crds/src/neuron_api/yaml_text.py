"""YAML text to a plain mapping, with the line of every key.

Rules of config-keys.md: R1 (floats without a dot or a sign, no dates), R2 (a duplicate key is an error with both
lines). The input comes from strangers: its size, depth and number of nodes are bounded before anything is built.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import yaml

from .findings import Finding, Severity

MAX_BYTES: Final = 1_000_000
MAX_DEPTH: Final = 64
MAX_NODES: Final = 50_000
"""The largest real configuration (configs/) has 130 nodes; aliases count each time they are used."""

_COLLECTIONS: Final = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")

_FLOAT = re.compile(
    r"""^(?:[-+]?(?:[0-9][0-9_]*)\.[0-9_]*(?:[eE][-+]?[0-9]+)?
    |[-+]?(?:[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)
    |[-+]?\.[0-9_]+(?:[eE][-+]?[0-9]+)?
    |[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$""",
    re.VERBOSE,
)


class _Loader(yaml.SafeLoader):
    """SafeLoader with the scalar rules of R1."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if not tag.endswith((":timestamp", ":float"))]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed text."""

    value: dict[str, Any]
    lines: dict[str, int]
    """Key path (`a.b`, `a.0.b`) to line, from 1."""
    findings: tuple[Finding, ...]


class _Dumper(yaml.SafeDumper):
    """Quotes every string that `_Loader` or another YAML 1.1 reader would take for something else."""

    def ignore_aliases(self, _data: Any) -> bool:
        """Write values out: aliases are hard to read and count against the bounds."""
        return True


_Dumper.yaml_implicit_resolvers = {k: list(v) for k, v in yaml.SafeDumper.yaml_implicit_resolvers.items()}
_Dumper.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))


def dump(value: Mapping[str, Any]) -> str:
    """The text of a mapping, such that `parse` gives it back, type for type."""
    return yaml.dump(dict(value), Dumper=_Dumper, sort_keys=False, width=4096, allow_unicode=True)


def parse(text: str) -> Document:
    """Parse one YAML document; faults are findings, never exceptions."""
    if len(text.encode()) > MAX_BYTES:
        return _refused(f"the text has {len(text.encode())} bytes; at most {MAX_BYTES} are read.")
    try:
        too_deep = _depth(text) > MAX_DEPTH
        node = None if too_deep else _Loader(text).get_single_node()
    except yaml.YAMLError as problem:
        return _refused(_sentence(problem), _line_of(problem))
    if too_deep:
        return _refused(f"mappings are nested more than {MAX_DEPTH} deep.")
    if node is None:
        return _refused("the text is empty.")
    if not isinstance(node, yaml.MappingNode):
        return _refused("the text is not a mapping of keys.")
    return _Builder().build(node)


class _Builder:
    """Walks the node graph once: values, lines, duplicates."""

    def __init__(self) -> None:
        self.lines: dict[str, int] = {}
        self.findings: list[Finding] = []
        self.nodes = 0
        self.scalars = _Loader("")

    def build(self, root: yaml.MappingNode) -> Document:
        try:
            value = self._value(root, "")
        except _TooLargeError:
            return _refused(f"the text expands to more than {MAX_NODES} values (aliases count each time).")
        except RecursionError:
            return _refused("an alias contains itself.")
        except (yaml.YAMLError, ValueError) as problem:
            return _refused(_sentence(problem), _line_of(problem))
        return Document(value, self.lines, tuple(self.findings))

    def _value(self, node: yaml.Node, path: str) -> Any:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise _TooLargeError
        if isinstance(node, yaml.CollectionNode) and node.tag not in _COLLECTIONS:
            raise ValueError(f"the tag {node.tag} in line {node.start_mark.line + 1} is not allowed")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self._value(item, f"{path}.{index}") for index, item in enumerate(node.value)]
        return self.scalars.construct_object(node)

    def _mapping(self, node: yaml.MappingNode, path: str) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value)
            where = f"{path}.{key}" if path else key
            line = key_node.start_mark.line + 1
            if key in result:
                first = self.lines[where]
                self.findings.append(
                    Finding(
                        Severity.ERROR,
                        where,
                        f"the key is given twice, in lines {first} and {line}.",
                        "Keep one of them; check the indentation of the second.",
                        line,
                    )
                )
                continue
            self.lines[where] = line
            result[key] = self._value(value_node, where)
        return result


class _TooLargeError(Exception):
    """More nodes than any configuration has."""


def _depth(text: str) -> int:
    depth = deepest = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            deepest = max(deepest, depth)
            if deepest > MAX_DEPTH:
                break
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
    return deepest


def _refused(message: str, line: int | None = None) -> Document:
    return Document({}, {}, (Finding(Severity.ERROR, "", f"not a configuration: {message}", line=line),))


def _sentence(problem: Exception) -> str:
    if isinstance(problem, yaml.MarkedYAMLError):
        return f"{problem.problem or problem} (line {_line_of(problem)})."
    return f"{problem}."


def _line_of(problem: Exception) -> int | None:
    mark = getattr(problem, "problem_mark", None)
    return mark.line + 1 if mark else None
