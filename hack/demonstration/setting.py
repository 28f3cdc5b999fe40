"""Where the demo runs: kubectl, helm, and the two images."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from controlplane import toolchain
from controlplane.locations import HACK, default_state_directory
from kindcluster.cluster import KindCluster
from offline.cluster import Cluster

from .kubectl import DemoError, Kubectl


@dataclass(frozen=True)
class Setting:
    """A cluster that can run the demo."""

    console: Console
    kubectl: Kubectl
    helm: str
    operator_image: str
    trainer_image: str
    look_around: str


@contextmanager
def chapter(console: Console, title: str) -> Iterator[None]:
    """Say what comes and how long it took."""
    console.print(f"[bold cyan]==> {title}[/bold cyan]")
    start = time.monotonic()
    yield
    console.print(f"    [dim]{time.monotonic() - start:.1f} s[/dim]")


def local(console: Console) -> Setting:
    """Bring up what is not there yet: cluster, programs, images."""
    with chapter(console, "local cluster (make cluster-up)"):
        _run("cluster", "up")
    with chapter(console, "images (make images)"):
        _run("images", "build")
    images = _built_images()
    kubeconfig = Cluster(default_state_directory()).kubeconfig
    programs = toolchain.programs("kubectl", "helm")
    return Setting(
        console,
        Kubectl(str(programs["kubectl"]), str(kubeconfig)),
        str(programs["helm"]),
        images["operator"],
        images["trainer"],
        f"  export KUBECONFIG={kubeconfig}\n"
        "  kubectl get ntj -o wide; kubectl describe ntj quickstart; kubectl get events\n"
        "  make cluster-down     removes the cluster and everything in it",
    )


def kind(console: Console) -> Setting:
    """A cluster of kind: images are loaded into it, and the claim is a directory of its node."""
    cluster, helm = KindCluster.find(), shutil.which("helm")
    if helm is None:
        raise DemoError("CLUSTER=kind needs helm on the PATH.")
    with chapter(console, f"images into kind cluster {cluster.name} (CLUSTER=kind make images)"):
        _run("images", "build", "--cluster", "kind")
    with chapter(console, "the claim training, a directory of the node"):
        cluster.create_claim()
    images = _built_images()
    ways = (
        f"  kubectl config use-context kind-{cluster.name}\n"
        "  kubectl get ntj -o wide; kubectl describe ntj quickstart; kubectl get events"
    )
    kubectl = Kubectl(str(shutil.which("kubectl")), str(cluster.kubeconfig()))
    return Setting(console, kubectl, helm, images["operator"], images["trainer"], ways)


def current(console: Console) -> Setting:
    """What kubectl points at; the images are somewhere where its nodes find them."""
    kubectl, helm = shutil.which("kubectl"), shutil.which("helm")
    if kubectl is None or helm is None:
        raise DemoError("CLUSTER=current needs kubectl and helm on the PATH.")
    images = {name: os.environ.get(name, "") for name in ("OPERATOR_IMAGE", "TRAINER_IMAGE")}
    if missing := [name for name, value in images.items() if not value]:
        raise DemoError(
            f"CLUSTER=current needs {' and '.join(missing)} in the environment: build the images with `make images`, "
            "push them to a registry that the cluster pulls from, and name them."
        )
    where = Kubectl(kubectl, None)
    context = where.run("config", "current-context").strip()
    console.print(f"The demo runs in namespace {where.namespace} of context {context}.")
    ways = "  kubectl get ntj -o wide; kubectl describe ntj quickstart; kubectl get events"
    return Setting(console, where, helm, images["OPERATOR_IMAGE"], images["TRAINER_IMAGE"], ways)


def _built_images() -> dict[str, str]:
    """The newest images by their short names."""
    listed = subprocess.run([sys.executable, HACK / "images", "names"], capture_output=True, text=True, check=True)
    return dict(line.split() for line in listed.stdout.splitlines())


def _run(script: str, *arguments: str) -> None:
    """One of hack/'s scripts, its output as it comes."""
    done = subprocess.run([sys.executable, Path(HACK) / script, *arguments], check=False)
    if done.returncode:
        raise DemoError(f"hack/{script} {' '.join(arguments)} failed, see above.")
