"""What marks a case as one that reaches a reason (`test_reasons.py`), and shorthand for cases."""

from collections.abc import Callable
from typing import Final

from builders import JobBuilder, PodBuilder, at, make_report, observed
from neuron_api.job import NeuronTrainingJob
from neuron_api.progress import Progress
from neuron_api.reasons import Reason
from neuron_api.status import JobStatus
from neuron_operator.planning.observation import Observed, Sight

from .passes import JOB, PODS, known, one_pass, reparsed

Case = Callable[[], JobStatus]

CASES: Final[dict[Reason, list[Case]]] = {}
ADVICE: Final = ("add", "ask", "create", "delete", "give", "install", "look", "lower", "mend", "raise", "read",
                 "restore", "see", "set", "start", "wait")  # fmt: skip
"""Verbs that tell a reader to do something."""


CREATED: Final = "2026-11-24T12:00:00Z"
"""NOW, as the API server writes it."""

THERE: Final = Sight(served=True, queue=True)


def reaches(reason: Reason) -> Callable[[Case], Case]:
    """Mark a function whose status tells the reason, as a condition's or as a cause in the ledger."""

    def register(case: Case) -> Case:
        CASES.setdefault(reason, []).append(case)
        return case

    return register


def told(status: JobStatus) -> set[Reason]:
    """Every reason that a reader of the status finds."""
    return {c.reason for c in status.conditions} | {
        *(entry.cause for entry in status.restarts), *(one.reason for one in status.excluded_nodes)
    }  # fmt: skip


def saved(status: JobStatus) -> JobStatus:
    """After a trip to the API server."""
    return JobStatus.model_validate_json(status.model_dump_json(by_alias=True, exclude_none=True))


# ---- shorthand ---------------------------------------------------------------------------------------------------


def passed(seen: Observed, seconds: float = 0) -> JobStatus:
    return one_pass(seen, seconds)[1]


def alone(job: JobBuilder, *pods: PodBuilder, seconds: float = 0) -> JobStatus:
    return passed(observed(job.build(), pods), seconds)


def training(step: int, when: float = 0.0) -> Progress:
    return make_report(PODS[0].build(), JOB).step(step, at(when)).build()


def after(*pods: PodBuilder, job: NeuronTrainingJob = JOB, seconds: float = 1) -> JobStatus:
    """A gang was up; this is what is left of it."""
    return passed(observed(known(job, *PODS), pods), seconds)


def of(job: JobBuilder, status: JobStatus, *pods: PodBuilder, seconds: float = 0) -> JobStatus:
    return passed(observed(reparsed(job, status), pods), seconds)
