"""An operator that is killed at a chosen await: before or right after its n-th request, reads of reports included."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from neuron_api.resource.progress import Progress
from neuron_operator.kube.gateway import Cluster
from neuron_operator.planning.observation.observation import Pod

from .world import Reports

WRITES = ("create", "apply", "replace", "delete")
VERBS = ("get", "find", "list", *WRITES)


class Killed(BaseException):
    """SIGKILL: nothing after it runs, no handler catches it."""


@dataclass
class Death:
    """Comes at the n-th request; nothing that the dead operator had begun is asked for after that."""

    at: int
    after: bool = False
    requests: int = 0
    has_come: bool = False

    async def call(self, method: Callable[..., Awaitable[Any]], *arguments: Any, **more: Any) -> Any:
        """One request."""
        if self.has_come:
            raise Killed
        self.requests += 1
        own = self.requests
        if own == self.at and not self.after:
            self.has_come = True
            raise Killed
        result = await method(*arguments, **more)
        self.has_come |= own == self.at
        if self.has_come:
            raise Killed
        return result


class MortalCluster:
    """The gateway of such an operator; `verbs` are the requests that count."""

    def __init__(self, cluster: Cluster, death: Death, verbs: tuple[str, ...] = VERBS) -> None:
        self._cluster, self._death, self._verbs = cluster, death, verbs

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._cluster, name)
        if name not in self._verbs:
            return method

        async def request(*arguments: Any, **more: Any) -> Any:
            return await self._death.call(method, *arguments, **more)

        return request


class MortalReports:
    """Its reads of progress."""

    def __init__(self, reports: Reports, death: Death) -> None:
        self._reports, self._death = reports, death

    async def read(self, pod: Pod) -> Progress | None:
        """See `ProgressReader`."""
        found: Progress | None = await self._death.call(self._reports.read, pod)
        return found
