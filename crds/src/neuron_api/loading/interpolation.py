"""Interpolations: `${a.b}` from the root, `${.x}` and `${..x}` relative, nested, `${multiply:x, y}` (R4, B-1).

OmegaConf's grammar parses a text; the traversal is ours, so that each value is computed once, cycles are reported, and
the cost of an untrusted document is bounded. `eval` is not offered (it would run code from a custom resource), and
`oc.env` resolves in the pod only: elsewhere a text that needs it stays as written.
"""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final

from neuron_api.findings.finding import Finding
from neuron_api.findings.registry import make_finding
from neuron_api.schema.key_path import field_of, section_of

from .foreign_formats import LAUNCHER_ROOTS
from .limits import ExceededError, ResolverBudget, size
from .resolvers import RESOLVERS, ResolverError

MAX_CACHED_CHARS: Final = 200
"""Maximum characters of a text whose parse tree is cached: parsing `${a.b}` takes 0.2 ms, and most files share them."""

_MAX_SHOWN: Final = 150
"""Maximum characters of a text in a message."""


def resolve(values: dict[str, Any], *, in_pod: bool = False) -> tuple[dict[str, Any], tuple[Finding, ...]]:
    """Return the tree without interpolations, and findings about keys that could not be resolved and are left out."""
    if not _has_interpolation(values):
        return values, ()
    resolver = _Resolver(values, in_pod)
    return resolver.tree(), tuple(resolver.findings)


def escape(text: str) -> str:
    """Return the value that is resolved to this text, also where it has `${` in it."""
    return re.sub(r"(\\*)\$\{", lambda match: f"{match[1] * 2}\\${{", text)


def reads_environment(value: Any) -> bool:
    """Return whether a text needs an environment variable of the pod."""
    return isinstance(value, str) and "${oc.env" in value.replace(" ", "")


def _has_interpolation(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_has_interpolation, value.values()))
    if isinstance(value, list):
        return any(map(_has_interpolation, value))
    return isinstance(value, str) and "${" in value


class _UnresolvedError(Exception):
    """A value cannot be computed; `finding` says why."""

    def __init__(self, finding: Finding) -> None:
        super().__init__()
        self.finding = finding


class _Absent:
    """The placeholder of a value that could not be computed."""


_ABSENT: Final = _Absent()
Path = tuple[str, ...]


class _Resolver:
    """Resolves one document."""

    def __init__(self, values: dict[str, Any], in_pod: bool) -> None:
        self.root, self.in_pod = values, in_pod
        self.findings: list[Finding] = []
        self.resolved: dict[Path, Any] = {}
        self.active: list[Path] = []
        self.failed: set[str] = set()
        self.budget = ResolverBudget()

    def tree(self) -> dict[str, Any]:
        """Return the whole document, resolved."""
        result: dict[str, Any] = self._walk(self.root, ())
        return result

    def _walk(self, value: Any, path: Path) -> Any:
        if isinstance(value, dict):
            items = {key: self._walk(item, (*path, key)) for key, item in value.items()}
            return {key: item for key, item in items.items() if item is not _ABSENT}
        if isinstance(value, list):
            walked = [self._walk(item, (*path, str(index))) for index, item in enumerate(value)]
            return [item for item in walked if item is not _ABSENT]
        try:
            return self._leaf(value, path)
        except _UnresolvedError as problem:
            self.resolved[path] = _ABSENT
            self._report(problem.finding)
            missing_key = problem.finding.key
            self._report(
                make_finding(1104, _dotted(path), f"it needs {missing_key}, which cannot be resolved: see there.", "")
            )
            return _ABSENT

    def _report(self, finding: Finding) -> None:
        """Add a finding unless its key already has one."""
        if finding.key not in self.failed:
            self.failed.add(finding.key)
            self.findings.append(finding)

    def _leaf(self, value: Any, path: Path) -> Any:
        if not isinstance(value, str) or "${" not in value:
            return value
        if path in self.resolved:
            if self.resolved[path] is _ABSENT:
                raise _UnresolvedError(make_finding(1104, _dotted(path), "it cannot be resolved, see there.", ""))
            return self.resolved[path]
        if not self.in_pod and reads_environment(value):
            self.findings.append(
                make_finding(1105, _dotted(path), "oc.env is resolved in the pod, where it is not checked.")
            )
            self.resolved[path] = value
            return value
        if path in self.active:
            loop = " -> ".join(_dotted(active) for active in (*self.active[self.active.index(path) :], path))
            raise _UnresolvedError(
                make_finding(1102, _dotted(path), f"the interpolation cannot be resolved: it is circular: {loop}.")
            )
        self._spend(path, lambda: self.budget.parse(value, len(self.active)))
        self.active.append(path)
        try:
            result = self._evaluate(value, path)
        finally:
            self.active.pop()
        self.resolved[path] = result
        return result

    def _evaluate(self, text: str, path: Path) -> Any:
        from omegaconf.errors import OmegaConfBaseException
        from omegaconf.grammar_visitor import GrammarVisitor

        visitor = GrammarVisitor(
            node_interpolation_callback=lambda key, _memo: self._reference(key.parts, key.relative_dots, key.raw, path),
            # OmegaConf passes args_str by this name.
            resolver_interpolation_callback=lambda name, args, args_str: self._call(name, args, path),  # noqa: ARG005
            memo=None,
        )
        try:
            result = visitor.visit(_parsed(text) if len(text) <= MAX_CACHED_CHARS else _parsed.__wrapped__(text))
        except RecursionError:
            raise _UnresolvedError(
                make_finding(1107, _dotted(path), "the interpolation is deeper than any configuration needs.")
            ) from None
        except (OmegaConfBaseException, TypeError, ValueError, AssertionError) as problem:
            sentence = str(problem).split("\n", maxsplit=1)[0].rstrip(".")
            raise _UnresolvedError(
                make_finding(
                    1104,
                    _dotted(path),
                    f"the interpolation {_shortened(text)} cannot be resolved: {sentence[:_MAX_SHOWN]}.",
                )
            ) from None
        self._spend(path, lambda: self.budget.result(result))
        return result

    @staticmethod
    def _spend(path: Path, count: Callable[[], None]) -> None:
        try:
            count()
        except ExceededError as problem:
            raise _UnresolvedError(make_finding(1107, _dotted(path), str(problem))) from None

    def _reference(self, parts: Sequence[str], dots: int, raw: str, path: Path) -> Any:
        self._spend(path, self.budget.step)
        target = (*path[: max(0, len(path) - dots)], *parts) if dots else tuple(parts)
        value = self._select(target)
        if value is None or value is _ABSENT:
            value = _default(target, value)
        if value is _ABSENT:
            absolute = f" (that is {_dotted(target)})" if dots else ""
            raise _UnresolvedError(
                make_finding(
                    1101,
                    _dotted(path),
                    f"the interpolation cannot be resolved: there is no key {raw}{absolute}.",
                    "Only the HyperPod launcher has it: write the value out."
                    if target[0] in LAUNCHER_ROOTS
                    else "Name a key that exists, from the top of the file: ${trainer.max_steps}.",
                )
            )
        if any(target == active[: len(target)] for active in self.active):
            loop = " -> ".join([*map(_dotted, self.active), _dotted(target)])
            raise _UnresolvedError(
                make_finding(1102, _dotted(path), f"the interpolation cannot be resolved: it is circular: {loop}.")
            )
        return self._walk_strictly(value, target)

    def _select(self, target: Path) -> Any:
        node: Any = self.root
        for position, part in enumerate(target):
            if isinstance(node, str) and "${" in node:  # a mapping that is itself an interpolation
                node = self._leaf(node, target[:position])
            if isinstance(node, dict) and part in node:
                node = node[part]
            elif isinstance(node, list) and part.isdigit() and int(part) < len(node):
                node = node[int(part)]
            else:
                return _ABSENT
        return node

    def _walk_strictly(self, value: Any, path: Path) -> Any:
        """Resolve as `_walk` does, but fail if any part cannot be resolved."""
        self._spend(path, self.budget.step)
        if isinstance(value, dict):
            return {key: self._walk_strictly(item, (*path, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [self._walk_strictly(item, (*path, str(index))) for index, item in enumerate(value)]
        return self._leaf(value, path)

    def _call(self, name: str, arguments: Sequence[Any], path: Path) -> Any:
        self._spend(path, self.budget.step)
        if name in ("oc.select", "oc.dict.keys", "oc.dict.values", "oc.deprecated"):
            return self._lookup(name, arguments, path)
        if name not in RESOLVERS:
            offered = ", ".join(sorted(RESOLVERS))
            raise _UnresolvedError(
                make_finding(
                    1103,
                    _dotted(path),
                    f"the interpolation cannot be resolved: there is no function {name!r}.",
                    f"There are: {offered}.",
                )
            )
        try:
            result = RESOLVERS[name](*arguments)
        except (ResolverError, TypeError) as problem:
            raise _UnresolvedError(
                make_finding(1104, _dotted(path), f"the interpolation cannot be resolved: {name}: {problem}.")
            ) from None
        if isinstance(result, dict | list):
            self._spend(path, lambda: self.budget.step(size(result)))  # aliases in decoded text multiply
        return result

    def _lookup(self, name: str, arguments: Sequence[Any], path: Path) -> Any:
        """Call a resolver that reads another key."""
        if not arguments:
            raise _UnresolvedError(make_finding(1104, _dotted(path), f"{name} needs the name of a key."))
        key, *rest = (str(arguments[0]), *arguments[1:])
        bare = key.lstrip(".")
        dots = len(key) - len(bare)
        try:
            value = self._reference(tuple(bare.split(".")), dots, key, path)
        except _UnresolvedError as problem:
            if name == "oc.select" and problem.finding.code == "NTJ-1101":
                return rest[0] if rest else None
            raise
        if name.startswith("oc.dict"):
            return (list(value) if name.endswith("keys") else list(value.values())) if isinstance(value, dict) else []
        return value


@lru_cache(maxsize=32)
def _parsed(text: str) -> Any:
    from omegaconf import grammar_parser

    return grammar_parser.parse(text)


def _dotted(path: Path) -> str:
    return ".".join(path)


def _default(target: Path, fallback: Any) -> Any:
    """Return the default of a documented key that is absent or null: defaults precede interpolations (B-1)."""
    info = field_of(_dotted(target))
    if info is None or info.is_required() or section_of(info) is not None:
        return fallback
    return info.get_default(call_default_factory=True)


def _shortened(text: str) -> str:
    return repr(text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…")
