"""What the live commands ask the API server, as the user's kubeconfig says: the only module of the command line that
knows the Kubernetes client, which takes 0.3 s to import.

An answer that is no success becomes one sentence: a `ClusterError`; a `MayNotError` names the missing right.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from neuron_api import contract
from neuron_api.findings.suggestions import nearest
from neuron_operator.kube.errors import ClusterError, MayNotError, UnreachableError

from . import impersonation

Json = dict[str, Any]

TIMEOUT: Final = 20.0
FIELD_MANAGER: Final = "kubectl-neuron"
_MAX_NAMES: Final = 10
_MERGE_PATCH: Final = "application/merge-patch+json"
_JOBS: Final = f"/apis/{contract.API_VERSION}/namespaces/{{}}/{contract.PLURAL}"


@dataclass(frozen=True, slots=True)
class Access:
    """The flags that kubectl has as well."""

    kubeconfig: str | None = None
    context: str | None = None
    namespace: str | None = None


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    content: bytes

    @property
    def body(self) -> Json:
        try:
            parsed = json.loads(self.content)
        except ValueError:
            return {"message": self.content[:200].decode(errors="replace")}
        return parsed if isinstance(parsed, dict) else {}

    @property
    def message(self) -> str:
        return str(self.body.get("message") or f"status {self.status}")


class Connection:
    """One namespace of one cluster; made by `connect`."""

    def __init__(self, client: Any, namespace: str, impersonated: impersonation.Headers = ()) -> None:
        self._client, self.namespace, self._impersonated = client, namespace, impersonated

    def job(self, name: str) -> Json:
        """The NeuronTrainingJob; where it is not, the sentence names those that might be meant."""
        path = f"{_JOBS.format(self.namespace)}/{name}"
        answer = self._ask("GET", path, contract.PLURAL)
        if answer.status == 404:
            raise ClusterError(self._not_found(name, answer))
        return answer.body

    def pods(self, job: str) -> list[Json]:
        """Every pod with the job's label."""
        query = {"labelSelector": f"{contract.LABEL_JOB}={job}"}
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

    def progress(self, pod: str) -> bytes | None:
        """Return what the pod's launcher answers at `/progress`, through the API server; None without an answer."""
        place = f"pods/{pod}:{contract.PROGRESS_PORT}/proxy{contract.PROGRESS_PATH}"
        answer = self._ask("GET", f"/api/v1/namespaces/{self.namespace}/{place}", "pods/proxy")
        return answer.content if answer.status == 200 else None

    def change(self, name: str, spec: Mapping[str, Any]) -> Json:
        """Merge fields into the job's spec, under a field manager of this command's own."""
        query = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict"}
        path = f"{_JOBS.format(self.namespace)}/{name}"
        answer = self._ask("PATCH", path, contract.PLURAL, query, {"spec": dict(spec)})
        if answer.status != 200:
            raise ClusterError(f"{name} was not changed: {answer.message}")
        return answer.body

    def _items(self, path: str, resource: str, query: Mapping[str, str]) -> list[Json]:
        answer = self._ask("GET", path, resource, query)
        if answer.status != 200:
            raise ClusterError(f"{resource} in namespace {self.namespace}: {answer.message}")
        return list(answer.body.get("items") or ())

    def _not_found(self, name: str, answer: _Answer) -> str:
        if not answer.body.get("details", {}).get("name"):
            return f"this cluster knows no {contract.KIND}: install the operator's chart, or choose another --context"
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
        body: Json | None = None,
    ) -> _Answer:
        import urllib3
        from kubernetes.client.exceptions import ApiException

        headers = {"Accept": "application/json, */*", **({"Content-Type": _MERGE_PATCH} if body else {})}
        verb, url, headers, *rest = self._client.param_serialize(
            verb,
            path,
            query_params=list((query or {}).items()),
            body=body,
            header_params=headers,
            auth_settings=["BearerToken"],
        )
        repeated = urllib3.HTTPHeaderDict(headers)
        for name, value in self._impersonated:
            repeated.add(name, value)
        try:
            response = self._client.call_api(verb, url, repeated, *rest, _request_timeout=TIMEOUT)
            answer = _Answer(response.status, response.read())
        except (urllib3.exceptions.HTTPError, ApiException, OSError) as problem:
            host = self._client.configuration.host
            raise UnreachableError(f"the API server {host} cannot be reached: {_cause(problem)}") from None
        if answer.status == 401:
            raise ClusterError("the API server does not accept your credentials: log in again, or see --context")
        if answer.status == 403:
            raise MayNotError(_needed(verb, path, resource, self.namespace, answer.message))
        if answer.status >= 500 and resource != "pods/proxy":
            raise UnreachableError(f"the API server answers {answer.status}: {answer.message}")
        return answer


@contextmanager
def connect(access: Access) -> Iterator[Connection]:
    """Connect by the kubeconfig that kubectl would use."""
    try:
        from kubernetes import client, config
    except ImportError:
        raise ClusterError("live commands need the Kubernetes client: install the package with [operator]") from None
    settings = client.Configuration()
    settings.retries = False
    # The client read the variable once, when it was imported.
    file = access.kubeconfig or os.environ.get("KUBECONFIG") or None
    try:
        config.load_kube_config(file, access.context, settings, persist_config=False)
        context = _context(config, file, access.context)
        namespace = access.namespace or str(context.get("namespace") or "default")
        impersonated = impersonation.headers(_user(file, context))
    except (config.ConfigException, OSError, TypeError, AttributeError) as problem:
        raise ClusterError(f"no cluster: {problem} Give --kubeconfig, --context or $KUBECONFIG.") from None
    with client.ApiClient(settings) as api:
        yield Connection(api, namespace, impersonated)


def _context(config: Any, file: str | None, name: str | None) -> Json:
    """Cluster, user and namespace, as kubectl chooses them."""
    contexts, active = config.list_kube_config_contexts(file)
    chosen = next((entry for entry in contexts if entry["name"] == name), active) if name else active
    return dict(chosen["context"])


def _user(file: str | None, context: Json) -> Json:
    """The context's entry under `users`; empty where it has none, which the client has accepted."""
    from kubernetes.config import kube_config

    merged = kube_config.KubeConfigMerger(file or kube_config.KUBE_CONFIG_DEFAULT_LOCATION).config.value
    entries = (
        entry.value if isinstance(entry, kube_config.ConfigNode) else entry for entry in merged.get("users") or ()
    )
    return next((dict(entry.get("user") or {}) for entry in entries if entry["name"] == context.get("user")), {})


def _needed(verb: str, path: str, resource: str, namespace: str, message: str) -> str:
    """A sentence that can be forwarded to whoever gives rights."""
    group = contract.GROUP if resource == contract.PLURAL else ""
    place = path.rstrip("/").rpartition("/")[2]
    action = {"PATCH": "patch"}.get(verb, "list" if place == resource else "get")
    name = f"{resource}.{group}" if group else resource
    return (
        f"you may not {action} {name} in namespace {namespace}. A Role is needed with "
        f'apiGroups: ["{group}"], resources: [{resource}], verbs: [{action}]. The API server says: {message}'
    )


def _cause(problem: Exception) -> str:
    """The last part of urllib3's nested words."""
    text = str(getattr(problem, "reason", None) or problem)
    return text.rpartition(": ")[2].rstrip(".") or type(problem).__name__
