"""What a call can raise.

ClientError
├── FindingsError      the configuration or the job would be refused; `findings` has every reason
├── RequestError       the call itself cannot be carried out: a file that cannot be read, an argument without meaning
├── JobNotFoundError   there is no job of that name
├── JobExistsError     there is one already
├── JobFailedError     `wait`: the job has ended in another way than the one that was waited for
├── WaitTimeoutError   `wait`: the time is over; also a TimeoutError
└── BackendError       the cluster does not allow it, or this machine fails: a full disk
    └── UnreachableError   the cluster gives no answer; it may be back in a moment
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from neuron_api.findings.finding import Finding, errors_of, for_display

if TYPE_CHECKING:
    from .job import Job


class ClientError(Exception):
    """Base of everything that this package raises on purpose."""


class FindingsError(ClientError):
    """A configuration that would be refused: all errors at once, each with file, key, line and remedy."""

    def __init__(self, findings: Iterable[Finding], file: str = "") -> None:
        self.findings = for_display(errors_of(findings))
        """Every error, in order."""
        self.file = file
        """Where the configuration is; empty for an object."""
        count = len(self.findings)
        head = f"{file or 'the configuration'} has {count} error{'' if count == 1 else 's'}:"
        super().__init__("\n".join((head, *(f"  {finding}" for finding in self.findings))))


class RequestError(ClientError):
    """A call that cannot be carried out as it is."""


class JobNotFoundError(ClientError):
    """No job of that name; the message names those that might be meant."""


class JobExistsError(ClientError):
    """A job of that name exists already."""


class JobFailedError(ClientError):
    """The job is over, and not as expected."""

    def __init__(self, job: "Job") -> None:
        self.job = job
        """As it was read last."""
        why = f": {job.message}" if job.message else ""
        super().__init__(f"{job.name} is {job.phase}{why}")


class WaitTimeoutError(ClientError, TimeoutError):
    """The job has not come so far in time."""

    def __init__(self, job: "Job", seconds: float) -> None:
        self.job = job
        """As it was read last."""
        super().__init__(f"{job.name} is still {job.phase} after {seconds:g} s: {job.message or 'no message'}")


class BackendError(ClientError):
    """What runs the jobs does not answer, or does not allow the call."""


class UnreachableError(BackendError):
    """What runs the jobs gives no answer, or none of use; it may be back in a moment. `wait`, and `logs` and `metrics`
    with `follow`, try again once they have had an answer."""
