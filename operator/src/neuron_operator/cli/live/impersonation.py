"""The user that a kubeconfig acts as (`users[].user.as`), which the Kubernetes client for Python ignores: without these
headers a command would act with all the rights of the person who runs it."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from neuron_operator.kube.errors import ClusterError

Headers = tuple[tuple[str, str], ...]
"""Pairs, since groups and extra values repeat a name."""

_FIELDS: Final = ("as", "as-uid", "as-groups", "as-user-extra")
_PLAIN: Final = "!#$&'*+^`|"
"""Characters of a header's name that are not escaped, beside letters, digits and `_.-~`."""


def headers(user: Mapping[str, Any]) -> Headers:
    """Return what every request needs, from the user's entry in the kubeconfig; raises `ClusterError` for values that
    kubectl refuses, too."""
    if not any(user.get(field) for field in _FIELDS):
        return ()
    if not user.get("as"):
        raise ClusterError("the kubeconfig has as-uid, as-groups or as-user-extra without `as`: add the user's name")
    return tuple(_headers(user))


def _headers(user: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "Impersonate-User", _value("as", user["as"])
    if user.get("as-uid"):
        yield "Impersonate-Uid", _value("as-uid", user["as-uid"])
    for group in _list("as-groups", user.get("as-groups")):
        yield "Impersonate-Group", group
    extra = user.get("as-user-extra") or {}
    if not isinstance(extra, Mapping):
        raise _fault("as-user-extra", "a mapping of lists of strings", extra)
    for key, values in extra.items():
        name = quote(str(key).lower(), safe=_PLAIN)
        for value in _list(f"as-user-extra.{key}", values):
            yield f"Impersonate-Extra-{name}", value


def _list(field: str, values: Any) -> Iterator[str]:
    if not isinstance(values, list | None):
        raise _fault(field, "a list of strings", values)
    for value in values or ():
        yield _value(field, value)


def _value(field: str, value: Any) -> str:
    if not isinstance(value, str) or not value.isprintable():
        raise _fault(field, "a string", value)
    return value


def _fault(field: str, expected: str, value: Any) -> ClusterError:
    return ClusterError(f"the kubeconfig's {field} must be {expected}, got {value!r}")


ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where the kubelet mounts it."""
_SERVER: Final = "KUBERNETES_SERVICE_HOST"
"""The kubelet sets this variable in every container."""


def is_service_account(default_kubeconfig: str) -> bool:
    """Return whether this process is in a pod with a service account, and there is no kubeconfig at the usual place."""
    has_file = Path(default_kubeconfig).expanduser().exists()
    return _SERVER in os.environ and not has_file and (ACCOUNT / "token").exists()


def account_namespace() -> str:
    """Return the pod's namespace; empty where the kubelet does not say."""
    try:
        return (ACCOUNT / "namespace").read_text().strip()
    except OSError:
        return ""
