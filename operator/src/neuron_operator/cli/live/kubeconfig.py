"""What a kubeconfig says: its contexts, and of one the cluster, the user and the namespace."""

import os
from collections.abc import Mapping
from typing import Any


def faults() -> tuple[type[Exception], ...]:
    """Return what the client raises for a kubeconfig that is missing or damaged: no YAML, no text, of another form."""
    from kubernetes import config
    from yaml import YAMLError

    return (config.ConfigException, OSError, YAMLError, ValueError, TypeError, AttributeError, LookupError)


def current_context(file: str | None, name: str | None) -> str:
    """Return the name of the context that is used: `name` where one is chosen, and in a pod without a kubeconfig the
    cluster that it is in."""
    from kubernetes import config

    if name:
        return name
    try:
        _, active = config.list_kube_config_contexts(file or os.environ.get("KUBECONFIG") or None)
    except faults():
        return "this cluster"
    return str(active["name"])


def contexts() -> list[str]:
    """Return the names of the kubeconfig's contexts; none where it cannot be read."""
    from kubernetes import config

    try:
        entries, _ = config.list_kube_config_contexts(os.environ.get("KUBECONFIG") or None)
        return [str(entry["name"]) for entry in entries]
    except faults():
        return []


def context(file: str | None, name: str | None) -> dict[str, Any]:
    """Return cluster, user and namespace, as kubectl chooses them."""
    from kubernetes import config

    contexts, active = config.list_kube_config_contexts(file)
    chosen = next((entry for entry in contexts if entry["name"] == name), active) if name else active
    return dict(chosen["context"])


def user(file: str | None, context: Mapping[str, Any]) -> dict[str, Any]:
    """Return the context's entry under `users`; empty where it has none, which the client has accepted."""
    from kubernetes.config import kube_config

    merged = kube_config.KubeConfigMerger(file or kube_config.KUBE_CONFIG_DEFAULT_LOCATION).config.value
    entries = (
        entry.value if isinstance(entry, kube_config.ConfigNode) else entry for entry in merged.get("users") or ()
    )
    return next((dict(entry.get("user") or {}) for entry in entries if entry["name"] == context.get("user")), {})
