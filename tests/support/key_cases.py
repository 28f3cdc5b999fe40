"""The tables of cases in tests/unit/api/keys: for each key a legal value, an illegal one, and what is said of it.

A row: `key: [legal, illegal, code, words, more]`. `more` may have: `base`, a file of tests/data/configs in place of the
table's; `with`, keys that both values need, `legal_with` and `illegal_with`; `only`, the default is the only legal
value; `lands`, the key that a legal value is read from, and `as`, its typed form; `at`, the key of the finding.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

TABLES: Final = Path(__file__).parents[1] / "unit" / "api" / "keys"
CONFIGS: Final = Path(__file__).parents[1] / "data" / "configs"


@dataclass(frozen=True)
class Case:
    """One row."""

    key: str
    legal: Any
    illegal: Any
    code: str
    words: str
    base: str
    more: dict[str, Any]

    @property
    def at(self) -> str:
        """Key of the finding."""
        return str(self.more.get("at", self.key))

    @property
    def lands(self) -> str:
        """Key that the legal value is read from."""
        return str(self.more.get("lands", self.key))

    @property
    def typed(self) -> Any:
        """The legal value as it is in the typed configuration."""
        return self.more.get("as", self.legal)

    def text(self, kind: str) -> str:
        """The base with what the key needs, and with its value; `kind`: before, legal or illegal."""
        values = self.more.get("with", {}) | self.more.get("illegal_with" if kind == "illegal" else "legal_with", {})
        own = {} if kind == "before" else {self.key: self.illegal if kind == "illegal" else self.legal}
        return text_with(self.base, values, own)


def cases() -> list[Case]:
    """Every row of every table."""
    return [case for table in sorted(TABLES.glob("*.yaml")) for case in _read(table)]


def text_with(base: str, *values: Mapping[str, Any]) -> str:
    """A file of tests/data/configs as a text, with some keys set in order."""
    tree = copy.deepcopy(_parsed(base))
    for one in values:
        for key, value in one.items():
            put(tree, key, value)
    return yaml.safe_dump(tree, sort_keys=False)


def put(tree: dict[str, Any], path: str, value: Any) -> None:
    """Set one key; a mapping is merged into the one that is there."""
    *parents, name = path.split(".")
    for parent in parents:
        if not isinstance(tree.get(parent), dict):
            tree[parent] = {}
        tree = tree[parent]
    if isinstance(value, dict) and isinstance(tree.get(name), dict):
        for key, item in value.items():
            put(tree[name], key, item)
    else:
        tree[name] = copy.deepcopy(value)


def get(tree: Any, path: str) -> Any:
    """The value at a key path; None where there is none."""
    for part in path.split("."):
        tree = tree.get(part) if isinstance(tree, dict) else None
    return tree


def line_of(text: str, path: str) -> int:
    """Line of a key, or of the nearest one above it that is there; by PyYAML's own marks."""
    node, line = yaml.compose(text), 0
    for part in path.split("."):
        found = [(key, value) for key, value in getattr(node, "value", []) if key.value == part] if isinstance(
            node, yaml.MappingNode) else []  # fmt: skip
        if not found:
            break
        line, node = found[0][0].start_mark.line + 1, found[0][1]
    return line


@cache
def _parsed(name: str) -> dict[str, Any]:
    tree: dict[str, Any] = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
    return tree


def _read(table: Path) -> list[Case]:
    content = yaml.safe_load(table.read_text())
    prefix = f"{content['section']}." if content["section"] else ""
    found = []
    for key, (legal, illegal, code, words, *rest) in content["keys"].items():
        more = rest[0] if rest else {}
        base = more.get("base", content["base"])
        found.append(Case(f"{prefix}{key}", legal, illegal, f"NTJ-{code}", words, base, more))
    return found
