"""YAML text to a plain mapping, with the line of every key.

Floats need no dot and no sign (`1e5`), there are no dates and no base-60 numbers (R1), and a duplicate key is an error
with both lines (R2). The input is untrusted: its size, depth and number of nodes are bounded (`limits`) before anything
is built.
"""

import codecs
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import yaml

from neuron_api.findings.finding import MAX_FINDINGS_PER_CODE, Finding
from neuron_api.findings.registry import make_finding

from . import yaml_errors
from .limits import MAX_BYTES, MAX_DEPTH, MAX_NODES, MAX_SCALAR, ExceededError, ReadingBudget

_COLLECTIONS: Final = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
_MERGE: Final = "tag:yaml.org,2002:merge"
_WORDS: Final = (_MERGE, "tag:yaml.org,2002:value")
"""Tags that YAML 1.1 gives to `<<` and `=`; as values they are ordinary words."""

_SCALARS: Final = tuple(f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null"))

_FLOAT = re.compile(
    r"""^(?:[-+]?(?:[0-9][0-9_]*)\.[0-9_]*(?:[eE][-+]?[0-9]+)?
    |[-+]?[0-9](?:_?[0-9])*[eE][-+]?[0-9]+
    |[-+]?\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?
    |[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$""",
    re.VERBOSE,
)
_INT = re.compile(r"^[-+]?(?:0b[0-1_]+|0x[0-9a-fA-F_]+|0[0-7_]*|[1-9][0-9_]*)$")

_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's parser if PyYAML was built with it: ten times as fast."""


class _Loader(_Base):  # type: ignore[misc]  # its base is chosen above
    """SafeLoader with the scalar rules of R1."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if not tag.endswith((":timestamp", ":float", ":int"))]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", _INT, list("-+0123456789"))


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed text."""

    value: dict[str, Any]
    lines: dict[str, int]
    """Key path (`a.b`, `a.0.b`) to line, from 1."""
    findings: tuple[Finding, ...]
    number_texts: dict[str, str] = field(default_factory=dict)
    """Key path to text of the numbers that Python would write differently: `0123`, `2.10`, `1e3`."""


class _Dumper(yaml.SafeDumper):
    """Quotes every string that `_Loader` or another YAML 1.1 reader would read as something else."""

    def ignore_aliases(self, _data: Any) -> bool:
        """Write values out: aliases are hard to read and count against the bounds."""
        return True


_Dumper.yaml_implicit_resolvers = {k: list(v) for k, v in yaml.SafeDumper.yaml_implicit_resolvers.items()}
_Dumper.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))


def dump(value: Mapping[str, Any] | list[Any]) -> str:
    """Return a mapping or list as text that `parse` reads back with the same types."""
    plain = value if isinstance(value, list) else dict(value)
    return yaml.dump(plain, Dumper=_Dumper, sort_keys=False, width=4096, allow_unicode=True)


class EncodingError(ValueError):
    """The bytes are not text; the message names the line."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


def decode(content: bytes) -> str:
    """Return the text of a file without its byte order mark: UTF-8, or UTF-16 with a mark, as in YAML 1.1.

    Raises `EncodingError`.
    """
    encoding = "utf-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as problem:
        line = 1 + problem.object[: problem.start].decode(encoding, "ignore").count("\n")
        byte, name = problem.object[problem.start], encoding.removesuffix("-sig").upper()
        raise EncodingError(
            f"line {line} is not {name} text (byte 0x{byte:02x}): save the file as UTF-8", line
        ) from None


def undecodable(problem: EncodingError) -> Document:
    """Return what `parse` returns for bytes that are not text."""
    return _not_a_configuration(f"{problem}.", problem.line)


def parse(text: str) -> Document:
    """Parse one YAML document; faults are findings, never exceptions."""
    if len(text) > MAX_BYTES or len(text.encode(errors="replace")) > MAX_BYTES:
        return _too_large(f"the text has more than {MAX_BYTES} bytes.")
    try:
        if refused := _check_bounds(text):
            return refused
        node = _Loader(text).get_single_node()
    except (yaml.YAMLError, UnicodeError) as problem:
        return _invalid_yaml(problem, text)
    if node is None:
        return _not_a_configuration("the text is empty.")
    if not isinstance(node, yaml.MappingNode):
        return _not_a_configuration("the text is not a mapping of keys.")
    return _Builder(text).build(node)


class _Builder:
    """Walks the node graph once and collects values, lines and duplicates."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.lines: dict[str, int] = {}
        self.number_texts: dict[str, str] = {}
        self.findings: list[Finding] = []
        self.budget = ReadingBudget()
        self.scalars = _Loader("")

    def build(self, root: yaml.MappingNode) -> Document:
        try:
            value = self._value(root, "")
        except _RefusedError as problem:
            return problem.document
        except ExceededError as problem:
            return _too_large(str(problem))
        except RecursionError:
            return _not_a_configuration("an alias contains itself.")
        except (yaml.YAMLError, ValueError) as problem:
            return _invalid_yaml(problem, self.text)
        return Document(value, self.lines, tuple(self.findings), self.number_texts)

    def _value(self, node: yaml.Node, path: str) -> Any:
        self.budget.spend(node.value, path)
        if isinstance(node, yaml.CollectionNode):
            if node.tag not in _COLLECTIONS:
                raise _RefusedError(_forbidden_tag(node))
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, path)
            return [self._value(item, f"{path}.{index}") for index, item in enumerate(node.value)]
        return self._scalar(node, path)

    def _scalar(self, node: yaml.Node, path: str) -> Any:
        if node.tag in _WORDS:
            return str(node.value)
        if node.tag not in _SCALARS:
            raise _RefusedError(_forbidden_tag(node))
        try:
            value = self.scalars.construct_object(node)
        except (yaml.constructor.ConstructorError, KeyError):  # `!!bool maybe`
            raise _RefusedError(_forbidden_tag(node)) from None
        except ValueError:  # int() refuses more than 4300 digits
            value = None
        is_number = isinstance(value, int | float) or node.tag.endswith((":int", ":float"))
        if is_number and (value is None or not abs(value) < 2**63):
            line = node.start_mark.line + 1
            self.findings.append(
                replace(make_finding(1005, path, f"{node.value[:40]} is not a usable number."), line=line)
            )
            return None
        if is_number and not isinstance(value, bool) and str(value) != node.value:
            self.number_texts[path] = node.value
        return value

    def _mapping(self, node: yaml.MappingNode, path: str) -> dict[str, Any]:
        result: dict[str, Any] = {}
        merged: list[yaml.Node] = []
        for key_node, value_node in node.value:
            if key_node.tag == _MERGE:
                merged += value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key is not a word", key_node.start_mark)
            if key_node.tag not in (*_SCALARS, *_WORDS):
                raise _RefusedError(_forbidden_tag(key_node))
            key, line = str(key_node.value), key_node.start_mark.line + 1
            key_path = f"{path}.{key}" if path else key
            if key in result:
                self.findings.append(self._duplicate(path, key_path, line))
                continue
            self.lines[key_path] = line
            result[key] = self._value(value_node, key_path)
        for source in merged:
            if not isinstance(source, yaml.MappingNode):
                raise yaml.constructor.ConstructorError(None, None, "<< merges mappings only", source.start_mark)
            result = {**self._value(source, path), **result}
        return result

    def _duplicate(self, path: str, key_path: str, line: int) -> Finding:
        """Return the finding of a duplicate key; often the lines below an empty key are not indented."""
        first = self.lines[key_path]
        keys_between = [
            key.removeprefix(f"{path}." if path else "")
            for key, key_line in (self.lines.items() if len(self.findings) < MAX_FINDINGS_PER_CODE else ())
            if first < key_line < line and key.rpartition(".")[0] == path
        ]
        hint = f"; did you mean to indent the lines under {keys_between[-1]}?" if keys_between else "."
        finding = make_finding(
            1004,
            key_path,
            f"the key is given twice, in lines {first} and {line}{hint}",
        )
        return replace(finding, line=line)


class _RefusedError(Exception):
    """The whole document is refused; `document` holds the finding."""

    def __init__(self, document: Document) -> None:
        super().__init__()
        self.document = document


def _check_bounds(text: str) -> Document | None:
    """Check depth, number and size of nodes from the events, before anything is built."""
    depth = nodes = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.NodeEvent):
            nodes += 1
            depth += isinstance(event, yaml.CollectionStartEvent)
        if depth > MAX_DEPTH:
            return _too_large(f"mappings are nested more than {MAX_DEPTH} deep.")
        if nodes > MAX_NODES:
            return _too_large(f"the text has more than {MAX_NODES} values.")
        if isinstance(event, yaml.ScalarEvent) and len(event.value) > MAX_SCALAR:
            line = event.start_mark.line + 1 if event.start_mark else None
            return _too_large(f"a value of {len(event.value)} characters; at most {MAX_SCALAR} are read.", line)
    return None


def _forbidden_tag(node: yaml.Node) -> Document:
    line = node.start_mark.line + 1
    finding = make_finding(1003, "", f"not a configuration: the tag {node.tag} is not allowed.")
    return Document({}, {}, (replace(finding, line=line),))


def _too_large(message: str, line: int | None = None) -> Document:
    return Document({}, {}, (replace(make_finding(1002, "", f"not a configuration: {message}"), line=line),))


def _not_a_configuration(message: str, line: int | None = None, remedy: str | None = None) -> Document:
    return Document({}, {}, (replace(make_finding(1001, "", f"not a configuration: {message}", remedy), line=line),))


def _invalid_yaml(problem: Exception, text: str) -> Document:
    reason = yaml_errors.explain(problem, text)
    return _not_a_configuration(reason.message, reason.line, reason.remedy)
