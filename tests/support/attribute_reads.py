"""Which keys of the configuration code reads: attribute accesses in source files, by the section that they are on.

No type checker: a name or an attribute is a section where it is annotated as one, where it is assigned from one, or
where the attribute has a section's name (`config.exp_manager`, `self._config.trainer`). A string that equals a key
counts where the file also calls `getattr` (`getattr(data, key)`, `getattr(wanted, key, None)`).
"""

import ast
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from pydantic import BaseModel

from neuron_api import config
from neuron_api.config import TrainingConfig
from neuron_api.schema.key_path import all_paths, section_of

Section = type[BaseModel]
_CLASSES: Final[Mapping[str, Section]] = {name: getattr(config, name) for name in config.__all__}
_ROOTS: Final = frozenset(("config", "_config", "cfg"))
"""Attributes that hold the whole configuration."""


def reads(files: Iterable[Path]) -> dict[tuple[str, str], set[Path]]:
    """The files that read each field; fields are pairs of a section's class and the name in Python."""
    found: dict[tuple[str, str], set[Path]] = {}
    for file in files:
        for pair in _Reader().of_module(ast.parse(file.read_text())):
            found.setdefault(pair, set()).add(file)
    return found


def field_names() -> dict[str, tuple[str, str]]:
    """The pair that stands for each key path."""
    return {
        path: (parent.__name__, name)
        for parent, prefix in ((TrainingConfig, ""), *_sections())
        for name, info in parent.model_fields.items()
        for path in [f"{prefix}{info.alias or name}"]
    }


def _sections() -> Iterator[tuple[Section, str]]:
    for path, info in all_paths():
        if (section := section_of(info)) is not None:
            yield section, f"{path}."


class _Reader:
    """One file; names are those of the function around them, attributes of `self` those of the file."""

    def __init__(self) -> None:
        self._attributes: dict[str, Section] = {}
        self._names: dict[str, Section] = {}
        self._unions: dict[str, set[Section]] = {}
        """Arguments that are one of several sections."""
        self._found: set[tuple[str, str]] = set()

    def of_module(self, tree: ast.Module) -> set[tuple[str, str]]:
        for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.Lambda)):
            self._names, self._unions = {}, {}
            self._bind(function)
            for node in ast.walk(function):
                self._read(node)
        self._names, self._unions = {}, {}
        for node in ast.walk(tree):
            self._read(node)
        if any(isinstance(node, ast.Name) and node.id in ("getattr", "attrgetter") for node in ast.walk(tree)):
            self._texts(tree)
        return self._found

    def _bind(self, function: ast.FunctionDef | ast.Lambda) -> None:
        for argument in (*function.args.args, *function.args.kwonlyargs, *function.args.posonlyargs):
            words = set(ast.unparse(argument.annotation).replace("|", " ").split()) if argument.annotation else set()
            for name in words & _CLASSES.keys():
                self._names[argument.arg] = _CLASSES[name]
                self._unions.setdefault(argument.arg, set()).add(_CLASSES[name])
        for _ in range(2):  # a name may be assigned from one that is assigned further down in the walk
            for node in ast.walk(function):
                match node:
                    case ast.Assign(targets=[target], value=value):
                        self._assign(target, value)
                    case ast.NamedExpr(target=target, value=value):
                        self._assign(target, value)

    def _assign(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            for one, other in zip(target.elts, value.elts, strict=False):
                self._assign(one, other)
        elif (section := self._section(value)) is not None:
            match target:
                case ast.Name(id=name):
                    self._names[name] = section
                case ast.Attribute(attr=name):
                    self._attributes[name] = section

    def _section(self, node: ast.expr) -> Section | None:
        match node:
            case ast.Name(id=name):
                return self._names.get(name)
            case ast.Attribute(value=value, attr=name):
                base = self._section(value)
                info = base.model_fields.get(name) if base else None
                if info is not None:
                    return section_of(info)
                return TrainingConfig if name in _ROOTS else self._attributes.get(name)
            case ast.BoolOp(values=[first, *_]) | ast.IfExp(body=first):
                return self._section(first)
            case _:
                return None

    def _read(self, node: ast.AST) -> None:
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            base = self._section(node.value)
            union = self._unions.get(node.value.id, set()) if isinstance(node.value, ast.Name) else set()
            for section in {base, *union} - {None}:
                if section is not None and node.attr in section.model_fields:
                    self._found.add((section.__name__, node.attr))

    def _texts(self, tree: ast.Module) -> None:
        words = {
            word
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) < 200
            for word in node.value.split()
        }
        self._found |= {
            (section.__name__, name) for section in _CLASSES.values() for name in section.model_fields if name in words
        }
