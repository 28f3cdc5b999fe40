"""Where trials take place: the local cluster with its spare node, the operator by Helm, tiny data on a claim."""

import json
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from controlplane.apiclient import ApiClient
from controlplane.locations import default_state_directory
from demonstration import setting, story
from demonstration.kubectl import DemoError, Kubectl, wait_for
from offline import imageload, nodeprograms, volumes
from offline.cluster import Cluster
from offline.identity import ProcessIdentity

CLAIM = "trials"
SEQUENCE = 32
VOCABULARY = 96
_ROWS = 512
_AWAY_SECONDS = 60.0
_SPARE = nodeprograms.SPARE


@dataclass(frozen=True)
class Ground:
    """A cluster on which trials can be made."""

    cluster: Cluster
    kubectl: Kubectl
    client: ApiClient
    trainer_image: str
    storage: Path
    """Directory of the claim, as this process sees it."""

    def get(self, path: str) -> dict[str, Any]:
        """One object, or an empty mapping where there is none; an API server that is away is waited for, bounded."""
        deadline = time.monotonic() + _AWAY_SECONDS
        while True:
            status, body = self.client.get(path)
            if status == HTTPStatus.OK:
                found: dict[str, Any] = json.loads(body)
                return found
            if status == HTTPStatus.NOT_FOUND:
                return {}
            if time.monotonic() > deadline:
                raise DemoError(f"GET {path} gave no answer for {_AWAY_SECONDS:.0f} s: {status} {body[:200]}")
            time.sleep(0.1)

    def inside(self, path: Path) -> Path:
        """A path in the cluster's own mount namespace: what was mounted there is not seen outside."""
        return Path(f"/proc/{self.first_process}/root") / path.relative_to("/")

    @property
    def first_process(self) -> int:
        """Process 1 of the cluster's namespaces, by the number that it has out here."""
        identity = ProcessIdentity.load(self.cluster.state / "supervisor.json")
        assert identity is not None
        return identity.children()[0].pid


def prepare(console: Console, trainers: Callable[[Cluster, str], Mapping[str, str]] = lambda *_: {}) -> Ground:
    """Bring up what is missing.

    `trainers` makes further trainer images from that of CPU jobs, by their name in the chart's trainerImages.
    """
    where = setting.local(console)
    cluster = Cluster(default_state_directory())
    more = trainers(cluster, where.trainer_image)
    with setting.chapter(console, f"operator: CRD and chart (helm upgrade --install {story.RELEASE})"):
        story.install_operator(where, more)
    with setting.chapter(console, "claim and data"):
        storage = claim(cluster, where.kubectl, CLAIM)
        if not (storage / "data").exists():
            rows(storage / ".data")
            (storage / ".data").rename(storage / "data")
    return Ground(cluster, where.kubectl, cluster.client(), where.trainer_image, storage)


def claim(cluster: Cluster, kubectl: Kubectl, name: str) -> Path:
    """A claim that several pods may mount; its directory."""
    kubectl.apply(json.dumps({
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name},
        "spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}},
    }))  # fmt: skip
    wait_for(f"claim {name} to be bound", lambda: bool(_volume(kubectl, name)), seconds=60)
    number = int(_volume(kubectl, name).rpartition("-")[2])
    return volumes.directory(cluster.state, number)


def _volume(kubectl: Kubectl, name: str) -> str:
    return str(kubectl.get("persistentvolumeclaim", name).get("spec", {}).get("volumeName", ""))


def rows(folder: Path) -> None:
    """Walks of small steps, so that the loss falls."""
    from datasets import Dataset, disable_progress_bars

    disable_progress_bars()  # for a folder of 100 kB
    random = np.random.default_rng(3)
    walks = random.integers(0, VOCABULARY, (_ROWS, 1)) + random.integers(0, 4, (_ROWS, SEQUENCE)).cumsum(axis=1)
    ids = (walks % VOCABULARY).astype(np.int32)
    columns = {"input_ids": ids, "attention_mask": np.ones_like(ids), "labels": ids}
    Dataset.from_dict(columns).save_to_disk(str(folder))
    subprocess.run(["chmod", "-R", "a+rX", str(folder)], check=True)


def spare_node(ground: Ground) -> None:
    """Start it, or start it again; pods are placed on it until `ground.kubectl` cordons it."""
    cluster = ground.cluster
    if not cluster.has_spare_node():
        cluster.add_spare_node()
    if ground.trainer_image not in imageload.names(cluster.state, _SPARE):
        imageload.load_named(cluster.state, ground.trainer_image, place=_SPARE)
    ground.kubectl.run("uncordon", _SPARE.name)
