"""Jobs about which nothing is new: they are asked for their progress, and nothing more, and the more of them the rarer.

A full pass costs some 3 ms and a look at the progress 0.4 ms: 500 jobs at every 5 s would keep a core busy with finding
out that nothing has happened. Whatever wakes a job (an event, another report) ends its idleness, and so does time.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from neuron_api.resource.job import NeuronTrainingJob
from neuron_api.resource.progress import Progress
from neuron_operator.planning.failures import hang
from neuron_operator.planning.observation.observation import Observed, Pod
from neuron_operator.queue.workqueue import JobKey
from neuron_operator.readers.progress_reader import ProgressReader

LOOKS_PER_SECOND: Final = 5.0
"""At all still jobs together: 25 of them at the usual 5 s, 500 every 100 s."""
PASSES_PER_SECOND: Final = 0.5
"""Over all still jobs together, whatever seems to be: 2 of them at the usual 5 s, 500 every 1000 s. Events, looks and
due times bring all that is known to matter; this makes up for what nobody has thought of."""
MAX_SECONDS: Final = 120.0
"""Between two looks."""
IDLE_POLL_SECONDS: Final = 3600.0
"""In place of the usual interval, to learn what else a plan waits for."""


@dataclass(frozen=True, slots=True)
class IdleSnapshot:
    """What was seen when nothing was new."""

    version: str
    job: NeuronTrainingJob
    pod: Pod
    report: Progress | None
    full_at: float


class IdleTracker:
    """Times are seconds of any one clock."""

    def __init__(self, reader: ProgressReader, poll_seconds: float, monotonic: Callable[[], float]) -> None:
        self._reader, self._poll, self._monotonic = reader, poll_seconds, monotonic
        self._still: dict[JobKey, IdleSnapshot] = {}
        self._overtaken: set[JobKey] = set()
        """Jobs to which something has happened since their last pass began."""

    def begin(self, key: JobKey) -> None:
        """A pass is about to look at everything."""
        self._overtaken.discard(key)

    def settle(self, key: JobKey, observed: Observed, due: float | None) -> None:
        """A pass found nothing new. `due`: seconds until its plan wants another, apart from looks at the progress.

        Events that arrived after the pods were listed are not covered by this pass; the one that is queued must be
        full.
        """
        host = next((pod for pod in observed.pods if pod.index == 0 and pod.running), None)
        if host is None or key in self._overtaken:
            return
        rest = max(self._poll, (len(self._still) + 1) / PASSES_PER_SECOND)
        full = self._monotonic() + (rest if due is None else min(rest, due))
        version = observed.job.metadata.resource_version
        self._still[key] = IdleSnapshot(version, observed.job, host, observed.report, full)

    def end(self, key: JobKey) -> None:
        """Note that something has happened: the next pass is a full one."""
        self._still.pop(key, None)
        self._overtaken.add(key)

    def forget(self, key: JobKey) -> None:
        """Forget a job that is gone."""
        self._still.pop(key, None)
        self._overtaken.discard(key)

    def is_current(self, key: JobKey, version: str) -> bool:
        """Return whether the job of this version needs no full pass."""
        still = self._still.get(key)
        return still is not None and still.version == version and self._monotonic() < still.full_at

    async def look(self, key: JobKey) -> float | None:
        """Seconds until the next look, where there is nothing new; None: a full pass is due."""
        still = self._still.get(key)
        if still is None:
            return None
        remaining = still.full_at - self._monotonic()
        same = remaining > 0 and self._says_the_same(still, await self._reader.read(still.pod))
        if same and self._still.get(key) is still:
            return min(remaining, self.seconds)
        self._still.pop(key, None)
        return None

    @property
    def seconds(self) -> float:
        """Between two looks at one job."""
        return min(MAX_SECONDS, max(self._poll, len(self._still) / LOOKS_PER_SECOND))

    @staticmethod
    def _says_the_same(still: IdleSnapshot, report: Progress | None) -> bool:
        if report is None or still.report is None:
            return report is still.report
        untimed = {"idle_seconds": None}
        same = report.model_copy(update=untimed) == still.report.model_copy(update=untimed)
        return same and hang.detect_hang(report, still.job.status.progress, still.job.spec.hang_policy) is None
