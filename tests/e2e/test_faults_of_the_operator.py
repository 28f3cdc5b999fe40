"""The operator is killed, the API server is restarted, the job suspended: a training goes on, or resumes."""

import json

import pytest

from fault_table import Row, Trial
from trials import faults
from trials.cluster_fixture import Ground
from trials.faults import Harm
from trials.job import TrialJob

from .conftest import Numbers
from .test_faults_of_the_training import finished


@pytest.mark.parametrize(
    ("name", "act"),
    [("operator killed", faults.kill_operator), ("API server killed and started", faults.restart_api_server)],
    ids=["operator", "API-server"],
)
def test_the_training_goes_on_and_a_rank_that_dies_meanwhile_is_told(
    ground: Ground, unbroken: Numbers, trial: Trial, name: str, act: Harm
) -> None:
    with TrialJob(ground, "trial") as job:
        job.wait_step(8)
        pods = [pod.uid for pod in job.pods()]
        act(job)
        at = faults.kill_rank(job)
        (line,) = job.wait_recovered(1)
        seconds = faults.seconds_since(at, line["recoveredTime"])
        assert (line["restartScope"], line["cause"]) == ("Process", "ProcessKilled"), job.why()
        act(job)
        lost = finished(job, unbroken, restarts=1)
        assert [pod.uid for pod in job.pods()] == pods, "no pod was replaced"
        orphans = job.remove()
    assert orphans == []
    trial(
        Row(f"{name}, a rank killed meanwhile", "cluster", 2, lost, len(orphans), [seconds], "Succeeded, losses equal")
    )


def test_a_job_that_is_suspended_and_resumed_loses_no_step(ground: Ground, unbroken: Numbers, trial: Trial) -> None:
    with TrialJob(ground, "trial") as job:
        job.wait_step(8)
        _suspend(job, True)
        job.wait("Suspended", lambda: job.status().get("phase") == "Suspended" or None, 180)
        assert not [one for one in job.processes() if one.rank is not None], "no rank is left"
        at = _suspend(job, False)
        (line,) = job.wait_recovered(1)
        assert (line["cause"], line["stepsLost"]) == ("Suspended", 0), job.why()
        seconds = faults.seconds_since(at, line["recoveredTime"])
        lost = finished(job, unbroken, restarts=1)
        orphans = job.remove()
    assert orphans == []
    trial(Row("suspended and resumed", "cluster", 1, lost, len(orphans), [seconds], "Succeeded, losses equal"))


def _suspend(job: TrialJob, is_set: bool) -> float:
    now = faults.now()
    patch = json.dumps({"spec": {"suspend": is_set}})
    job.ground.kubectl.run("patch", "ntj", job.name, "--type=merge", "--patch", patch)
    return now
