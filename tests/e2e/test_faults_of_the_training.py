"""A rank, an agent, a pod is lost in a real training: it goes on, loses little, leaves nothing, and tells the truth."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from fault_table import Row, Trial
from neuron_operator.planning.failures.hang import KNOWN_AFTER
from trials import faults
from trials.cluster_fixture import Ground
from trials.faults import Harm
from trials.job import EVERY, TrialJob

from .conftest import Numbers


@dataclass(frozen=True)
class Fault:
    """What is done, how often, and what the ledger must say about it."""

    name: str
    harm: Harm
    tries: int
    rung: str
    causes: tuple[str, ...]
    most_lost: int = EVERY + 1
    blamed: bool = True
    spec: dict[str, Any] | None = None
    source: str = ""
    """Where the ledger says that the step was; by default anywhere."""


FAULTS = [
    Fault("kill -9 of a rank", faults.kill_rank, 3, "Process", ("ProcessKilled",)),
    Fault("kill -9 of rank 0", partial(faults.kill_rank, rank=0), 2, "Process", ("ProcessKilled",)),
    Fault("kill -9 of the agent of pod 1", faults.kill_launcher, 2, "Pod", ("ProcessKilled",)),
    Fault("kill -9 of the agent of pod 0", partial(faults.kill_launcher, index=0), 1, "Pod", ("ProcessKilled",)),
    Fault("SIGSTOP of a rank", faults.stop_rank, 2, "Gang", ("Hang",), blamed=False,
          spec={"hangPolicy": {"minStepSeconds": 10, "saveSeconds": 60}}),
    Fault("pod 0 deleted", partial(faults.delete_pod, index=0), 2, "Pod", ("PodDeleted",), most_lost=0),
    Fault("pod 1 deleted", faults.delete_pod, 2, "Pod", ("PodDeleted",), most_lost=0),
    Fault("kill -9 of a rank, copies in memory", faults.kill_rank, 2, "Process", ("ProcessKilled",), most_lost=1,
          spec={"memoryCheckpoints": {"everySteps": 1}}, source="Memory"),
    Fault("kill -9 of the agent of pod 1, copies in memory on both nodes", faults.kill_launcher, 1, "Pod",
          ("ProcessKilled",), most_lost=1, spec={"memoryCheckpoints": {"everySteps": 1, "replicas": 1}}, source="Peer"),
]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name.replace(" ", "-"))
def test_a_training_that_loses_a_part_goes_on_as_if_nothing_had_been(
    ground: Ground, unbroken: Numbers, trial: Trial, fault: Fault
) -> None:
    seconds = []
    with TrialJob(ground, "trial", **(fault.spec or {})) as job:
        for number in range(1, fault.tries + 1):
            job.wait_step(job.last_step() + EVERY + 4)
            job.wait("a pace that the operator knows", lambda: _measured(job) >= KNOWN_AFTER or None)
            at = fault.harm(job)
            line = job.wait_recovered(number)[-1]
            seconds.append(faults.seconds_since(at, line["recoveredTime"]))
            assert (line["restartScope"], line["cause"]) == (fault.rung, line["cause"]), job.why()
            assert line["cause"] in fault.causes, job.why()
            assert line["stepsLost"] <= fault.most_lost, job.why()
            assert fault.blamed or not line.get("pod"), job.why()
            assert not fault.source or line["resumeSource"] == fault.source, job.why()
        lost = finished(job, unbroken, restarts=fault.tries)
        orphans = job.remove()
    assert orphans == []
    trial(Row(fault.name, "cluster", fault.tries, lost, len(orphans), seconds, "Succeeded, losses equal"))


def _measured(job: TrialJob) -> int:
    """Steps from which the operator has learned how long one takes: a hang before that has another bound."""
    return int(job.status().get("progress", {}).get("measuredSteps", 0))


def finished(job: TrialJob, unbroken: Numbers, restarts: int) -> int:
    """The job has succeeded with the numbers of the unbroken run and a true ledger; the steps it lost."""
    assert job.wait_end() == "Succeeded", job.why()
    numbers = job.numbers()
    assert list(numbers) == list(range(1, job.steps + 1)), job.why()
    assert all(numbers[step] == unbroken[step] for step in numbers.keys() & unbroken.keys()), job.why()
    status = job.status()
    assert status["restartCount"] == len(status["restarts"]) == restarts, job.why()
    assert status.get("stepsLost", 0) == sum(line["stepsLost"] for line in status["restarts"])
    return int(status.get("stepsLost", 0))
