"""The jobs of a cluster for the dashboard: watched as a user may, read when somebody looks."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

from neuron_api.resource.overview import Curves, Fact, JobDetail, JobSummary
from neuron_dashboard.source import Snapshot, SourceError
from neuron_operator.cli.files import plan
from neuron_operator.cli.jobs import overview
from neuron_operator.cli.live import commands, failure_log
from neuron_operator.cli.live.connection import Access, Connection, Json, connect
from neuron_operator.cli.live.job_snapshot import look, parse_job
from neuron_operator.kube.errors import ClusterError, MayNotError, UnreachableError, UserInputError

from . import curves

_MAY_NOT, _NOT_FOUND, _AWAY = 403, 404, 502
_LOG_SECONDS = 60.0
_POLL = 5.0
"""Seconds between two listings: where the user may not watch, and where watches end at once."""


class ClusterSource:
    """See `neuron_dashboard.source.Source`."""

    def __init__(self, access: Access, context: str, namespace: str, *, everywhere: bool) -> None:
        self._access, self._everywhere, self._namespace = access, everywhere, namespace
        place = "all namespaces" if everywhere else f"namespace {namespace}"
        self.title = f"{place} of {context}"
        self.can_change = True
        self._lock = threading.Lock()
        self._shutdown: Callable[[], None] | None = None

    def watch(self, show: Snapshot, stopped: threading.Event) -> None:
        """See `Source`; a stream that the API server has ended is followed by a new listing, but not at once where it
        has ended sooner than any API server ends one: a proxy that cuts streams would get thousands a second."""
        with self._connected("") as connection:
            while not stopped.is_set():
                bodies, version = connection.list_jobs(everywhere=self._everywhere)
                jobs: dict[str, JobSummary] = {}
                for body in bodies:
                    _apply({"type": "ADDED", "object": body}, jobs)
                show(list(jobs.values()))
                begin = time.monotonic()
                with suppress(MayNotError):
                    self._follow(connection, version, jobs, show, stopped)
                stopped.wait(max(0.0, begin + _POLL - time.monotonic()))

    def _follow(
        self,
        connection: Connection,
        version: str,
        jobs: dict[str, JobSummary],
        show: Snapshot,
        stopped: threading.Event,
    ) -> None:
        def remember(shutdown: Callable[[], None]) -> None:
            with self._lock:
                self._shutdown = shutdown
            if stopped.is_set():  # Between the listing and the watch.
                self.interrupt()

        for change in connection.watch_jobs(version, remember, everywhere=self._everywhere):
            if stopped.is_set() or change.get("type") == "ERROR":
                return  # The version is forgotten, or nobody looks any more.
            if change.get("type") not in ("ADDED", "MODIFIED", "DELETED"):
                continue
            _apply(change, jobs)
            show(list(jobs.values()))

    def interrupt(self) -> None:
        """See `Source`."""
        with self._lock:
            shutdown, self._shutdown = self._shutdown, None
        if shutdown is not None:
            with suppress(Exception):
                shutdown()

    def job(self, key: str) -> JobDetail:
        """See `Source`."""
        with self._connected(key) as connection:
            snapshot = look(connection, _name(key))
            detail = overview.detail(snapshot, datetime.now(UTC))
            rows = plan.job_rows(snapshot.job.metadata.name, snapshot.job.spec)
            facts = tuple(Fact(label=label, value=value) for label, value in rows)
            return detail.model_copy(update={"facts": facts})

    def curves(self, key: str) -> Curves:
        """See `Source`."""
        with self._connected(key) as connection:
            return curves.read(connection, parse_job(connection.job(_name(key))))

    def log(self, key: str) -> str:
        """See `Source`."""
        with self._connected(key) as connection:
            name = _name(key)
            return failure_log.read(connection, name, number=None, seconds=_LOG_SECONDS).text(name)

    def set_suspend(self, key: str, *, suspend: bool) -> str:
        """See `Source`."""
        with self._connected(key) as connection:
            return commands.set_suspend(connection, _name(key), suspend=suspend)

    @contextmanager
    def _connected(self, key: str) -> Iterator[Connection]:
        """Connect to the namespace of a key; what goes wrong becomes a `SourceError`."""
        namespace = key.partition("/")[0] if "/" in key else self._namespace
        if not self._everywhere and namespace != self._namespace:
            raise SourceError(f"this dashboard shows namespace {self._namespace}", _NOT_FOUND)
        try:
            with connect(Access(self._access.kubeconfig, self._access.context, namespace)) as connection:
                yield connection
        except MayNotError as problem:
            raise SourceError(str(problem), _MAY_NOT) from None
        except UnreachableError as problem:
            raise SourceError(str(problem), _AWAY) from None
        except (ClusterError, UserInputError) as problem:
            raise SourceError(str(problem), _NOT_FOUND) from None


def _apply(change: Json, jobs: dict[str, JobSummary]) -> None:
    body = change["object"]
    uid = str(body["metadata"]["uid"])
    if change["type"] == "DELETED":
        jobs.pop(uid, None)
    else:
        with suppress(ClusterError):  # A job that this release cannot read stays as it was.
            jobs[uid] = overview.summary(parse_job(body))


def _name(key: str) -> str:
    return key.rpartition("/")[2]
