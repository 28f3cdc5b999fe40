"""Every reason of the closed list is reached by a pass over something that can be seen, and says what to do.

A new reason needs one function in `reason_cases` or `reason_cases_of_failures`, marked with `@reaches(Reason.X)`, that
gives the status which tells it.
"""

import re
from typing import Final

import pytest

from neuron_api.reference import reasons
from neuron_api.resource.reasons import Reason
from neuron_api.resource.status import JobStatus

from . import reason_cases_of_failures  # noqa: F401
from .reason_cases import CASES

ADVICE: Final = ("add", "apply", "ask", "check", "create", "delete", "give", "install", "look", "lower", "fix", "raise",
                 "read", "restore", "see", "set", "start", "wait")  # fmt: skip
"""Verbs that tell a reader to do something."""


def told(status: JobStatus) -> set[Reason]:
    """Every reason that a reader of the status finds."""
    return {c.reason for c in status.conditions} | {
        *(entry.cause for entry in status.restarts), *(one.reason for one in status.excluded_nodes)
    }  # fmt: skip


def saved(status: JobStatus) -> JobStatus:
    """After a trip to the API server."""
    return JobStatus.model_validate_json(status.model_dump_json(by_alias=True, exclude_none=True))


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_is_reached(reason: Reason) -> None:
    assert CASES.get(reason), f"mark a case with @reaches(Reason.{reason.name})"
    for case in CASES[reason]:
        assert reason in told(saved(case())), case.__name__


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_says_what_it_means_and_what_to_do(reason: Reason) -> None:
    first, _, rest = reasons.meaning(reason).partition(". ")
    assert first, "a meaning"
    advice = re.search(rf"\b(nothing to do|{'|'.join(ADVICE)})\b", rest, re.IGNORECASE)
    assert advice, f"{reason}: a second sentence that says what to do, be it `Nothing to do.`; it says {rest!r}"
    assert reason.value.isidentifier(), "what metav1.Condition takes"
