"""Bounds on the cost of reading a configuration, which is untrusted: each is checked before anything is built."""

from dataclasses import dataclass
from typing import Any, Final

MAX_BYTES: Final = 1_000_000
"""The capacity of a ConfigMap; the largest real configuration has 8 kB. Also a bound on all values together, where a
text counts each time that an alias repeats it."""

MAX_DEPTH: Final = 64
MAX_NODES: Final = 10_000
"""The largest real configuration (configs/) has 210 nodes; aliases count each time they are used."""

MAX_SCALAR: Final = 65_536
"""Characters of one value; the longest useful one is a list of compiler flags."""

MAX_PATH: Final = 1_000
"""Characters of a key with all keys above it; the longest of the document has 68."""

MAX_UNKNOWN: Final = 500
"""Undocumented keys; a file with more of them is something else."""

MAX_TEXT: Final = 1_000
"""Characters of one interpolated text; real ones have up to 121."""

MAX_TEXT_DEPTH: Final = 10
"""Depth of braces and brackets in one interpolated text; real ones have 2."""

MAX_CHAIN: Final = 10
"""Interpolations that depend on one another; real ones: 1. Each takes about 35 of the interpreter's 1,000 frames."""

MAX_INTERPOLATED_CHARS: Final = 20_000
"""Characters of all interpolated texts of a document; real ones have up to 600. Parsing one takes about 15 us."""

MAX_STEPS: Final = 2_000
"""Interpolations of one document; real ones have up to 5."""

MAX_RESULT: Final = 10_000
"""Characters, or values, in the result of one interpolation."""


class ExceededError(Exception):
    """A bound is exceeded; the message says which."""


@dataclass(slots=True)
class ReadingBudget:
    """Counts what reading one configuration has cost."""

    nodes: int = 0
    characters: int = 0

    def spend(self, value: Any, path: str) -> None:
        """Count one more value; raise `ExceededError` over the bounds."""
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
class ResolverBudget:
    """Counts what the interpolations of one configuration have cost; each method raises `ExceededError`."""

    steps: int = 0
    characters: int = 0

    def step(self, count: int = 1) -> None:
        """Count values that are looked up or computed."""
        self.steps += count
        if self.steps > MAX_STEPS:
            raise ExceededError(f"the document takes more than {MAX_STEPS} interpolations.")

    def parse(self, text: str, waiting: int) -> None:
        """Count one more text that is parsed while `waiting` others depend on it."""
        if len(text) > MAX_TEXT or waiting > MAX_CHAIN or _depth(text) > MAX_TEXT_DEPTH:
            raise ExceededError("the interpolation is longer or deeper than any configuration needs.")
        self.characters += len(text)
        if self.characters > MAX_INTERPOLATED_CHARS:
            raise ExceededError(f"the document has more than {MAX_INTERPOLATED_CHARS} letters of interpolations.")

    def result(self, value: Any) -> None:
        """Check the size of a computed value."""
        if size(value) > MAX_RESULT:
            raise ExceededError("the interpolation gives a value larger than any key needs.")


def size(value: Any) -> int:
    """Return the characters of a text, or the number of values in a mapping or list."""
    if isinstance(value, dict):
        return 1 + sum(map(size, value.values()))
    if isinstance(value, list):
        return 1 + sum(map(size, value))
    return len(value) if isinstance(value, str) else 1


def _depth(text: str) -> int:
    """Return the maximum depth of braces and brackets."""
    depth = deepest = 0
    for character in text:
        depth += (character in "{[") - (character in "}]")
        deepest = max(deepest, depth)
    return deepest
