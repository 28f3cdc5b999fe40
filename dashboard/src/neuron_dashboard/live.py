"""Who looks, and what is sent to them: the source is watched while at least one page is open, and not else."""

import asyncio
import json
import logging
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from neuron_api.resource.overview import JobSummary

from .source import Source, SourceError, key_of

log = logging.getLogger(__name__)

Update = dict[str, Any]
_PAUSE: Final = 0.1
"""Seconds for which changes are gathered: a thousand jobs that change at once are a few messages."""
_RETRY: Final = 3.0
"""Seconds until a watch that broke is begun again."""


class LiveUpdates:
    """The jobs as they are, and the pages that are told of changes. Lives in the server's event loop."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._jobs: dict[str, Update] | None = None
        """By key; None: nothing is known, since nobody has looked yet."""
        self._pages: set[asyncio.Queue[Update]] = set()
        self._watcher: _Watcher | None = None

    @property
    def is_watching(self) -> bool:
        """Return whether the source is being watched."""
        return self._watcher is not None

    @asynccontextmanager
    async def page(self) -> AsyncIterator[asyncio.Queue[Update]]:
        """Yield the updates of one open page: first all jobs, then what changes."""
        updates: asyncio.Queue[Update] = asyncio.Queue()
        self._pages.add(updates)
        if self._watcher is None:
            self._watcher = _Watcher(self._source, self._show, self._fail)
        elif self._jobs is not None:
            updates.put_nowait({"reset": list(self._jobs.values())})
        try:
            yield updates
        finally:
            self._pages.discard(updates)
            if not self._pages:
                await self.close()

    async def close(self) -> None:
        """Stop watching; whoever looks next begins anew."""
        watcher, self._watcher, self._jobs = self._watcher, None, None
        if watcher is not None:
            await watcher.stop()

    def _show(self, watcher: "_Watcher", jobs: Sequence[JobSummary]) -> None:
        if watcher is not self._watcher:
            return
        new = {key_of(job): _as_update(job) for job in jobs}
        before, self._jobs = self._jobs, new
        if before is None:
            self._send({"reset": list(new.values())})
            return
        changed = [job for key, job in new.items() if before.get(key) != job]
        removed = [key for key in before if key not in new]
        if changed or removed:
            self._send({"changed": changed, "removed": removed})

    def _fail(self, watcher: "_Watcher", message: str) -> None:
        if watcher is self._watcher:
            self._jobs = None  # The next listing is sent whole: it ends the problem on the pages, changed or not.
            self._send({"problem": message})

    def _send(self, update: Update) -> None:
        for updates in self._pages:
            updates.put_nowait(update)


class _Watcher:
    """A thread that watches the source; what it is shown reaches the event loop, gathered."""

    def __init__(self, source: Source, show: Any, fail: Any) -> None:
        self._source, self._show, self._fail = source, show, fail
        self._loop = asyncio.get_running_loop()
        self._stopped = threading.Event()
        self._newest: Sequence[JobSummary] | None = None
        self._is_shown = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """End the thread."""
        self._stopped.set()
        self._source.interrupt()
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._source.watch(self._gather, self._stopped)
            except SourceError as problem:
                self._report(str(problem))
            except Exception as problem:  # Whatever it is, the page goes on and says so.
                log.exception("the watch of the jobs broke")
                self._report(f"the jobs cannot be watched ({type(problem).__name__}: {problem})")
            self._stopped.wait(_RETRY)  # A watch that ends by itself must not be begun again at once, either.

    def _report(self, problem: str) -> None:
        with self._lock:
            self._newest = None  # What is still to be shown is older than the problem.
        self._call(self._fail, self, f"{problem}; trying again")

    def _gather(self, jobs: Sequence[JobSummary]) -> None:
        with self._lock:
            is_first, self._newest = self._newest is None, jobs
            pause, self._is_shown = _PAUSE if self._is_shown else 0.0, True
        if is_first:
            self._call(self._loop.call_later, pause, self._flush)

    def _flush(self) -> None:
        with self._lock:
            jobs, self._newest = self._newest, None
        if jobs is not None:
            self._show(self, jobs)

    def _call(self, function: Any, *arguments: Any) -> None:
        if not self._stopped.is_set():
            self._loop.call_soon_threadsafe(function, *arguments)


def _as_update(job: JobSummary) -> Update:
    """Return the job as JSON has it: a number that is not finite is null, which `model_dump` leaves as it is."""
    update: Update = json.loads(job.model_dump_json(by_alias=True, exclude_none=True))
    return update


def event(update: Update) -> bytes:
    """Return an update as a server-sent event."""
    return f"data: {json.dumps(update, separators=(',', ':'), allow_nan=False)}\n\n".encode()
