"""What reading a configuration may cost: it comes from strangers, so each bound is asked before anything is built."""

from dataclasses import dataclass
from typing import Any, Final

MAX_BYTES: Final = 1_000_000
"""What a ConfigMap can hold; the largest real configuration has 8 kB. Of the values together, too: a text that aliases
repeat counts each time."""

MAX_DEPTH: Final = 64
MAX_NODES: Final = 10_000
"""The largest real configuration (configs/) has 210 nodes; aliases count each time they are used."""

MAX_SCALAR: Final = 65_536
"""Characters of one value; the longest that is of use is a list of compiler flags."""

MAX_PATH: Final = 1_000
"""Characters of a key with all keys above it; the longest of the document has 68."""

MAX_UNKNOWN: Final = 500
"""Keys that the document does not have; a file with more is another kind of file."""


MAX_TEXT: Final = 1_000
"""Characters of one interpolated text; real ones have up to 121."""

MAX_NESTED: Final = 10
"""Braces and brackets that may be open at once in one interpolated text; real ones: 2."""

MAX_CHAIN: Final = 10
"""Interpolations that may wait for one another; real ones: 1. Each takes about 35 of the interpreter's 1,000 frames."""

MAX_LETTERS: Final = 20_000
"""Characters of all interpolated texts of a document; real ones have up to 600. Parsing one takes about 15 us."""

MAX_STEPS: Final = 2_000
"""Interpolations that one document may take; real ones take up to 5."""

MAX_RESULT: Final = 10_000
"""Characters, or values, that one interpolation may give."""


class ExceededError(Exception):
    """A bound is exceeded; the text says which."""


@dataclass(slots=True)
class ReadingBudget:
    """What one configuration has used up."""

    nodes: int = 0
    characters: int = 0

    def spend(self, value: Any, path: str) -> None:
        """Count one more value; raises `ExceededError`."""
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise ExceededError(f"it expands to more than {MAX_NODES} values.")
        if len(path) > MAX_PATH:
            raise ExceededError(f"a key has, with the keys above it, more than {MAX_PATH} characters.")
        if not isinstance(value, str):
            return
        if len(value) > MAX_SCALAR:
            raise ExceededError(f"a value of {len(value)} characters; at most {MAX_SCALAR} are read.")
        self.characters += len(value)
        if self.characters > MAX_BYTES:
            raise ExceededError(f"its values expand to more than {MAX_BYTES} characters.")


@dataclass(slots=True)
class ResolverLimits:
    """What the interpolations of one configuration have taken; each method raises `ExceededError`."""

    steps: int = 0
    letters: int = 0

    def step(self, count: int = 1) -> None:
        """One more value is looked up or computed."""
        self.steps += count
        if self.steps > MAX_STEPS:
            raise ExceededError(f"the document takes more than {MAX_STEPS} interpolations.")

    def parse(self, text: str, waiting: int) -> None:
        """One more text is parsed, while `waiting` others wait for it."""
        if len(text) > MAX_TEXT or waiting > MAX_CHAIN or _nested(text) > MAX_NESTED:
            raise ExceededError("the interpolation is longer or deeper than any configuration needs.")
        self.letters += len(text)
        if self.letters > MAX_LETTERS:
            raise ExceededError(f"the document has more than {MAX_LETTERS} letters of interpolations.")

    def result(self, value: Any) -> None:
        """A text has this value."""
        if size(value) > MAX_RESULT:
            raise ExceededError("the interpolation gives a value larger than any key needs.")


def size(value: Any) -> int:
    """Characters of a text; values of a mapping or list."""
    if isinstance(value, dict):
        return 1 + sum(map(size, value.values()))
    if isinstance(value, list):
        return 1 + sum(map(size, value))
    return len(value) if isinstance(value, str) else 1


def _nested(text: str) -> int:
    """Most braces and brackets that are open at once."""
    depth = most = 0
    for letter in text:
        depth += (letter in "{[") - (letter in "}]")
        most = max(most, depth)
    return most
