"""Plain requests to the API server as its administrator, many of them over one connection."""

import http.client
import json
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from bounds import BOUND
from controlplane.controlplane import ControlPlane

Json = dict[str, Any]


class Requests:
    """An open connection."""

    def __init__(self, plane: ControlPlane) -> None:
        self._connection = http.client.HTTPSConnection(urlsplit(plane.url).netloc, context=plane.tls, timeout=BOUND)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def post(self, path: str, body: Json) -> tuple[int, Json, list[str]]:
        """Status, answer and warnings."""
        self._connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        with self._connection.getresponse() as answer:
            warnings = [value for name, value in answer.getheaders() if name.lower() == "warning"]
            return answer.status, json.loads(answer.read()), warnings

    def allows(self, account: str, namespace: str, verb: str, resource: str, name: str = "") -> bool:
        """Whether a ServiceAccount, `namespace:name`, may do that: `kubectl auth can-i --as`."""
        plural, _, group = resource.partition(".")
        kind, _, part = plural.partition("/")
        wanted = {"verb": verb, "group": group, "resource": kind, "subresource": part}
        wanted |= {"namespace": namespace, "name": name}
        groups = [
            "system:serviceaccounts",
            f"system:serviceaccounts:{account.partition(':')[0]}",
            "system:authenticated",
        ]
        spec = {"user": f"system:serviceaccount:{account}", "groups": groups, "resourceAttributes": wanted}
        return self._review(spec)

    def allows_path(self, account: str, verb: str, path: str) -> bool:
        """The same for a path that is no resource."""
        spec = {"user": f"system:serviceaccount:{account}", "nonResourceAttributes": {"verb": verb, "path": path}}
        return self._review(spec)

    def _review(self, spec: Json) -> bool:
        body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
        status, answer, _ = self.post("/apis/authorization.k8s.io/v1/subjectaccessreviews", body)
        assert status == 201, answer
        return bool(answer["status"].get("allowed"))
