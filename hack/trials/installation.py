"""`make test-install`: docs/install-eks.md on the local cluster, with devices that a plugin advertises and the stand-in
of a Neuron device in the trainer's image.

What is Kubernetes' own is done as the page says it: nodes with the instance type's label, taint and resources, the
chart with its values, jobs with `instanceType`, tensor parallel 2 x data parallel 2. What is AWS's (EC2, EKS, ECR, FSx)
the local cluster stands in for.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from rich.console import Console

from controlplane.locations import REPOSITORY, fingerprint
from demonstration.kubectl import DemoError, Kubectl
from demonstration.report import compare, parse_metrics
from demonstration.setting import chapter
from imagebuild import loading
from imagebuild.builder import Builder
from offline.cluster import Cluster

from . import faults, trainium_node
from .cluster_fixture import Ground, prepare
from .job import TrialJob, pod_template
from .trainium_node import EFA, NEURON

INSTANCE_TYPE: Final = "trn2.3xlarge"
"""One chip and one EFA interface a node: two pods of two processes take two nodes of it, which are one here."""
STEPS: Final = 40
_STAND_IN: Final = "localhost/neuron-trainer-stand-in"
_PAGE: Final = REPOSITORY / "docs" / "install-eks.md"


def main(console: Console) -> None:
    """Follow the page; raise `DemoError` where something is not as it says."""
    ground = prepare(console, lambda cluster, image: {"torchneuron": _image(console, cluster, image)})
    with trainium_node.advertised(console, ground, INSTANCE_TYPE, (NEURON, EFA)):
        _page(console, ground.kubectl)
        with chapter(console, f"job on {INSTANCE_TYPE}, unbroken"):
            unbroken = _train(ground, "install-unbroken", [])
        with chapter(console, "the same job, which loses a rank and a pod"):
            broken = _train(ground, "install-broken", [faults.kill_rank, faults.delete_pod])
        console.print(f"    losses, norms and rates are equal at all {compare(broken, unbroken)} steps")


def _image(console: Console, cluster: Cluster, trainer: str) -> str:
    """Build the trainer's image with the stand-in of a Neuron device beside it, and load it into the cluster."""
    sys.path.insert(0, str(REPOSITORY / "tests" / "support"))
    from neuron_device import build

    with chapter(console, "image: the trainer with the stand-in of a Neuron device"):
        site, builder = build.folder(), Builder.find()
        name = f"{_STAND_IN}:{fingerprint(trainer, site.name)[:12]}"
        if not builder.has(name):
            with tempfile.TemporaryDirectory() as scratch:
                shutil.copytree(site, Path(scratch, "site"))
                subprocess.run(["chmod", "-R", "a+rX", scratch], check=True)
                text = f"FROM {trainer}\nCOPY site /opt/stand-in\nENV PYTHONPATH=/opt/stand-in\n"
                builder.build(name, text, Path(scratch))
        loading.load(cluster, builder, name)
    return name


def _page(console: Console, kubectl: Kubectl) -> None:
    """The page's own look at the nodes, and its job of Trn2, which the API server must take."""
    text = _PAGE.read_text()
    columns = next(line for line in text.splitlines() if line.startswith("kubectl get nodes -o custom-columns"))
    shown = kubectl.run("get", "nodes", "--output", columns.partition("-o ")[2].strip("'"))
    if shown.split()[-3:] != [INSTANCE_TYPE, "2", "2"]:
        raise DemoError(f"the page's look at the nodes shows\n{shown}")
    console.print(shown.rstrip())
    taken = kubectl.run("apply", "--dry-run=server", "--filename", str(REPOSITORY / "examples" / "eks" / "job.yaml"))
    console.print(f"    {taken.strip()}")


def _train(ground: Ground, name: str, harms: list[faults.Harm]) -> dict[int, dict[str, float]]:
    """Train to the end with what is done to it on the way; return the numbers of each step."""
    template = pod_template({"NEURON_STANDIN_NODE": "/tmp/cores"})
    platform = {"instanceType": INSTANCE_TYPE}
    with TrialJob(ground, name, steps=STEPS, platform=platform, podTemplate=template) as job:
        for number, harm in enumerate(harms, start=1):
            job.wait_step(STEPS * number // (len(harms) + 1), seconds=900)
            harm(job)
        phase = job.wait_end(seconds=900.0)
        if phase != "Succeeded":
            raise DemoError(f"{name} ended {phase}: {job.why()}")
        _check_pods(job)
        scopes = sorted(entry["restartScope"] for entry in job.restarts())
        if len(scopes) != len(harms):
            raise DemoError(f"{name}: the ledger has {scopes}")
        return parse_metrics((job.log_dir / "metrics.jsonl").read_text())


def _check_pods(job: TrialJob) -> None:
    """The pods had the image of the instance type, its devices and interfaces."""
    for pod in job.pods():
        container = next(one for one in pod.body["spec"]["containers"] if one["name"] == "trainer")
        limits = container["resources"]["limits"]
        if (container["image"].partition(":")[0], limits.get(NEURON), limits.get(EFA)) != (_STAND_IN, "1", "1"):
            raise DemoError(f"{pod.name} has {container['image']} and {limits}")
