"""`make test-nxd`: jobs in the trainer's image for Trn1 on the local cluster, computed by PyTorch/XLA's CPU.

Two trainings, each broken and unbroken. The first is what runs on Trn1: image and device follow from the instance type,
the process is on a lazy device, and a compile phase comes before its first step; PyTorch/XLA's CPU has no collectives
between processes, so it is one process in one pod. The second is on hosts, with the same backend: two pods of two
processes with all their collectives.
"""

import shutil
from typing import Any, Final

from rich.console import Console

from demonstration.kubectl import DemoError
from demonstration.report import compare, parse_metrics
from demonstration.setting import chapter
from imagebuild import command, loading
from imagebuild.builder import Builder
from imagebuild.images import IMAGES, Built
from offline.cluster import Cluster

from . import faults, trainium_node
from .cluster_fixture import Ground, prepare
from .job import TrialJob, pod_template
from .trainium_node import NEURON

INSTANCE_TYPE: Final = "trn1.2xlarge"
"""One chip of two cores a node."""
STEPS: Final = 40
_BASE: Final = "debian:bookworm"
"""Has a Python that the vendor's wheels are made for."""
_COMPILED: Final = "compiled"
"""Folder of the claim."""
_ALONE: Final[dict[str, dict[str, Any]]] = {
    "trainer": {"devices": 1, "num_nodes": 1},
    "distributed_strategy": {"tensor_model_parallel_size": 1, "sequence_parallel": False},
}
Numbers = dict[int, dict[str, float]]


def main(console: Console) -> None:
    """Train; raise `DemoError` where something is not as it should be."""
    images: list[str] = []

    def build(cluster: Cluster, _: str) -> dict[str, str]:
        images.append(_image(console, cluster))
        return {"nxd": images[0]}

    ground = prepare(console, build)
    shutil.rmtree(ground.storage / _COMPILED, ignore_errors=True)  # of an earlier trial: nothing would compile
    with trainium_node.advertised(console, ground, INSTANCE_TYPE, [NEURON]):
        with chapter(console, f"job on {INSTANCE_TYPE}: compiles, loses its rank, then its pod"):
            broken = _on_trn1(ground, "trn1-broken", images[0], is_broken=True)
        with chapter(console, "the same job, unbroken: what is compiled is in the cache"):
            unbroken = _on_trn1(ground, "trn1-unbroken", images[0], is_broken=False)
    console.print(f"    losses, norms and rates are equal at all {compare(broken, unbroken)} steps")
    with chapter(console, "job of 2 x 2 processes on hosts, in the same image: loses a rank, then a pod"):
        broken = _on_hosts(ground, "hosts-broken", images[0], is_broken=True)
    with chapter(console, "the same job, unbroken"):
        unbroken = _on_hosts(ground, "hosts-unbroken", images[0], is_broken=False)
    console.print(f"    losses, norms and rates are equal at all {compare(broken, unbroken)} steps")


def _image(console: Console, cluster: Cluster) -> str:
    """Build the image on a base without runtime, with wheels of nothing in place of the vendor's, and load it."""
    with chapter(console, f"image: target nxd on {_BASE} with empty wheels"):
        if command.main(["build", "nxd", "--neuron-base-image", _BASE, "--cluster", "none"]):
            raise DemoError("The image was not built, see above.")
        built = Built.load(IMAGES["nxd"])
        assert built is not None
        loading.load(cluster, Builder.find(), built.image)
    return built.image


def _on_trn1(ground: Ground, name: str, image: str, *, is_broken: bool) -> Numbers:
    """Of the jobs of one fingerprint the first alone compiles."""
    config = {**_ALONE, "compiler_cache_url": f"/training/{_COMPILED}"}
    template = pod_template({"PJRT_DEVICE": "CPU"})
    platform = {"instanceType": INSTANCE_TYPE}
    with TrialJob(ground, name, steps=STEPS, config=config, platform=platform, podTemplate=template) as job:
        if is_broken:
            job.wait("phase Compiling", lambda: job.status().get("phase") == "Compiling", seconds=600)
        job.wait("phase Running", lambda: job.status().get("phase") == "Running", seconds=600)
        _check_pod(job, image)
        numbers = _break_and_end(job, rank=0, pod=0, is_broken=is_broken)
        _check_compilation(job, is_first=is_broken)
        return numbers


def _on_hosts(ground: Ground, name: str, image: str, *, is_broken: bool) -> Numbers:
    with TrialJob(ground, name, steps=STEPS, image=image) as job:
        return _break_and_end(job, rank=3, pod=1, is_broken=is_broken)


def _break_and_end(job: TrialJob, *, rank: int, pod: int, is_broken: bool) -> Numbers:
    if is_broken:
        job.wait_step(STEPS // 3, seconds=600)
        faults.kill_rank(job, rank)
        job.wait_recovered(1, seconds=600)
        job.wait_step(STEPS * 2 // 3, seconds=600)
        faults.delete_pod(job, pod)
    phase = job.wait_end(seconds=900.0)
    if phase != "Succeeded":
        raise DemoError(f"{job.name} ended {phase}: {job.why()}")
    scopes = [entry["restartScope"] for entry in job.restarts()]
    if scopes != (["Process", "Pod"] if is_broken else []):
        raise DemoError(f"{job.name}: the ledger has {scopes}")
    return parse_metrics((job.log_dir / "metrics.jsonl").read_text())


def _check_pod(job: TrialJob, image: str) -> None:
    """It has the image of the instance type and its device."""
    (pod,) = job.pods()
    container = next(one for one in pod.body["spec"]["containers"] if one["name"] == "trainer")
    if (container["image"], container["resources"]["limits"].get(NEURON)) != (image, "1"):
        raise DemoError(f"{pod.name} has {container['image']} and {container['resources']}")


def _check_compilation(job: TrialJob, *, is_first: bool) -> None:
    """The phase has ended with graphs where the job was the first of its fingerprint; restarts had none."""
    compilation = job.status().get("compilation", {})
    if bool(compilation.get("compiled")) != is_first:
        raise DemoError(f"{job.name}: status.compilation is {compilation}")
