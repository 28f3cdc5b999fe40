"""What a dashboard shows, whoever has it: the API server with a user's rights, or the log directories of a machine."""

import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from neuron_api.resource.overview import Curves, JobDetail, JobSummary


class SourceError(Exception):
    """A sentence for the person who looks: what could not be read or done, and why."""

    def __init__(self, message: str, status: int = 502) -> None:
        """`status`: of HTTP; 404 where there is no such job, 403 where a right is missing."""
        super().__init__(message)
        self.status = status


Snapshot = Callable[[Sequence[JobSummary]], None]
"""Called with all jobs there are."""


class Source(Protocol):
    """Read by several threads at once. A key is `namespace/name`, or the name of a run without Kubernetes."""

    @property
    def title(self) -> str:
        """Return where this looks: context and namespace, or folders."""

    @property
    def can_change(self) -> bool:
        """Return whether jobs can be suspended and resumed here."""

    def watch(self, show: Snapshot, stopped: threading.Event) -> None:
        """Call `show` with all jobs, again after each change, until `stopped` is set; raises `SourceError`."""

    def interrupt(self) -> None:
        """Make `watch` notice at once that it is stopped."""

    def job(self, key: str) -> JobDetail:
        """Return everything about a job; raises `SourceError`."""

    def curves(self, key: str) -> Curves:
        """Return its curves, empty ones with a reason where there are none; raises `SourceError`."""

    def log(self, key: str) -> str:
        """Return the log around its first failure, or a sentence why there is none; raises `SourceError`."""

    def set_suspend(self, key: str, *, suspend: bool) -> str:
        """Suspend or resume a job; return what will happen. Raises `SourceError`."""


def key_of(job: JobSummary) -> str:
    """Return the key of a job."""
    return f"{job.namespace}/{job.name}" if job.namespace else job.name
