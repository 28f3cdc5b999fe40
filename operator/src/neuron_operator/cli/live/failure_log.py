"""`kubectl neuron logs --first-failure`: what the first failing process wrote around its failure.

The ledger in the status tells which pod that was. While the pod is there its log is read; when it is gone, its last
words are: those of the ledger, and the termination messages of the pods of the job that are still there.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from neuron_api.findings.finding import printable_lines
from neuron_api.resource.job import NeuronTrainingJob
from neuron_api.resource.progress import from_final_report
from neuron_api.resource.status import Restart, RestartScope
from neuron_operator.kube.errors import UserInputError
from neuron_operator.planning.observation import pods
from neuron_operator.planning.observation.observation import Pod
from neuron_operator.planning.status.conditions import sentence

from .connection import Connection
from .job_snapshot import parse_job

BEFORE: Final = 60.0
AFTER: Final = 15.0
"""Seconds after a failure in which those that it made fail still speak, and a traceback reaches the log."""
MAX_LINES: Final = 500


@dataclass(frozen=True, slots=True)
class Failure:
    """Where to look, and what is known without looking."""

    headline: str
    pod: str
    uid: str
    time: datetime
    message: str


@dataclass(frozen=True, slots=True)
class FailureLog:
    """The failure, and what its process wrote; no failure: none is known."""

    failure: Failure | None = None
    title: str = ""
    """What the lines are: the log of a pod, or what is known without one."""
    lines: tuple[str, ...] = ()

    def text(self, job: str) -> str:
        """Return the text to print."""
        if self.failure is None:
            return f"{job}: no failure is known: the ledger has no restart, and no pod that exists has failed.\n"
        return "\n".join((self.failure.headline, self.title, *self.lines)) + "\n"

    @property
    def data(self) -> dict[str, Any]:
        """Return the same for programs."""
        if self.failure is None:
            return {"failure": None, "lines": []}
        failure = {
            "sentence": self.failure.headline,
            "pod": self.failure.pod,
            "time": self.failure.time.isoformat(),
            "message": self.failure.message,
        }
        return {"failure": failure, "title": self.title, "lines": list(self.lines)}


def read(connection: Connection, name: str, *, number: int | None, seconds: float) -> FailureLog:
    """Return the log around a failure; `number` counts the ledger's lines from 1, the newest without one."""
    job = parse_job(connection.job(name))
    own = [
        pod for body in connection.pods(name) if pods.owner_uid(body) == job.metadata.uid and (pod := pods.read(body))
    ]
    failure = find(job, own, number)
    if failure is None:
        return FailureLog()
    failed_pod = next((pod for pod in own if pod.uid == failure.uid), None)
    since = failure.time - timedelta(seconds=seconds)
    log = connection.log(failed_pod.name, since.strftime("%Y-%m-%dT%H:%M:%SZ")) if failed_pod else None
    lines = window(log, since, failure.time + timedelta(seconds=AFTER)) if log else []
    if lines:
        return FailureLog(failure, f"log of pod {failure.pod}:", tuple(lines))
    title, *details = without_log(failure, own, pod_exists=failed_pod is not None)
    return FailureLog(failure, title, tuple(details))


def find(job: NeuronTrainingJob, own: Iterable[Pod], number: int | None = None) -> Failure | None:
    """Return the failure by the ledger; without one, the first pod that failed (a refused configuration is not in
    it)."""
    entries = job.status.restarts
    if number is not None and not 1 <= number <= len(entries):
        raise UserInputError(f"{job.metadata.name} has restarts 1 to {len(entries)} in its ledger, not {number}")
    failed = sorted((pod for pod in own if pod.failed), key=lambda pod: (_ended(pod), pod.index))
    if number is None and failed and (not entries or _ended(failed[0]) > entries[-1].time):
        return _from_pod(failed[0])
    return _from_entry(entries[(number or len(entries)) - 1], failed) if entries else None


def window(log: str, since: datetime, until: datetime) -> list[str]:
    """Lines of that time; a line without a time of its own belongs to the one before it."""
    lines: list[str] = []
    inside = False
    for line in log.splitlines():
        moment = _moment(line.partition(" ")[0])
        inside = since <= moment <= until if moment else inside
        if inside:
            lines.append(line)
    return lines[-MAX_LINES:]


def without_log(failure: Failure, own: Iterable[Pod], *, pod_exists: bool) -> list[str]:
    """Return what is known without a log."""
    why = "has no log of that time any more" if pod_exists else "is gone, and its log with it"
    message = printable_lines(failure.message.strip()) or "it left no message."
    return [f"Pod {failure.pod} {why}. Its last words:", f"  {message}", *_others(failure, own)]


def _others(failure: Failure, own: Iterable[Pod]) -> Iterator[str]:
    for pod in own:
        words = printable_lines(pod.termination_message.strip())
        if words and pod.uid != failure.uid and from_final_report(pod.termination_message) is None:
            yield f"last words of pod {pod.name} (exit code {pod.exit_code}):"
            yield from (f"  {line}" for line in words.splitlines())


def _from_pod(pod: Pod) -> Failure:
    where = f" on node {pod.node}" if pod.node else ""
    reason = pod.termination_reason or pod.pod_reason or "Error"
    headline = f"pod {pod.name}{where} failed with exit code {pod.exit_code} ({reason})."
    return Failure(headline, pod.name, pod.uid, _ended(pod), pod.termination_message or pod.pod_message)


def _from_entry(entry: Restart, failed: Iterable[Pod]) -> Failure:
    """A process's failure has its own time; a pod's is when the operator saw it, its container ended before."""
    same = next((pod for pod in failed if pod.uid == entry.pod_uid and pod.finished_at), None)
    ended = _ended(same) if same and entry.restart_scope is not RestartScope.PROCESS else entry.time
    return Failure(sentence(entry), entry.pod, entry.pod_uid, ended, entry.message)


def _ended(pod: Pod) -> datetime:
    return pod.finished_at or datetime.min.replace(tzinfo=UTC)


def _moment(text: str) -> datetime | None:
    """Parse the time of a log line: nanoseconds, of which Python reads six digits."""
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None
