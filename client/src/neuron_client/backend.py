"""What runs jobs, as the client sees it: `cluster` and `local` both have these methods."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from .config_input import ConfigInput
from .job import Job, JobList
from .metrics import MetricsRow
from .plan import Plan

Storage = str | Mapping[str, str]
"""A claim that is mounted at /training, or where each claim is mounted by its name."""


@dataclass(frozen=True, slots=True)
class JobRequest:
    """What `train` and `plan` are called with beside the configuration."""

    name: str | None = None
    nodes: int | None = None
    instance_type: str | None = None
    accelerator: str | None = None
    storage: Storage | None = None
    image: str | None = None
    overrides: Sequence[str] = ()
    """As on the command line: key=value, +key=value, ~key."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a job."""

    time: datetime
    reason: str
    """One word, `PodsCreated`."""
    message: str
    is_warning: bool = False
    subject: str = ""
    """What it is about where that is not the job itself: `pod tiny-0-1`."""
    count: int = 1


class Backend(Protocol):
    """A place where jobs run."""

    def in_namespace(self, namespace: str) -> "Backend":
        """Return where a job of this namespace is found."""

    def plan(self, config: ConfigInput, request: JobRequest) -> Plan:
        """Return what the job would be."""

    def train(self, config: ConfigInput, request: JobRequest) -> Job:
        """Start a job; raise `FindingsError` where it would be refused."""

    def get(self, name: str) -> Job:
        """Read a job."""

    def list(self) -> JobList:
        """Read all jobs."""

    def logs(self, name: str, *, node: int, follow: bool, tail: int | None) -> Iterator[str]:
        """Yield the lines of a node's log."""

    def metrics(self, name: str, *, follow: bool) -> Iterator[MetricsRow]:
        """Yield the logged steps."""

    def events(self, name: str) -> Sequence[Event]:
        """Return what has happened, oldest first."""

    def suspend(self, name: str) -> None:
        """Ask the job to save and stop."""

    def resume(self, name: str) -> None:
        """Let the job go on from its newest checkpoint."""

    def delete(self, name: str) -> None:
        """Remove the job."""

    def close(self) -> None:
        """Give back what is open; jobs go on."""
