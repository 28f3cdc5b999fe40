"""What a check says: one line, with a remedy unless all is well."""

from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """How a check ended."""

    OK = "ok"
    UNKNOWN = "unknown"
    """It could not be found out, or may do no harm; it does not fail the command."""
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class Result:
    """One line of the report."""

    check: str
    outcome: Outcome
    text: str
    """A clause that ends without a period."""
    remedy: str = ""
    """Sentences in the imperative; empty if all is well."""

    def __str__(self) -> str:
        """Return the line that a person reads."""
        return f"{self.outcome:<8} {self.check:<12} {self.text}.{f' {self.remedy}' if self.remedy else ''}"


def ok(check: str, text: str) -> Result:
    """Return that all is well."""
    return Result(check, Outcome.OK, text)


def unknown(check: str, text: str, remedy: str) -> Result:
    """Return that it could not be found out, or may do no harm."""
    return Result(check, Outcome.UNKNOWN, text, remedy)


def failed(check: str, text: str, remedy: str) -> Result:
    """Return that a training would fail, hang or be slow."""
    return Result(check, Outcome.FAILED, text, remedy)
