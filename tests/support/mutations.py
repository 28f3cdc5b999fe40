"""Single mistakes in a text: each key in turn is dropped, given another value, misspelled by one letter, repeated.

Edits are made in the text, at the positions that PyYAML's composer gives, so that lines, comments and order stay.
Everything is deterministic: the same text gives the same mistakes, another text others. `make test` makes them at every
third key of a text, at other keys in another text (most keys stand in many of the nineteen); `make test-mutations` at
all.
"""

import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Final

import yaml

RETYPES: Final = ("[7, seven]", "{seven: 7}", "seven", "-7", "true", "null", "123456789012345678", "0.37")
"""A list, a mapping, a word, a negative number, a boolean, null, a huge number, a fraction."""

STRIDE: Final = int(os.environ.get("MUTATIONS_STRIDE", "3"))
"""Every how many keys there is a mistake; 1: at each."""

_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz_"


@dataclass(frozen=True, slots=True)
class Place:
    """One key of a text."""

    path: str
    line: int
    """From 1."""
    key: tuple[int, int]
    """Offsets of its name; of nothing for an item of a list."""
    value: tuple[int, int]
    """Offsets of its value."""
    column: int
    siblings: frozenset[str]
    """Other names of the same mapping."""
    is_item: bool = False
    """An item of a list."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """One text with one mistake."""

    place: Place
    text: str
    what: str
    """The new value, the new name, or empty."""


@cache
def places(text: str) -> tuple[Place, ...]:
    """Keys of a text, also below lists, and items of a list; every `STRIDE`th."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode)
    return tuple(_below(root, ""))[zlib.crc32(text.encode()) % STRIDE :: STRIDE]


def dropped(text: str) -> Iterator[Mistake]:
    """Without the key and what is below it."""
    for place in places(text):
        if not place.is_item:
            yield Mistake(place, text[: place.key[0]] + text[place.value[1] :], "")


def retyped(text: str, value: str) -> Iterator[Mistake]:
    """With another value, written in YAML."""
    for place in places(text):
        head = text[: place.value[0]] if place.is_item else f"{text[: place.key[1]]}: "
        yield Mistake(place, head + value + text[place.value[1] :], value)


def renamed(text: str) -> Iterator[Mistake]:
    """With one letter more, one less, two swapped, one replaced."""
    seed = zlib.crc32(text.encode())
    for place in places(text):
        if place.is_item:
            continue
        start, end = place.key
        for name in dict.fromkeys(misspelled(text[start:end], f"{seed} {place.path}")):
            if name not in place.siblings:
                yield Mistake(place, text[:start] + name + text[end:], name)


def misspelled(name: str, seed: str) -> Iterator[str]:
    """One of each kind of typing error."""
    random = Random(zlib.crc32(seed.encode()))
    at, letter = random.randrange(len(name)), random.choice([one for one in _LETTERS if one not in name])
    yield name[:at] + letter + name[at:]
    yield name[:at] + letter + name[at + 1 :]
    if len(name) > 1:
        yield name[:at] + name[at + 1 :]
    swaps = [i for i in range(len(name) - 1) if name[i] != name[i + 1]]
    if swaps:
        at = random.choice(swaps)
        yield name[:at] + name[at + 1] + name[at] + name[at + 2 :]


def repeated(text: str) -> Iterator[Mistake]:
    """With the key once more, right below; `what` is the line of the second."""
    for place in places(text):
        if place.is_item:
            continue
        start, end = place.key[0], place.value[1]
        again = f"\n{' ' * place.column}{text[start:end]}"
        yield Mistake(place, text[:end] + again + text[end:], str(text.count("\n", 0, end) + 2))


def _below(node: yaml.Node, path: str) -> Iterator[Place]:
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _of(item, item, f"{path}.{index}", frozenset(), is_item=True)
    elif isinstance(node, yaml.MappingNode):
        names = frozenset(key.value for key, _ in node.value)
        for key, value in node.value:
            yield from _of(key, value, f"{path}.{key.value}".lstrip("."), names, is_item=False)


def _of(key: yaml.Node, value: yaml.Node, path: str, names: frozenset[str], *, is_item: bool) -> Iterator[Place]:
    name = (value.start_mark.index,) * 2 if is_item else (key.start_mark.index, key.end_mark.index)
    yield Place(
        path=path,
        line=key.start_mark.line + 1,
        key=(name[0], name[1]),
        value=(value.start_mark.index, _end(value)),
        column=key.start_mark.column,
        siblings=names,
        is_item=is_item,
    )
    yield from _below(value, path)


def _end(node: yaml.Node) -> int:
    """Where the text of a node ends: a block ends for PyYAML where the next key begins, comments included."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(node, yaml.MappingNode) else last)
    return int(node.end_mark.index)
