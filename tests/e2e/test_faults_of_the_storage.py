"""A checkpoint is cut off in the middle of its save; the disk is full while one is written."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fault_table import Row, Trial
from neuron_api import contract
from trials import faults
from trials.cluster_fixture import Ground, claim
from trials.job import TrialJob

from .conftest import Numbers
from .test_faults_of_the_training import finished

SMALL = "trials-small"
MEBIBYTES = 48


def test_a_checkpoint_cut_off_in_its_save_is_not_resumed_from(ground: Ground, unbroken: Numbers, trial: Trial) -> None:
    seconds, tries = [], 2
    with TrialJob(ground, "trial") as job:
        for number in range(tries):
            job.wait_step(job.last_step() + 8)
            lines = len(job.restarts())
            at = faults.cut_off_a_save(job)
            ledger = job.wait_recovered(lines + 1)
            seconds.append(faults.seconds_since(at, ledger[-1]["recoveredTime"]))
            assert all(line["cause"] == "ProcessKilled" for line in ledger), job.why()
            assert number < tries
        lost = finished(job, unbroken, restarts=len(ledger))
        left = [path for path in (job.log_dir / contract.CHECKPOINTS_DIR).iterdir() if not _is_whole(path)]
        assert left == [], "half-written checkpoints are removed"
        orphans = job.remove()
    assert orphans == []
    trial(Row("save cut off: both agents killed", "cluster", tries, lost, 0, seconds, "Succeeded, losses equal"))


def _is_whole(path: Path) -> bool:
    return (path / contract.CHECKPOINT_MARKER).exists()


def test_a_disk_that_is_full_while_saving_costs_the_save_and_says_so(
    ground: Ground, unbroken: Numbers, trial: Trial
) -> None:
    with _small_disk(ground) as disk:
        job = TrialJob(ground, "trial-small", claim=SMALL)
        job.log_dir = disk / job.name
        with job:
            job.wait_step(8)
            ballast = faults.fill(disk, leave=64 * 1024)
            line = job.wait("a failure in the ledger", lambda: next(iter(job.restarts()), None), 180)
            at = time.time()
            ballast.unlink()
            ledger = job.wait_recovered(1)
            seconds = faults.seconds_since(at, ledger[-1]["recoveredTime"])
            assert "No space left on device" in line["message"], job.why()
            lost = finished(job, unbroken, restarts=len(job.restarts()))
            orphans = job.remove()
    assert orphans == []
    trial(
        Row(
            "disk full while saving, then freed", "cluster", 1, lost, len(orphans), [seconds], "Succeeded, losses equal"
        )
    )


@contextmanager
def _small_disk(ground: Ground) -> Iterator[Path]:
    """A claim on a file system of its own, of a few MiB, inside the cluster's mount namespace."""
    folder = claim(ground.cluster, ground.kubectl, SMALL)
    enter = ["nsenter", "--target", str(ground.first_process), "--mount", "--pid"]
    options = f"size={MEBIBYTES}m,mode=0777"
    subprocess.run([*enter, "mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)
    try:
        inside = ground.inside(folder)
        subprocess.run(["cp", "-r", str(ground.storage / "data"), str(inside / "data")], check=True)
        yield inside
    finally:
        subprocess.run([*enter, "umount", "--lazy", str(folder)], check=True)
