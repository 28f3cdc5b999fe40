"""An answer of the API server: what it says, and the one sentence that an answer without success becomes."""

import json
from dataclasses import dataclass
from typing import Any

from neuron_api import contract
from neuron_operator.kube.errors import ClusterError, MayNotError, UnreachableError

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """Status and content, read."""

    status: int
    content: bytes

    @property
    def body(self) -> Json:
        """Return the object; what is none becomes its message."""
        try:
            parsed = json.loads(self.content)
        except ValueError:
            return {"message": self.content[:200].decode(errors="replace")}
        return parsed if isinstance(parsed, dict) else {}

    @property
    def message(self) -> str:
        """Return what the server says about it."""
        return str(self.body.get("message") or f"status {self.status}")


def check(answer: Answer, verb: str, path: str, resource: str, namespace: str) -> Answer:
    """Return the answer; raise for missing credentials or rights, and for a server in trouble."""
    if answer.status == 401:
        raise ClusterError("the API server does not accept your credentials: log in again, or see --context")
    if answer.status == 403:
        raise MayNotError(_needed(verb, path, resource, namespace, answer.message))
    if (answer.status >= 500 or answer.status == 429) and resource != "pods/proxy":
        raise UnreachableError(f"the API server answers {answer.status}: {answer.message}")
    return answer


def change_of_watch(line: bytes) -> Json:
    """Return a line of a watch; raise `ClusterError` for what no API server sends."""
    try:
        change = json.loads(line)
        if isinstance(change["type"], str) and isinstance(change["object"], dict):
            return dict(change)
    except (ValueError, TypeError, KeyError):
        pass
    start = line[:80].decode(errors="replace")
    raise ClusterError(f"{contract.PLURAL} cannot be watched: the answer is not that of an API server: {start}")


def _needed(verb: str, path: str, resource: str, namespace: str, message: str) -> str:
    """A sentence that can be forwarded to whoever gives rights."""
    group = contract.GROUP if resource == contract.PLURAL else ""
    place = path.rstrip("/").rpartition("/")[2]
    reading = "list" if place == resource else "get"
    action = {"PATCH": "patch", "POST": "create", "DELETE": "delete", "WATCH": "watch"}.get(verb, reading)
    name = f"{resource}.{group}" if group else resource
    return (
        f"you may not {action} {name} in namespace {namespace}. A Role is needed with "
        f'apiGroups: ["{group}"], resources: [{resource}], verbs: [{action}]. The API server says: {message}'
    )
