"""A job that fails at the same step again and again: to start it again is a waste.

Three failures of its own within one logging interval of a step (`trainer.log_every_n_steps`), no matter whether
processes or pods were restarted after them. None of these counts: a disruption, a failure that the table tells to be
the hardware's, and a signal that only somebody else can have sent (SIGKILL, SIGTERM, …), for which there are budgets.
"""

import re
from collections.abc import Iterator
from signal import SIGHUP, SIGINT, SIGKILL, SIGQUIT, SIGTERM
from typing import Final

from neuron_api.config import TrainingConfig
from neuron_api.resource.reasons import Reason
from neuron_api.resource.status import JobStatus, Restart, RestartScope
from neuron_operator.planning.failures.incident import incidents
from neuron_operator.planning.status.conditions import End

TIMES: Final = 3
_OWN: Final = (
    Reason.PROCESS_FAILED,
    Reason.PROCESS_KILLED,
    Reason.POD_FAILED,
    Reason.OUT_OF_MEMORY,
    Reason.COLLECTIVE_HANG,
)
_OUTSIDE: Final = (SIGHUP, SIGINT, SIGKILL, SIGQUIT, SIGTERM)
_BY_SIGNAL: Final = re.compile(r"ended by (SIG[A-Z]+)\.?$")


def detect_crash_loop(status: JobStatus, config: TrainingConfig) -> End | None:
    """The end that the ledger calls for; None: it does not."""
    interval = config.trainer.log_every_n_steps
    failures = list(_failures(status, interval))
    if len(failures) < TIMES:
        return None
    steps = [entry.step or 0 for entry in failures]
    reached = status.progress.step if status.progress else 0
    if reached > max(steps):
        return None  # It got past that.
    first = failures[0]  # The newest is first.
    where = f"step {min(steps)}" if min(steps) == max(steps) else f"steps {min(steps)} to {max(steps)}"
    return End(
        Reason.SAME_STEP_CRASH,
        f"{TIMES} failures after {where}, without a sign of a fault of the hardware: to start again does not help. "
        f"The last one: {_describe(first)} Fix the code or the data of the next step, then start a new job.",
    )


def _failures(status: JobStatus, interval: int) -> Iterator[Restart]:
    """Those that belong to the newest one, newest first, until the job had been elsewhere in between."""
    failures: list[Restart] = []
    for entry in reversed(status.restarts):
        steps = [failure.step or 0 for failure in failures] or [entry.step or 0]
        step = entry.step or 0
        if step > min(steps) + interval:
            return  # It was further already: not the same crash.
        if step < max(steps) - interval or not _is_own(entry) or (failures and _are_same_failure(entry, failures[-1])):
            continue
        failures.append(entry)
        yield entry


def _are_same_failure(entry: Restart, later: Restart) -> bool:
    """Return whether two lines tell of one failure: pods that fell together; a process, and then the launcher that gave
    up."""
    if later.restart_scope is RestartScope.PROCESS:
        return False
    if entry.restart_scope is not RestartScope.PROCESS:
        return len(incidents((entry, later))) == 1
    same = (entry.pod_uid, entry.round, entry.attempt) == (later.pod_uid, later.round, later.attempt)
    return same and later.cause is Reason.POD_FAILED


def _is_own(entry: Restart) -> bool:
    if entry.cause not in _OWN:
        return False
    code, named = entry.exit_code or 0, _BY_SIGNAL.search(entry.message)
    if entry.restart_scope is not RestartScope.PROCESS:
        # A launcher says which signal ended its process; a container's own code is 128 + signal.
        by_signal = entry.cause is not Reason.OUT_OF_MEMORY and code - 128 in _OUTSIDE
        return not by_signal and (named is None or named[1] not in [signal.name for signal in _OUTSIDE])
    return -code not in _OUTSIDE


def _describe(entry: Restart) -> str:
    who = f"rank {entry.rank} in pod {entry.pod}" if entry.rank is not None else f"pod {entry.pod}"
    where = f" on node {entry.node}" if entry.node else ""
    code = f" (exit code {entry.exit_code})" if entry.exit_code is not None else ""
    detail = f": {entry.message}" if entry.message else ""
    return f"{who}{where}{code}{detail.rstrip('.')}."
