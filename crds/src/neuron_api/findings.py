"""What is wrong with a configuration: one typed sentence per fault, all of them at once."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """An error stops the job before anything is started; a warning becomes a condition's message."""

    ERROR = "error"
    WARNING = "warning"


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

    def __str__(self) -> str:
        where = f" (line {self.line})" if self.line else ""
        head = f"{self.key}{where}: " if self.key else ""
        tail = f" {self.remedy}" if self.remedy else ""
        return f"{head}{self.message}{tail}"


def error(key: str, message: str, remedy: str = "") -> Finding:
    """A finding that stops the job."""
    return Finding(Severity.ERROR, key, message, remedy)


def warning(key: str, message: str, remedy: str = "") -> Finding:
    """A finding that does not."""
    return Finding(Severity.WARNING, key, message, remedy)


def errors_of(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Only those that stop the job, in order."""
    return tuple(f for f in findings if f.severity is Severity.ERROR)
