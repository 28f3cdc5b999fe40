"""Storage: a default StorageClass over a few directories that all pods can share.

Enough for jobs whose claim is `ReadWriteMany`, without a provisioner: as many volumes as listed here are
there from the start, each a directory with mode 0777 (pods run as other users than root). A volume whose
claim is gone is emptied and offered again at the next `up`.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

STORAGE_CLASS = "local-shared"
COUNT = 24
_SIZE = "20Gi"


def directory(state: Path, number: int) -> Path:
    """Where a volume's files lie on this machine."""
    return state / "volumes" / f"shared-{number:02d}"


def manifests(state: Path, existing: list[dict[str, Any]]) -> tuple[list[str], str]:
    """Names of released volumes to delete first, then the objects to apply, as JSON for kubectl."""
    phases = {each["metadata"]["name"]: each.get("status", {}).get("phase") for each in existing}
    released, objects = [], [_storage_class()]
    for number in range(COUNT):
        path = directory(state, number)
        if phases.get(path.name) in {"Released", "Failed"}:
            released.append(path.name)
            shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(0o777)
        if path.name not in phases or path.name in released:
            objects.append(_volume(path))
    return released, json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})


def _storage_class() -> dict[str, Any]:
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": STORAGE_CLASS,
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "Immediate",
    }


def _volume(path: Path) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": path.name},
        "spec": {
            "capacity": {"storage": _SIZE},
            "accessModes": ["ReadWriteMany", "ReadWriteOnce", "ReadOnlyMany"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": STORAGE_CLASS,
            "hostPath": {"path": str(path), "type": "Directory"},
        },
    }
