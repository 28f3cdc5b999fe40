"""What is wrong with a configuration: one typed sentence per fault, all of them at once.

Each has a stable code; `registry` has its severity, title, cause and remedy, docs/reference/findings.md shows them.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from .printable import printable

MAX_OF_A_KIND: Final = 50
"""Findings of one code that are told one by one; the largest real file has 2."""

_MAX_CHARACTERS: Final = 1_000
"""Of one message; the longest of ours has 500."""


class Severity(StrEnum):
    """How much it matters."""

    ERROR = "error"
    """Stops the job before anything is started."""
    WARNING = "warning"
    """Becomes a condition's message."""
    NOTE = "note"
    """Worth knowing; shown by `kubectl neuron plan` and in the trainer's log."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault of the input."""

    severity: Severity
    key: str
    """Path of the key, `trainer.devices`; empty for the document as a whole."""
    message: str
    """What is there and what was expected."""
    remedy: str = ""
    """What to do about it."""
    line: int | None = None
    """Line in the text, from 1, where there is a text."""
    code: str = ""
    """`NTJ-1302`; empty for what is not about a configuration (files that are missing, pod templates)."""

    def __str__(self) -> str:
        where = f" (line {self.line})" if self.line else ""
        head = f"{self.key}{where}: " if self.key else f"line {self.line}: " if self.line else ""
        tail = f" {self.remedy}" if self.remedy else ""
        code = f" [{self.code}]" if self.code else ""
        return f"{head}{self.message}{tail}{code}"


def error(key: str, message: str, remedy: str = "", code: str = "") -> Finding:
    """A finding that stops the job."""
    return Finding(Severity.ERROR, key, message, remedy, code=code)


def warning(key: str, message: str, remedy: str = "", code: str = "") -> Finding:
    """A finding that does not."""
    return Finding(Severity.WARNING, key, message, remedy, code=code)


def note(key: str, message: str, remedy: str = "", code: str = "") -> Finding:
    """A finding that nothing follows from."""
    return Finding(Severity.NOTE, key, message, remedy, code=code)


def errors_of(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Only those that stop the job, in order."""
    return tuple(f for f in findings if f.severity is Severity.ERROR)


def presentable(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """As they may be shown: printable (a key may hold commands for a terminal), and no more than a person reads."""
    given = tuple(findings)
    total, told = Counter(finding.code for finding in given), Counter[str]()
    result: list[Finding] = []
    for finding in given:
        told[finding.code] += 1
        count, more = told[finding.code], total[finding.code] - MAX_OF_A_KIND
        if count > MAX_OF_A_KIND:
            continue
        message = printable(finding.message)[:_MAX_CHARACTERS]
        if count == MAX_OF_A_KIND and more > 0:
            message = f"{message} And {more} more of {finding.code} in this configuration."
        result.append(replace(finding, key=printable(finding.key), message=message, remedy=printable(finding.remedy)))
    return tuple(result)
