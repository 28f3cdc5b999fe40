"""Findings: one typed sentence per fault of a configuration.

Each has a stable code; `registry` has its severity, title, cause and remedy, and docs/reference/findings.md lists them.
Untrusted text is made printable here, too.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

MAX_FINDINGS_PER_CODE: Final = 50
"""Findings of one code that are listed one by one; the largest real file has 2."""

_MAX_CHARACTERS: Final = 1_000
"""Maximum length of one message; our longest has 500."""


class Severity(StrEnum):
    """How much it matters."""

    ERROR = "error"
    """Stops the job before anything is started."""
    WARNING = "warning"
    """Appears in a condition's message."""
    NOTE = "note"
    """Information; shown by `kubectl neuron plan` and in the trainer's log."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault of the input."""

    severity: Severity
    key: str
    """Path of the key, `trainer.devices`; empty for the document as a whole."""
    message: str
    """What was expected, and what the value is."""
    remedy: str = ""
    """How to fix it."""
    line: int | None = None
    """Line in the text, from 1, if there is a text."""
    code: str = ""
    """`NTJ-1302`; empty if the finding is not about a configuration (missing files, pod templates)."""

    def __str__(self) -> str:
        line = f" (line {self.line})" if self.line else ""
        head = f"{self.key}{line}: " if self.key else f"line {self.line}: " if self.line else ""
        tail = f" {self.remedy}" if self.remedy else ""
        code = f" [{self.code}]" if self.code else ""
        return f"{head}{self.message}{tail}{code}"


def error(key: str, message: str, remedy: str = "", code: str = "") -> Finding:
    """Return a finding that stops the job."""
    return Finding(Severity.ERROR, key, message, remedy, code=code)


def warning(key: str, message: str, remedy: str = "", code: str = "") -> Finding:
    """Return a finding that does not stop the job."""
    return Finding(Severity.WARNING, key, message, remedy, code=code)


def note(key: str, message: str, remedy: str = "", code: str = "") -> Finding:
    """Return a finding that is only information."""
    return Finding(Severity.NOTE, key, message, remedy, code=code)


def errors_of(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return only the findings that stop the job, in order."""
    return tuple(f for f in findings if f.severity is Severity.ERROR)


def for_display(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return findings for people: printable (a key may hold terminal commands), and at most so many of each code."""
    every = tuple(findings)
    total, listed = Counter(finding.code for finding in every), Counter[str]()
    result: list[Finding] = []
    for finding in every:
        listed[finding.code] += 1
        count, more = listed[finding.code], total[finding.code] - MAX_FINDINGS_PER_CODE
        if count > MAX_FINDINGS_PER_CODE:
            continue
        message = printable(finding.message)[:_MAX_CHARACTERS]
        if count == MAX_FINDINGS_PER_CODE and more > 0:
            message = f"{message} And {more} more of {finding.code} in this configuration."
        result.append(replace(finding, key=printable(finding.key), message=message, remedy=printable(finding.remedy)))
    return tuple(result)


def printable(text: str) -> str:
    """Return the text with every control character escaped: `\\x1b` (a terminal would obey it), `\\n`, `\\u202e`."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


def clip(text: str, length: int) -> str:
    """Return the first `length` characters, printable; the cost is bounded by the length, too."""
    return printable(text[:length])[:length]


def printable_lines(text: str) -> str:
    """Return printable text with its line breaks."""
    return "\n".join(printable(line) for line in text.split("\n"))


def clip_lines(text: str, length: int) -> str:
    """Return clipped text with its line breaks."""
    return printable_lines(text[:length])[:length]
