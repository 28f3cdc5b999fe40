"""What is done to a training. Each function does one thing, at once, and says when (seconds since the epoch)."""

import os
import signal
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from demonstration.kubectl import DemoError
from demonstration.story import NAMESPACE as OPERATOR_NAMESPACE
from neuron_api import contract
from offline import nodeprograms

from . import processes
from .cluster_fixture import Ground
from .job import TrialJob
from .processes import Process

Harm = Callable[[TrialJob], float]


def kill_rank(job: TrialJob, rank: int = 3) -> float:
    """kill -9 of one rank; its launcher stays."""
    victim = _rank(job, rank)
    at = now()
    victim.kill()
    return at


def kill_launcher(job: TrialJob, index: int = 1) -> float:
    """kill -9 of the agent: its container ends."""
    pod = job.pods()[index]
    victim = next((one for one in processes.of_pods([pod.uid]) if one.is_launcher), None)
    if victim is None:
        raise DemoError(f"no launcher in {pod.name}")
    at = now()
    victim.kill()
    return at


def stop_rank(job: TrialJob, rank: int = 3) -> float:
    """SIGSTOP: the others wait for it in a collective."""
    victim = _rank(job, rank)
    at = now()
    victim.send(signal.SIGSTOP)
    return at


def delete_pod(job: TrialJob, index: int = 1) -> float:
    """`kubectl delete pod`, as a drain does: SIGTERM, and time to save."""
    pod = job.pods()[index]
    at = now()
    job.ground.kubectl.run("delete", "pod", pod.name, "--wait=false")
    return at


def kill_operator(job: TrialJob) -> float:
    """kill -9 of the operator."""
    victims = [one for one in processes.of_pods(operator_pods(job.ground)) if one.is_launcher]
    if not victims:
        raise DemoError("the operator does not run")
    at = now()
    for victim in victims:
        victim.kill()
    return at


def restart_api_server(job: TrialJob) -> float:
    """SIGKILL of the API server, which is started again: every watch is cut, every request fails meanwhile."""
    at = now()
    job.ground.cluster.command("stop kube-apiserver")
    job.ground.cluster.command("start kube-apiserver")
    return at


def stop_kubelet(job: TrialJob) -> float:
    """Of the spare node; its containers go on."""
    at = now()
    job.ground.cluster.command(f"stop kubelet{nodeprograms.SPARE.suffix}")
    return at


def start_kubelet(job: TrialJob) -> float:
    """Again."""
    at = now()
    job.ground.cluster.command(f"start kubelet{nodeprograms.SPARE.suffix}")
    return at


def cut_off_a_save(job: TrialJob, bound: float = 60) -> float:
    """kill -9 of all launchers while the newest checkpoint has a shard and no marker yet."""
    launchers = [one for one in job.processes() if one.is_launcher]
    deadline = time.monotonic() + bound
    while time.monotonic() < deadline:
        if (half := _incomplete(job.log_dir / contract.CHECKPOINTS_DIR)) is not None:
            at = now()
            for one in launchers:
                one.kill()
            if not (half / contract.CHECKPOINT_MARKER).exists():
                return at
            raise DemoError("the save was quicker than the kill")
    raise DemoError(f"no save was seen within {bound:.0f} s")


def fill(folder: Path, leave: int) -> Path:
    """A file that leaves so many bytes of a file system free."""
    found = os.statvfs(folder)
    size = max(0, found.f_bavail * found.f_frsize - leave)
    path = folder / "ballast"
    with path.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, size)
    return path


def operator_pods(ground: Ground) -> list[str]:
    """UIDs."""
    pods = ground.get(f"/api/v1/namespaces/{OPERATOR_NAMESPACE}/pods").get("items", [])
    return [str(pod["metadata"]["uid"]) for pod in pods]


def _rank(job: TrialJob, rank: int) -> Process:
    found = [one for one in job.processes() if one.rank == rank]
    if not found:
        raise DemoError(f"no process rank-{rank}")
    return found[0]


def _incomplete(checkpoints: Path) -> Path | None:
    try:
        newest = max(checkpoints.glob("*.ckpt"), key=lambda path: path.stat().st_mtime_ns, default=None)
        if newest is None or (newest / contract.CHECKPOINT_MARKER).exists() or not any(newest.glob("*.distcp")):
            return None
        return newest
    except FileNotFoundError:
        return None


def seconds_since(moment: float, stamp: str) -> float:
    """From a moment (seconds since the epoch) to a time stamp of the API."""
    return datetime.fromisoformat(stamp).timestamp() - moment


def now() -> float:
    """Seconds since the epoch, as all of these say it."""
    return time.time()
