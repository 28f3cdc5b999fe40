"""What the live commands ask the API server, as the user's kubeconfig says: beside `kubeconfig` the only module that
knows the Kubernetes client, which takes 0.3 s to import.

An answer that is no success becomes one sentence: a `ClusterError`; a `MayNotError` names the missing right.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from neuron_api import contract
from neuron_api.findings.suggestions import nearest
from neuron_operator.kube.errors import (
    ClusterError,
    JobMissingError,
    UnreachableError,
    UserInputError,
)

from . import impersonation, kubeconfig
from .answer import Answer, change_of_watch, check

Json = dict[str, Any]

TIMEOUT: Final = 20.0
FIELD_MANAGER: Final = "kubectl-neuron"
_MAX_NAMES: Final = 10
_MERGE_PATCH: Final = "application/merge-patch+json"
_APPLY_PATCH: Final = "application/apply-patch+yaml"
_JOBS: Final = f"/apis/{contract.API_VERSION}/namespaces/{{}}/{contract.PLURAL}"
_ALL_JOBS: Final = f"/apis/{contract.API_VERSION}/{contract.PLURAL}"
_NO_DEFINITION: Final = (
    f"this cluster knows no {contract.KIND}: install the operator's chart, or choose another --context"
)
MAX_MESSAGE: Final = 4_000
"""Bytes that are read of an answer to a watch that is no stream."""
MAX_HISTORY: Final = 4_000_000
"""Bytes of the curves of a run."""
WATCH_SECONDS: Final = 300
"""After which the API server ends a watch, and it is begun anew."""


@dataclass(frozen=True, slots=True)
class Access:
    """The flags that kubectl has as well."""

    kubeconfig: str | None = None
    context: str | None = None
    namespace: str | None = None


class Connection:
    """One namespace of one cluster; made by `connect`."""

    def __init__(
        self, client: Any, namespace: str, impersonated: impersonation.Headers = (), timeout: float = TIMEOUT
    ) -> None:
        self._client, self.namespace, self._impersonated = client, namespace, impersonated
        self._timeout = timeout

    def in_namespace(self, namespace: str) -> "Connection":
        """Return the same connection for another namespace."""
        return Connection(self._client, namespace, self._impersonated, self._timeout)

    def job(self, name: str) -> Json:
        """The NeuronTrainingJob; where it is not, the sentence names those that might be meant."""
        path = f"{_JOBS.format(self.namespace)}/{name}"
        answer = self._ask("GET", path, contract.PLURAL)
        if answer.status == 404:
            raise JobMissingError(self._not_found(name, answer))
        if answer.status != 200:
            raise ClusterError(f"{name}: {answer.message}")
        return answer.body

    def jobs(self, *, everywhere: bool = False) -> list[Json]:
        """Every job of the namespace, or of all namespaces."""
        return self.list_jobs(everywhere=everywhere)[0]

    def list_jobs(self, *, everywhere: bool = False, limit: int = 0) -> tuple[list[Json], str]:
        """Every job, or the first `limit`, and the version of the listing, after which a watch goes on."""
        path = _ALL_JOBS if everywhere else _JOBS.format(self.namespace)
        answer = self._ask("GET", path, contract.PLURAL, {"limit": str(limit)} if limit else None)
        if answer.status == 404:
            raise ClusterError(_NO_DEFINITION)
        if answer.status != 200:
            raise ClusterError(f"{contract.PLURAL}: {answer.message}")
        return list(answer.body.get("items") or ()), str(answer.body.get("metadata", {}).get("resourceVersion", ""))

    def watch_jobs(
        self, version: str, stop: Callable[[Callable[[], None]], None], *, everywhere: bool
    ) -> Iterator[Json]:
        """Yield changes after a listing, as the API server sends them, until it ends the stream or the function that
        `stop` is called with is called. The caller lists again after that. Raises `ClusterError` where the server, or a
        proxy before it, does not give a stream of changes; one that has forgotten the version gives none."""
        path = _ALL_JOBS if everywhere else _JOBS.format(self.namespace)
        query = {"watch": "true", "resourceVersion": version, "timeoutSeconds": str(WATCH_SECONDS)}
        response = self._open("GET", path, query, None, WATCH_SECONDS + TIMEOUT)
        stream = response.response
        if response.status != HTTPStatus.OK:
            with self._reaching():
                answer = Answer(response.status, stream.read(MAX_MESSAGE))
            stream.close()
            check(answer, "WATCH", path, contract.PLURAL, self.namespace)
            if answer.status == HTTPStatus.GONE:
                return
            raise ClusterError(f"{contract.PLURAL} cannot be watched: {answer.message}")
        stop(stream.shutdown)
        rest = b""
        try:
            while chunk := stream.read1():
                *lines, rest = (rest + chunk).split(b"\n")
                yield from (change_of_watch(line) for line in lines if line.strip())
        except _closed_errors():
            return
        finally:
            stream.close()

    def pods(self, job: str) -> list[Json]:
        """Every pod with the job's label."""
        query = {"labelSelector": f"{contract.LABEL_JOB}={job},!{contract.LABEL_STANDBY}"}
        return self._items(f"/api/v1/namespaces/{self.namespace}/pods", "pods", query)

    def events(self, uid: str) -> list[Json]:
        """About one object, as core/v1 has them."""
        query = {"fieldSelector": f"involvedObject.uid={uid}"}
        return self._items(f"/api/v1/namespaces/{self.namespace}/events", "events", query)

    def log(self, pod: str, since: str) -> str | None:
        """Lines of the trainer's container, each with its time (RFC 3339); None where there are none any more."""
        query = {"container": contract.CONTAINER, "timestamps": "true", "sinceTime": since, "limitBytes": "4000000"}
        answer = self._ask("GET", f"/api/v1/namespaces/{self.namespace}/pods/{pod}/log", "pods/log", query)
        return answer.content.decode(errors="replace") if answer.status == 200 else None

    def log_lines(
        self, pod: str, *, follow: bool = False, tail: int | None = None, since: str | None = None
    ) -> Iterator[str] | None:
        """Lines of the trainer's container, each with its time (RFC 3339), as they are written where `follow` is set;
        from the second of `since` on; None where the container has none yet, or none any more."""
        query = {"container": contract.CONTAINER, "timestamps": "true", "follow": str(follow).lower()}
        query |= {"tailLines": str(tail)} if tail is not None else {}
        query |= {"sinceTime": since} if since is not None else {}
        path = f"/api/v1/namespaces/{self.namespace}/pods/{pod}/log"
        response = self._open("GET", path, query, None, None if follow else self._timeout)
        if response.status == 200:
            return _lines(response.response)
        with self._reaching():
            answer = Answer(response.status, response.read())
        check(answer, "GET", path, "pods/log", self.namespace)
        return None

    def progress(self, pod: str) -> bytes | None:
        """Return what the pod's launcher answers at `/progress`, through the API server; None without an answer."""
        place = f"pods/{pod}:{contract.PROGRESS_PORT}/proxy{contract.PROGRESS_PATH}"
        answer = self._ask("GET", f"/api/v1/namespaces/{self.namespace}/{place}", "pods/proxy")
        return answer.content if answer.status == 200 else None

    def history(self, pod: str) -> bytes | None:
        """Return what the pod's launcher answers at `/history`; None without an answer, or with one that is longer than
        any that a launcher gives: a pod may say anything."""
        place = f"pods/{pod}:{contract.PROGRESS_PORT}/proxy{contract.HISTORY_PATH}"
        path = f"/api/v1/namespaces/{self.namespace}/{place}"
        response = self._open("GET", path, {}, None, self._timeout)
        with self._reaching():
            content: bytes = response.response.read(MAX_HISTORY + 1)
            response.response.close()
        check(Answer(response.status, content), "GET", path, "pods/proxy", self.namespace)
        return content if response.status == 200 and len(content) <= MAX_HISTORY else None

    def change(self, name: str, spec: Mapping[str, Any]) -> Json:
        """Merge fields into the job's spec, under a field manager of this command's own."""
        query = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict"}
        path = f"{_JOBS.format(self.namespace)}/{name}"
        answer = self._ask("PATCH", path, contract.PLURAL, query, {"spec": dict(spec)})
        if answer.status != 200:
            raise ClusterError(f"{name} was not changed: {answer.message}")
        return answer.body

    def create_job(self, body: Json, *, dry_run: bool = False) -> Json | None:
        """Create the job; None where one of that name exists."""
        query = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict", **({"dryRun": "All"} if dry_run else {})}
        answer = self._ask("POST", _JOBS.format(self.namespace), contract.PLURAL, query, body)
        if answer.status == 409:
            return None
        if answer.status == 404 and answer.body.get("details", {}).get("kind") != "namespaces":
            raise ClusterError(_NO_DEFINITION)
        if answer.status in (400, 422):
            raise UserInputError(f"the API server refuses the job: {answer.message}")
        if answer.status not in (200, 201):
            raise ClusterError(f"{body['metadata']['name']} was not created: {answer.message}")
        return answer.body

    def delete_job(self, name: str) -> None:
        """Delete a job; its pods follow in the background."""
        path = f"{_JOBS.format(self.namespace)}/{name}"
        answer = self._ask("DELETE", path, contract.PLURAL, {"propagationPolicy": "Background"})
        if answer.status == 404:
            raise JobMissingError(self._not_found(name, answer))
        if answer.status not in (200, 202):
            raise ClusterError(f"{name} was not deleted: {answer.message}")

    def config_map(self, name: str) -> Json | None:
        """Return a ConfigMap; None where there is none of that name."""
        answer = self._ask("GET", f"/api/v1/namespaces/{self.namespace}/configmaps/{name}", "configmaps")
        if answer.status not in (200, 404):
            raise ClusterError(f"ConfigMap {name}: {answer.message}")
        return answer.body if answer.status == 200 else None

    def apply_config_map(self, body: Json, *, dry_run: bool = False) -> Json:
        """Apply a ConfigMap that a job needs (server-side, without taking fields from others)."""
        query = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict", **({"dryRun": "All"} if dry_run else {})}
        path = f"/api/v1/namespaces/{self.namespace}/configmaps/{body['metadata']['name']}"
        answer = self._ask("PATCH", path, "configmaps", query, json.dumps(body), content_type=_APPLY_PATCH)
        if answer.status not in (200, 201):
            raise ClusterError(f"ConfigMap {body['metadata']['name']} was not applied: {answer.message}")
        return answer.body

    def _items(self, path: str, resource: str, query: Mapping[str, str]) -> list[Json]:
        answer = self._ask("GET", path, resource, query)
        if answer.status != 200:
            raise ClusterError(f"{resource} in namespace {self.namespace}: {answer.message}")
        return list(answer.body.get("items") or ())

    def _not_found(self, name: str, answer: Answer) -> str:
        if not answer.body.get("details", {}).get("name"):
            return _NO_DEFINITION
        try:
            jobs = self._items(_JOBS.format(self.namespace), contract.PLURAL, {"limit": "500"})
        except ClusterError:
            jobs = []
        names = sorted(job["metadata"]["name"] for job in jobs)
        near = nearest(name, names)
        some = f"{', '.join(names[:_MAX_NAMES])}{' …' if len(names) > _MAX_NAMES else ''}"
        hint = f"did you mean {near}?" if near else f"there are: {some}" if names else "is it in another one (-n)?"
        return f"there is no {contract.KIND} {name} in namespace {self.namespace}; {hint}"

    def _ask(
        self,
        verb: str,
        path: str,
        resource: str,
        query: Mapping[str, str] | None = None,
        body: Json | str | None = None,
        content_type: str = _MERGE_PATCH,
    ) -> Answer:
        response = self._open(verb, path, query or {}, body, self._timeout, content_type)
        with self._reaching():
            answer = Answer(response.status, response.read())
        return check(answer, verb, path, resource, self.namespace)

    def _open(
        self,
        verb: str,
        path: str,
        query: Mapping[str, str],
        body: Json | str | None,
        seconds: float | None,
        content_type: str = _MERGE_PATCH,
    ) -> Any:
        """Return the response, whose content has not been read; without `seconds` it may be silent for any time."""
        import urllib3

        kind = content_type if verb == "PATCH" else "application/json"
        headers = {"Accept": "application/json, */*", **({"Content-Type": kind} if body else {})}
        verb, url, headers, *rest = self._client.param_serialize(
            verb,
            path,
            query_params=list(query.items()),
            body=body,
            header_params=headers,
            auth_settings=["BearerToken"],
        )
        repeated = urllib3.HTTPHeaderDict(headers)
        for name, value in self._impersonated:
            repeated.add(name, value)
        with self._reaching():
            return self._client.call_api(verb, url, repeated, *rest, _request_timeout=seconds or (self._timeout, None))

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        """Turn the lack of an answer into one sentence."""
        try:
            yield
        except _closed_errors() as problem:
            host = self._client.configuration.host
            raise UnreachableError(f"the API server {host} cannot be reached: {_cause(problem)}") from None


def _lines(response: Any) -> Iterator[str]:
    """Yield the lines of a response as they arrive; it ends where the connection does."""
    rest = b""
    try:
        while data := response.read1():
            *lines, rest = (rest + data).split(b"\n")
            yield from (line.decode(errors="replace") for line in lines)
    except _closed_errors():
        return
    finally:
        response.close()
    if rest:
        yield rest.decode(errors="replace")


def _closed_errors() -> tuple[type[Exception], ...]:
    """Return what is raised where a connection fails or is closed."""
    import urllib3
    from kubernetes.client.exceptions import ApiException

    return (urllib3.exceptions.HTTPError, ApiException, OSError)


@contextmanager
def connect(access: Access, timeout: float = TIMEOUT) -> Iterator[Connection]:
    """Connect by the kubeconfig that kubectl would use; in a pod without one as the pod's service account.

    A request may take `timeout` seconds.
    """
    try:
        from kubernetes import client, config
    except ImportError:
        raise ClusterError("live commands need the Kubernetes client: install the package with [operator]") from None
    settings = client.Configuration()
    settings.retries = False
    # The client read the variable once, when it was imported.
    file = access.kubeconfig or os.environ.get("KUBECONFIG") or None
    try:
        if (
            file is None
            and access.context is None
            and impersonation.is_service_account(config.KUBE_CONFIG_DEFAULT_LOCATION)
        ):
            config.load_incluster_config(settings)
            context: Json = {"namespace": impersonation.account_namespace()}
            impersonated: impersonation.Headers = ()
        else:
            config.load_kube_config(file, access.context, settings, persist_config=False)
            context = kubeconfig.context(file, access.context)
            impersonated = impersonation.headers(kubeconfig.user(file, context))
        namespace = access.namespace or str(context.get("namespace") or "default")
    except kubeconfig.faults() as problem:
        reason = " ".join(str(problem).split()).rstrip(".")
        source = f" ({file})" if file and file not in reason else ""
        raise ClusterError(f"no cluster: {reason}{source}. Give --kubeconfig, --context or $KUBECONFIG.") from None
    with client.ApiClient(settings) as api:
        yield Connection(api, namespace, impersonated, timeout)


def _cause(problem: Exception) -> str:
    """The last part of urllib3's nested words."""
    text = str(getattr(problem, "reason", None) or problem)
    return text.rpartition(": ")[2].rstrip(".") or type(problem).__name__
