"""Errors of the YAML parser as sentences with a remedy and a line."""

from dataclasses import dataclass
from typing import Final

import yaml

_PROBLEMS: Final = (
    # part of libyaml's or PyYAML's problem, what it means, remedy, whether it is reported where the construct begins
    ("more than 1 document", "another document begins here", "Keep one document: a configuration is one.", False),
    ("found another document", "another document begins here", "Keep one document: a configuration is one.", False),
    ("found undefined alias", "an alias (*name) has no anchor (&name) above it", "Quote the value: '*name'.", False),
    ("unexpected end of stream", "a quotation mark is never closed", "Close it.", True),
    (
        "unknown escape character",
        "a backslash in double quotes begins an escape that YAML does not have",
        "Use single quotes.",
        False,
    ),
    (
        "mapping values are not allowed",
        "a second ': ' in one value, or an indent that fits no key above it",
        "Quote the value, or align the key with its siblings.",
        False,
    ),
    (
        "could not find expected ':'",
        "the key above has no ': '",
        "Write `key: value`, with a space after the colon.",
        False,
    ),
    ("did not find expected ',' or ']'", "a list in brackets is never closed", "Close it with ].", True),
    ("did not find expected ',' or '}'", "a mapping in braces is never closed", "Close it with }.", True),
    ("did not find expected key", "the indent fits no key above it", "Align the key with its siblings.", False),
    ("did not find expected '-' indicator", "the indent fits no list item above it", "Align the items.", False),
    (
        "block sequence entries are not allowed",
        "a list item ('- ') stands where none can be",
        "Put the items on lines of their own, below the key.",
        False,
    ),
    ("control characters are not allowed", "a control character, which YAML forbids", "Delete it.", False),
)
_START: Final = ("cannot start any token", "found a character that cannot start")
_TAB: Final = ("a tab, which YAML forbids in indentation", "Use spaces.")
_REMEDY: Final = "Fix the line; compare it with an example."


@dataclass(frozen=True, slots=True)
class YamlProblem:
    """One fault of a text."""

    message: str
    remedy: str
    line: int | None
    """From 1; None if the parser names none."""


def explain(problem: Exception, text: str) -> YamlProblem:
    """Return the parser's exception in plain words, or in the parser's own if the table has none."""
    if not isinstance(problem, yaml.MarkedYAMLError):
        line, character = _unreadable_character(problem, text)
        return YamlProblem(character or _first_line(problem), _REMEDY, line)
    message, line = str(problem.problem or problem), _line(problem.problem_mark)
    if any(start in message for start in _START):
        return YamlProblem(*_first_character(text, problem.problem_mark), line)
    for part, meaning, remedy, at_start in _PROBLEMS:
        if part in message:
            start = _line(problem.context_mark)
            return YamlProblem(f"{meaning}.", remedy, start if at_start and start else line)
    return YamlProblem(f"{message}.", _REMEDY, line)


def _first_character(text: str, mark: "yaml.Mark | None") -> tuple[str, str]:
    """Return message and remedy for a tab, or for a character that YAML reserves."""
    lines = text.splitlines()
    line = lines[mark.line] if mark and mark.line < len(lines) else ""
    if "\t" in line[: len(line) - len(line.lstrip())]:
        return f"{_TAB[0]}.", _TAB[1]
    character = line[mark.column : mark.column + 1] if mark else ""
    return f"a value cannot begin with {character or 'this character'}.", "Quote the value."


def _unreadable_character(problem: Exception, text: str) -> tuple[int | None, str]:
    """Return line and name of a character that cannot be read; libyaml gives only its position in bytes."""
    control = yaml.reader.Reader.NON_PRINTABLE.search(text)
    if control is None or not isinstance(problem, yaml.YAMLError | UnicodeError):
        return None, ""
    line = text.count("\n", 0, control.start()) + 1
    return line, f"the character U+{ord(control[0]):04X}, which YAML does not allow."


def _first_line(problem: Exception) -> str:
    return f"{str(problem).splitlines()[0] if str(problem) else 'it cannot be read'}."


def _line(mark: "yaml.Mark | None") -> int | None:
    return mark.line + 1 if mark else None
