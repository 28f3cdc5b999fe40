"""An API server in memory for what a real one cannot show on demand: time that passes, answers that fail.

Only what `Lease` and `Recorder` need of `cluster.Cluster`; everything else is tested on a real API server.
"""

from copy import deepcopy
from typing import Any

from neuron_operator.kube.errors import AlreadyExistsError, ConflictError, NotFoundError, UnavailableError
from neuron_operator.kube.gateway import Kind

Json = dict[str, Any]


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class FakeCluster:
    """Objects by plural, namespace and name; each write makes a new version."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], Json] = {}
        self.is_away = False
        self._version = 0

    async def find(self, kind: Kind, namespace: str, name: str) -> Json | None:
        self._answer()
        found = self.objects.get((kind.plural, namespace, name))
        return deepcopy(found)

    async def get(self, kind: Kind, namespace: str, name: str) -> Json:
        found = await self.find(kind, namespace, name)
        assert found is not None
        return found

    async def create(self, kind: Kind, body: Json) -> Json:
        self._answer()
        key = self._key(kind, body)
        if key in self.objects:
            raise AlreadyExistsError(409, "AlreadyExists", key[2])
        return self._store(key, body)

    async def replace(self, kind: Kind, body: Json, subresource: str = "") -> Json:
        self._answer()
        key = self._key(kind, body)
        if key not in self.objects:
            raise NotFoundError(404, "NotFound", f"{key} is not there")
        if self.objects[key]["metadata"]["resourceVersion"] != body["metadata"].get("resourceVersion"):
            raise ConflictError(409, "Conflict", key[2])
        return self._store(key, body)

    def _answer(self) -> None:
        if self.is_away:
            raise UnavailableError(0, "ClientConnectorError", "away")

    def _key(self, kind: Kind, body: Json) -> tuple[str, str, str]:
        return kind.plural, body["metadata"]["namespace"], body["metadata"]["name"]

    def _store(self, key: tuple[str, str, str], body: Json) -> Json:
        self._version += 1
        metadata = {**body["metadata"], "resourceVersion": str(self._version)}
        self.objects[key] = deepcopy({**body, "metadata": metadata})
        return deepcopy(self.objects[key])
