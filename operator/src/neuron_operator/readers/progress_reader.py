"""Ask a pod's launcher how far it is: `GET /progress`. No answer is an answer: None.

The pod is the user's, and its answer may be anything. It is bounded in size and time, no redirection is followed,
nothing is unpacked, and `neuron_api.resource.wire_values` says what a report may hold. A pass waits for a pod for a
moment only: one that is late is asked in the background from then on, each look takes what came since the last one, and
it is waited for again after `PROBATION` answers in time. So pods that drip hold up no other job.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, Protocol

import aiohttp
from pydantic import ValidationError

from neuron_api import contract
from neuron_api.findings.finding import clip
from neuron_api.resource import progress
from neuron_api.resource.progress import Progress
from neuron_operator.planning.observation.observation import Pod

log = logging.getLogger(__name__)

TIMEOUT_SECONDS: Final = 3.0
PATIENCE_SECONDS: Final = 0.5
"""How long a look waits; a launcher answers within milliseconds."""
MEMORY_SECONDS: Final = 600.0
"""How long a late pod is remembered that nobody looks at any more; looks are 120 s apart at most."""
PROBATION: Final = 12
"""Answers in time, one after another, until a late pod is waited for again: a minute at the usual pace."""
MAX_BYTES: Final = 512 * 1024
"""A usual document has 20 kB, the longest in letters of three bytes 400 kB."""
MAX_CONNECTIONS: Final = 512
"""Below the 1024 files that a process may have open by default."""
MAX_COMPLAINTS: Final = 1024
"""Pods of which it is remembered that the log has named them."""


class ProgressReader(Protocol):
    """How the controller sees it; tests have their own."""

    async def read(self, pod: Pod) -> Progress | None:
        """The report of a pod, None where there is none."""
        ...


@dataclass(slots=True)
class _Late:
    """A pod that is asked in the background."""

    question: asyncio.Task[tuple[Progress | None, float]]
    looked_at: float
    in_time: int = 0
    """Answers in time, one after another."""


class HttpProgressReader:
    """Over the pod's address."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        port: int = contract.PROGRESS_PORT,
        patience: float = PATIENCE_SECONDS,
        memory: float = MEMORY_SECONDS,
    ) -> None:
        self._session = session
        self.port, self.patience, self._memory = port, patience, memory
        self._late: dict[str, _Late] = {}
        """By UID of the pod; who was looked at last is last."""
        self._complaints: dict[str, None] = {}

    async def read(self, pod: Pod) -> Progress | None:
        """See `ProgressReader`. What a late pod says was true at the look before."""
        self._forget_old()
        if not pod.address:
            return None
        if (late := self._late.pop(pod.uid, None)) is not None:
            return self._collect(pod, late)
        question = asyncio.create_task(self._ask(pod))
        try:
            await asyncio.wait((question,), timeout=self.patience)
        except asyncio.CancelledError:
            question.cancel()
            raise
        if question.done():
            return question.result()[0]
        self._late[pod.uid] = _Late(question, _now())
        return None

    def is_late(self, pod: Pod) -> bool:
        """Return whether the pod is asked in the background."""
        return pod.uid in self._late

    async def close(self) -> None:
        """End what runs in the background."""
        questions = [late.question for late in self._late.values()]
        self._late.clear()
        for question in questions:
            question.cancel()
        await asyncio.gather(*questions, return_exceptions=True)

    def _collect(self, pod: Pod, late: _Late) -> Progress | None:
        """Return the report that came since the last look, without waiting."""
        late.looked_at, self._late[pod.uid] = _now(), late
        if not late.question.done():
            return None
        report, seconds = late.question.result()
        late.in_time = late.in_time + 1 if seconds <= self.patience else 0
        if late.in_time >= PROBATION:
            del self._late[pod.uid]
        else:
            late.question = asyncio.create_task(self._ask(pod))
        return report

    def _forget_old(self) -> None:
        while self._late:
            uid, late = next(iter(self._late.items()))
            if late.looked_at + self._memory > _now():
                return
            late.question.cancel()
            del self._late[uid]

    async def _ask(self, pod: Pod) -> tuple[Progress | None, float]:
        """The report, and how many seconds it took."""
        begun = _now()
        try:
            async with self._session.get(url_of(pod, self.port), allow_redirects=False) as answer:
                return progress.from_json(await _body(answer)), _now() - begun
        except (aiohttp.ClientError, TimeoutError, OSError) as problem:
            log.debug("pod %s gives no progress: %s", pod.name, clip(str(problem), 200))
        except (ValidationError, ValueError) as problem:
            self._complain(pod, problem)
        return None, _now() - begun

    def _complain(self, pod: Pod, problem: ValueError) -> None:
        """Once for each pod, with none of its own words."""
        if pod.uid in self._complaints:
            return
        while len(self._complaints) >= MAX_COMPLAINTS:
            del self._complaints[next(iter(self._complaints))]
        self._complaints[pod.uid] = None
        log.warning("pod %s: its progress report cannot be read: %s", pod.name, _reason(problem))


def url_of(pod: Pod, port: int) -> str:
    """Return the address where a pod reports."""
    host = f"[{pod.address}]" if ":" in pod.address else pod.address
    return f"http://{host}:{port}{contract.PROGRESS_PATH}"


async def _body(answer: aiohttp.ClientResponse) -> bytes:
    """All of it; raises `ValueError` where it is no report, by its status or its length."""
    if answer.status != 200:
        raise ValueError(f"the answer has the status {answer.status}, expected 200")
    body = bytearray()
    async for piece in answer.content.iter_any():
        body += piece
        if len(body) > MAX_BYTES:
            raise ValueError(f"the answer has more than {MAX_BYTES} bytes")
    return bytes(body)


def _reason(problem: ValueError) -> str:
    """The field and what is wrong with it; keys inside of the field may be the pod's own words."""
    if not isinstance(problem, ValidationError):
        return clip(str(problem), 200)
    error = problem.errors(include_url=False, include_context=False, include_input=False)[0]
    field = f"{error['loc'][0]}: " if error["loc"] else ""
    return clip(f"{field}{error['msg']}", 200)


def _now() -> float:
    return asyncio.get_running_loop().time()


@asynccontextmanager
async def over_http(
    *,
    port: int = contract.PROGRESS_PORT,
    patience: float = PATIENCE_SECONDS,
    bound: float = TIMEOUT_SECONDS,
    memory: float = MEMORY_SECONDS,
) -> AsyncIterator[HttpProgressReader]:
    """A reader with a connection pool of its own; proxies of the environment are for other traffic.

    `bound`: seconds for a whole answer.
    """
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=MAX_CONNECTIONS),
        timeout=aiohttp.ClientTimeout(total=bound),
        headers={"Accept-Encoding": "identity"},
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
    ) as session:
        reader = HttpProgressReader(session, port=port, patience=patience, memory=memory)
        try:
            yield reader
        finally:
            await reader.close()
