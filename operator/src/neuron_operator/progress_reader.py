"""Ask a pod's launcher how far it is: `GET /progress`, bounded in time and size. No answer is an answer: None."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, Protocol

import aiohttp
from pydantic import ValidationError

from neuron_api import contract, progress
from neuron_api.progress import Progress

from .planning.observation import Pod

log = logging.getLogger(__name__)

_TIMEOUT: Final = 3.0
_LIMIT: Final = 256 * 1024
"""Bytes; a full document has 20 kB."""


class ProgressReader(Protocol):
    """How the controller sees it; tests have their own."""

    async def read(self, pod: Pod) -> Progress | None:
        """The report of a pod, None where there is none."""
        ...


class HttpProgressReader:
    """Over the pod's address."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def read(self, pod: Pod) -> Progress | None:
        """See `ProgressReader`."""
        if not pod.address:
            return None
        host = f"[{pod.address}]" if ":" in pod.address else pod.address
        try:
            async with self._session.get(f"http://{host}:{contract.PROGRESS_PORT}{contract.PROGRESS_PATH}") as answer:
                answer.raise_for_status()
                return progress.from_json(await answer.content.read(_LIMIT))
        except (aiohttp.ClientError, TimeoutError, OSError) as problem:
            log.debug("pod %s gives no progress: %s", pod.name, problem)
        except ValidationError as problem:
            log.warning("pod %s: the progress report is not understood: %s", pod.name, problem.errors()[:1])
        return None


@asynccontextmanager
async def over_http() -> AsyncIterator[HttpProgressReader]:
    """A reader with a connection pool of its own; proxies of the environment are for other traffic."""
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT)
    async with aiohttp.ClientSession(timeout=timeout, trust_env=False) as session:
        yield HttpProgressReader(session)
