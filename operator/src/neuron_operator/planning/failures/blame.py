"""Which process failed first: one dies, the others lose their connection to it, often within milliseconds.

A fault of the hardware (the failure table says which) comes before what happened earlier elsewhere; who waited in a
collective, or lost a connection, comes last.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from signal import SIGTERM, Signals
from typing import Final

from neuron_api.resource.progress import ProcessFailure, Progress
from neuron_api.resource.reasons import Reason
from neuron_api.resource.status import Restart

from . import signals
from .failure_table import EMPTY, FailureTable
from .signals import Signal

_CONNECTION: Final = re.compile(
    r"connection (was )?(closed|reset|refused|aborted)|by peer|broken pipe|socket ?timeout|"
    r"distnetworkerror|diststoreerror|timed out|did not come within|suspected hang in collectives",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Blame:
    """The first failing process of a round."""

    index: int
    failure: ProcessFailure
    signal: Signal | None = None
    """What the failure table says about it."""

    @property
    def cause(self) -> Reason:
        """The cause by the failure table; else killed by a signal, or ended by itself."""
        if self.signal is not None:
            return self.signal.cause
        return Reason.PROCESS_KILLED if self.failure.exit_code < 0 else Reason.PROCESS_FAILED

    @property
    def message(self) -> str:
        """Its last line, or the name of the signal."""
        code = self.failure.exit_code
        if self.failure.message or code >= 0:
            return self.failure.message
        names = {signal.value: signal.name for signal in Signals}
        return names.get(-code, f"signal {-code}")


def lost_connection(message: str) -> bool:
    """Return whether a last line tells of another process's death rather than of its own."""
    return bool(_CONNECTION.search(message))


def by_round(reports: Mapping[int, Progress], table: FailureTable = EMPTY) -> dict[int, tuple[Blame, ...]]:
    """Failures by pod 0's rounds over all pods that answered, the first failing process of a round first.

    Every launcher counts its own rounds, and they enter a round together: one that came later is behind by as many
    rounds as it missed. What failed before pod 0 was there belongs to the rounds of an earlier pod 0.
    """
    host = reports[0]
    blames: dict[int, list[Blame]] = {}
    for index, report in reports.items():
        for failure in report.failures:
            if host.start_time is None or failure.time >= host.start_time:
                blames.setdefault(failure.round + host.round - report.round, []).append(
                    Blame(index, failure, signals.match_process(table, failure))
                )
    return {number: tuple(sorted(blames[number], key=_order)) for number in sorted(blames)}


def comes_before(candidate: Blame, entry: Restart) -> bool:
    """Return whether it is a likelier first failure than the one in the ledger."""
    return _order(candidate) < _rank_of(entry.cause, entry.exit_code or 0, entry.message, entry.time, entry.rank or 0)


def _order(candidate: Blame) -> tuple[bool, bool, float, int]:
    failure = candidate.failure
    return _rank_of(candidate.cause, failure.exit_code, failure.message, failure.time, failure.rank)


def _rank_of(
    cause: Reason | str, exit_code: int, message: str, time: datetime, rank: int
) -> tuple[bool, bool, float, int]:
    # The agent ends the other processes of its pod with SIGTERM: they are victims, too.
    waited = cause is Reason.COLLECTIVE_HANG or exit_code == -SIGTERM or (exit_code >= 0 and lost_connection(message))
    proven = cause is Reason.HARDWARE_FAULT
    return not proven, waited and not proven, time.timestamp(), rank
