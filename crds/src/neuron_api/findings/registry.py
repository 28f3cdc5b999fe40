"""Every code of a finding about a configuration: severity, title, cause, remedy, and the keys it is about.

Ranges: 10xx reading, 11xx interpolation, 12xx overrides, 13xx key names, 14xx single values; then one range per
section: 20xx top level, 21xx trainer, 22xx exp_manager, 23xx distributed_strategy, 24xx data, 25xx model, 26xx
model.optim, 27xx model.moe, 28xx precision, 29xx model_alignment_strategy; 30xx platform, 40xx support in this
release. A code never changes its meaning; one that is no longer used is removed, and its number stays free.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from .codes import TABLE
from .finding import Finding, Severity, error, note, warning


@dataclass(frozen=True, slots=True)
class CodeEntry:
    """One code."""

    code: str
    severity: Severity
    keys: tuple[str, ...]
    """Key paths that it is about; empty for any."""
    title: str
    cause: str
    remedy: str


ENTRIES: Final[Mapping[str, CodeEntry]] = MappingProxyType(
    {
        f"NTJ-{number}": CodeEntry(f"NTJ-{number}", severity, tuple(keys.split()), title, cause, remedy)
        for number, severity, keys, title, cause, remedy in TABLE
    }
)
"""Entries by code, in order."""

_MAKE: Final = {Severity.ERROR: error, Severity.WARNING: warning, Severity.NOTE: note}


def make_finding(number: int, key: str, message: str, remedy: str | None = None) -> Finding:
    """Return a finding with the code's severity, and its remedy unless the check has a better one."""
    entry = ENTRIES[f"NTJ-{number}"]
    return _MAKE[entry.severity](key, message, entry.remedy if remedy is None else remedy, entry.code)


def codes_for(key: str) -> tuple[str, ...]:
    """Return the codes that name this key."""
    return tuple(code for code, entry in ENTRIES.items() if key in entry.keys)
