"""Which process failed first: one dies, the others lose their connection to it, often within milliseconds."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from signal import SIGTERM, Signals
from typing import Final

from neuron_api.progress import ProcessFailure, Progress
from neuron_api.reasons import Reason

_CONNECTION: Final = re.compile(
    r"connection (was )?(closed|reset|refused|aborted)|by peer|broken pipe|socket ?timeout|"
    r"distnetworkerror|diststoreerror|timed out|suspected hang in collectives",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Blame:
    """The first failing process of a round."""

    index: int
    failure: ProcessFailure

    @property
    def cause(self) -> Reason:
        """Killed by a signal, or ended by itself."""
        return Reason.PROCESS_KILLED if self.failure.exit_code < 0 else Reason.PROCESS_FAILED

    @property
    def message(self) -> str:
        """Its last line, or the name of the signal."""
        code = self.failure.exit_code
        if self.failure.message or code >= 0:
            return self.failure.message
        known = {signal.value: signal.name for signal in Signals}
        return known.get(-code, f"signal {-code}")


def lost_connection(message: str) -> bool:
    """Whether a last line tells of another process's death rather than of its own."""
    return bool(_CONNECTION.search(message))


def of_round(reports: Mapping[int, Progress], number: int) -> Blame | None:
    """The first failing process of a round over all pods that answered."""
    return _first(
        Blame(index, failure)
        for index, report in reports.items()
        for failure in report.failures
        if failure.round == number
    )


def _first(candidates: Iterable[Blame]) -> Blame | None:
    return min(candidates, key=_order, default=None)


def _order(candidate: Blame) -> tuple[bool, float, int]:
    failure = candidate.failure
    # The agent ends the other processes of its pod with SIGTERM: they are victims, too.
    victim = failure.exit_code == -SIGTERM or (failure.exit_code >= 0 and lost_connection(failure.message))
    return victim, failure.time.timestamp(), failure.rank
