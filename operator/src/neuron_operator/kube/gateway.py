"""The only module that talks to the API server: eight verbs over `kubernetes.aio`, plain JSON in and out.

Every request has a bound (`TIMEOUT`) and at most `PARALLEL` run at once. Bodies stay dictionaries: 1000 pods cost 30 ms
as JSON and 170 ms with the client's models (upstream-facts.md#client-models), and are read by pydantic's parser: 17 us,
not 26.
"""

import asyncio
import json
import os
import random
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio import client, config
from pydantic_core import from_json

from neuron_api import contract

from .errors import (
    AlreadyExistsError,
    ApiError,
    ConflictError,
    ExpiredError,
    NotFoundError,
    RefusedError,
    UnavailableError,
)

Json = dict[str, Any]
Objects = list[Json]
Count = Callable[[str, str, str], None]
"""Called with verb, plural and code after each request."""
DateObserver = Callable[[str | None], None]
"""Called with the `Date` of each answer."""

TIMEOUT: Final = 20.0
PARALLEL: Final = 50
PAGE: Final = 500
WATCH_SECONDS: Final = 300
"""A watch is opened again after so long, up to twice: not all at once."""
SILENT_SECONDS: Final = 100.0
"""The API server sends a bookmark every minute or so: a stream without any is dead."""

_PATCH: Final = {"Content-Type": "application/apply-patch+yaml"}
_METADATA: Final = {"Accept": "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json"}
_MERGE: Final = {"Content-Type": "application/merge-patch+json"}


_NAME: Final = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9._:-]+")
"""All that a name of any kind may be made of."""


@dataclass(frozen=True, slots=True)
class Kind:
    """Where the objects of a kind are found."""

    api_version: str
    plural: str
    namespaced: bool = True

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """Path of a collection, of an object, or of a part of it."""
        root = "/api/v1" if self.api_version == "v1" else f"/apis/{self.api_version}"
        place = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        return "/".join(part for part in (f"{root}{place}/{self.plural}", name, subresource) if part)

    def object_path(self, namespace: str, name: str, subresource: str = "") -> str:
        """Path of an object; raises `NotFoundError` for a name that would make another path of it.

        The HTTP client resolves `..`: a name out of a job's spec could lead to any path that the operator may read.
        """
        if not _NAME.fullmatch(name):
            raise NotFoundError(404, "NotFound", f"{self.plural} {name!a}: no object can have this name")
        return self.path(namespace, name, subresource)


JOB: Final = Kind(contract.API_VERSION, contract.PLURAL)
POD: Final = Kind("v1", "pods")
SERVICE: Final = Kind("v1", "services")
CONFIG_MAP: Final = Kind("v1", "configmaps")
CLAIM: Final = Kind("v1", "persistentvolumeclaims")
NODE: Final = Kind("v1", "nodes", namespaced=False)
LEASE: Final = Kind("coordination.k8s.io/v1", "leases")
EVENT: Final = Kind("events.k8s.io/v1", "events")

_KINDS: Final[Mapping[str, Kind]] = {"Service": SERVICE, "ConfigMap": CONFIG_MAP, "Pod": POD, contract.KIND: JOB}


def kind_of(kind: str, api_version: str = "") -> Kind:
    """Return the kind of what a plan applies or deletes; several APIs have a PodGroup."""
    return Kind(api_version, f"{kind.lower()}s") if kind not in _KINDS else _KINDS[kind]


class Cluster:
    """A connection; made by `connect`."""

    def __init__(
        self, api: client.ApiClient, count: Count = lambda *_: None, heard: DateObserver = lambda _: None
    ) -> None:
        self._api, self._count, self._heard, self._slots = api, count, heard, asyncio.Semaphore(PARALLEL)

    async def get(self, kind: Kind, namespace: str, name: str) -> Json:
        """One object; raises `NotFoundError`."""
        return await self._call("GET", kind, kind.object_path(namespace, name))

    async def find(self, kind: Kind, namespace: str, name: str) -> Json | None:
        """One object, or None where there is none."""
        try:
            return await self.get(kind, namespace, name)
        except NotFoundError:
            return None

    async def list(self, kind: Kind, namespace: str = "", selector: str = "") -> list[Json]:
        """All objects, as the newest state has them (no `resourceVersion=0`)."""
        return (await self.list_with_version(kind, namespace, selector))[0]

    async def list_metadata(self, kind: Kind, namespace: str = "") -> "Objects":
        """Return the metadata of each object alone: 500 jobs are 4 MB, and only their versions are needed."""
        items, _ = await self.list_with_version(kind, namespace, headers=_METADATA)
        return [item["metadata"] for item in items]

    async def list_with_version(
        self, kind: Kind, namespace: str = "", selector: str = "", headers: Mapping[str, str] | None = None
    ) -> tuple["Objects", str]:
        """All objects, and the version from which a watch goes on."""
        items: list[Json] = []
        query = {"limit": str(PAGE), **({"labelSelector": selector} if selector else {})}
        while True:
            page = await self._call("GET", kind, kind.path(namespace), query, headers=headers)
            items += page.get("items") or []
            token = page.get("metadata", {}).get("continue")
            if not token:
                return items, str(page.get("metadata", {}).get("resourceVersion", ""))
            query["continue"] = token

    async def watch(self, kind: Kind, namespace: str, selector: str, version: str) -> AsyncIterator[tuple[str, Json]]:
        """Events after a version and bookmarks, until the stream ends. Raises `ExpiredError`, other `ApiError`s."""
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "labelSelector": selector,
            "resourceVersion": version,
            "timeoutSeconds": str(random.randint(WATCH_SECONDS, 2 * WATCH_SECONDS)),
        }
        path = kind.path(namespace)
        silent = aiohttp.ClientTimeout(total=None, sock_connect=TIMEOUT, sock_read=SILENT_SECONDS)
        try:
            async with await self._send("GET", path, query, None, None, silent) as answer:
                self._count("WATCH", kind.plural, str(answer.status))
                if answer.status >= 400:
                    raise _error(answer.status, await answer.read(), answer.headers.get("Retry-After"))
                async for line in _lines(answer.content):
                    event: Json = from_json(line)
                    if event["type"] == "ERROR":
                        status = event["object"]
                        raise _error(int(status.get("code") or 500), json.dumps(status).encode(), None)
                    yield event["type"], event["object"]
        except (aiohttp.ClientError, TimeoutError, OSError) as problem:
            raise UnavailableError(0, type(problem).__name__, f"WATCH {path}: {problem}") from None

    async def create(self, kind: Kind, body: Mapping[str, Any]) -> Json:
        """A new object; raises `AlreadyExistsError`."""
        path = kind.path(body["metadata"].get("namespace", ""))
        return await self._call("POST", kind, path, _MANAGED, body)

    async def apply(self, body: Mapping[str, Any]) -> Json:
        """Server-side apply of what the operator owns whole."""
        kind, metadata = kind_of(body["kind"], body["apiVersion"]), body["metadata"]
        query = {**_MANAGED, "force": "true"}
        return await self._call(
            "PATCH", kind, kind.object_path(metadata["namespace"], metadata["name"]), query, body, _PATCH
        )

    async def patch(self, kind: Kind, body: Mapping[str, Any]) -> None:
        """Merge into an object; one that is gone, or not as it was (`metadata.uid`, `resourceVersion`), is no error."""
        try:
            path = kind.object_path(body["metadata"]["namespace"], body["metadata"]["name"])
            await self._call("PATCH", kind, path, _MANAGED, body, _MERGE)
        except (NotFoundError, ConflictError):
            return

    async def replace(self, kind: Kind, body: Mapping[str, Any], subresource: str = "") -> Json:
        """Write an object (or its status) over the version that was read; raises `ConflictError`."""
        metadata = body["metadata"]
        return await self._call(
            "PUT", kind, kind.object_path(metadata["namespace"], metadata["name"], subresource), _MANAGED, body
        )

    async def delete(self, kind: Kind, namespace: str, name: str, uid: str, *, grace: int | None = None) -> None:
        """Delete this very object, with its own grace or so many seconds; one that is gone is no error."""
        body: Json = {"preconditions": {"uid": uid}, **({} if grace is None else {"gracePeriodSeconds": grace})}
        try:
            await self._call("DELETE", kind, kind.object_path(namespace, name), None, body)
        except (NotFoundError, ConflictError):
            return

    async def _call(
        self,
        verb: str,
        kind: Kind,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Json:
        code = "none"
        try:
            # The Lease waits for no others: with all of them held up, it would be lost, and nothing be gained by that.
            slot = nullcontext() if kind == LEASE else self._slots
            async with slot, await self._send(verb, path, query, body, headers, _BOUNDED) as response:
                content = await response.read()
            code = str(response.status)
            self._heard(response.headers.get("Date"))
        except (aiohttp.ClientError, TimeoutError, OSError) as problem:
            raise UnavailableError(0, type(problem).__name__, f"{verb} {path}: {problem}") from None
        finally:
            self._count(verb, kind.plural, code)
        if response.status >= 400:
            raise _error(response.status, content, response.headers.get("Retry-After"))
        parsed: Json = from_json(content)
        return parsed

    async def _send(
        self,
        verb: str,
        path: str,
        query: Mapping[str, str] | None,
        body: Mapping[str, Any] | None,
        headers: Mapping[str, str] | None,
        bounds: aiohttp.ClientTimeout,
    ) -> aiohttp.ClientResponse:
        """The client's own way goes through every body three times: 0.3 ms of CPU for a pod."""
        settings = self._api.configuration
        url = f"{settings.host}{path}" + (f"?{urlencode(query)}" if query else "")
        sent = {"Accept": "application/json", "User-Agent": contract.FIELD_MANAGER, **(headers or {})}
        if token := await settings.get_api_key_with_prefix("BearerToken"):
            sent["authorization"] = token
        answer = await self._api.call_api(verb, url, sent, body, _request_timeout=bounds)
        response: aiohttp.ClientResponse = answer.response
        return response


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Lines of any length."""
    rest = b""
    async for piece in content.iter_any():
        *lines, rest = (rest + piece).split(b"\n") if b"\n" in piece else (rest + piece,)
        for line in lines:
            if line:
                yield line


_BOUNDED: Final = aiohttp.ClientTimeout(total=TIMEOUT)
_MANAGED: Final = {"fieldManager": contract.FIELD_MANAGER}


@asynccontextmanager
async def connect(count: Count = lambda *_: None, heard: DateObserver = lambda _: None) -> AsyncIterator[Cluster]:
    """Connect by the service account's token in a pod, by KUBECONFIG elsewhere; close at the end."""
    settings = client.Configuration(client_session_kwargs={"trust_env": False})
    try:
        config.load_incluster_config(client_configuration=settings)
    except config.ConfigException:
        # Named here: the client read the variable once, when it was imported.
        await config.load_kube_config(config_file=os.environ.get("KUBECONFIG"), client_configuration=settings)
    async with client.ApiClient(settings) as api:
        yield Cluster(api, count, heard)


def _error(status: int, content: bytes, retry_after: str | None) -> ApiError:
    try:
        answer = json.loads(content)
        reason, message = str(answer.get("reason", "")), str(answer.get("message", ""))
        causes = (answer.get("details") or {}).get("causes") or ()
        fields = tuple(str(cause["field"]) for cause in causes if cause.get("field"))
    except (ValueError, AttributeError, TypeError):
        reason, message, fields = "", content[:200].decode(errors="replace"), ()
    wait = float(retry_after) if retry_after and retry_after.isdigit() else None
    return _class_of(status, reason)(status, reason, message, wait, fields)


def _class_of(status: int, reason: str) -> type[ApiError]:
    match status:
        case 404:
            return NotFoundError
        case 409:
            return AlreadyExistsError if reason == "AlreadyExists" else ConflictError
        case 410:
            return ExpiredError
        case 400 | 403 | 422:
            return RefusedError
        case _:
            return UnavailableError
