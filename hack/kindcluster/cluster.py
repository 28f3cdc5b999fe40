"""A kind cluster that somebody made: images into it, the claim of the examples, its kubeconfig.

It has not been run on a real kind cluster (Docker cannot run where this is developed); tests/unit/test_kind_cluster.py
runs it against stand-ins of `kind` and `docker`.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from controlplane.errors import ClusterError, MissingRequirement
from controlplane.locations import cache_directory
from controlplane.shell import run

CLAIM = Path(__file__).resolve().parent / "claim.yaml"
DIRECTORY = "/var/lib/training"
"""On the node, as claim.yaml has it."""
PROGRAMS = ("docker", "kind", "kubectl")
LOAD_SECONDS = 900


@dataclass(frozen=True)
class KindCluster:
    """One cluster, by the name that `kind get clusters` prints."""

    name: str

    @classmethod
    def find(cls) -> KindCluster:
        """The one that KIND_CLUSTER names, `kind` by default; it must have one node."""
        if missing := [program for program in PROGRAMS if shutil.which(program) is None]:
            raise MissingRequirement(
                f"CLUSTER=kind needs {', '.join(missing)} on the PATH. CLUSTER=current takes the cluster of your "
                "kubectl context, CLUSTER=local builds one without Docker."
            )
        name = os.environ.get("KIND_CLUSTER") or "kind"
        if name not in run("kind", "get", "clusters").split():
            raise ClusterError(
                f"There is no kind cluster {name}. Create it: kind create cluster --name {name}, or name another one "
                "with KIND_CLUSTER."
            )
        cluster = cls(name)
        if len(nodes := cluster.nodes()) != 1:
            raise ClusterError(
                f"kind cluster {name} has {len(nodes)} nodes; the claim of the examples is a directory of a node, "
                "which they do not share. Create one with a single node: kind create cluster --name training, and set "
                "KIND_CLUSTER=training."
            )
        return cluster

    def nodes(self) -> list[str]:
        """Names of the containers that are its nodes."""
        return run("kind", "get", "nodes", "--name", self.name).split()

    def load(self, image: str) -> None:
        """Copy an image from Docker to the node; kind skips one that is there already."""
        run("kind", "load", "docker-image", image, "--name", self.name, timeout=LOAD_SECONDS)

    def kubeconfig(self) -> Path:
        """A file for this cluster alone: the current context of kubectl may be another one."""
        path = cache_directory() / f"kind-{self.name}.kubeconfig"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(run("kind", "get", "kubeconfig", "--name", self.name))
        return path

    def create_claim(self) -> None:
        """The claim `training`, on a directory that the user of the pods may write to."""
        for node in self.nodes():
            run("docker", "exec", node, "install", "--directory", "--mode", "0777", DIRECTORY)
        run("kubectl", f"--kubeconfig={self.kubeconfig()}", "apply", "--filename", CLAIM)
