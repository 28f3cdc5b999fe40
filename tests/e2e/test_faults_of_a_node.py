"""The spare node's kubelet stops; the node is cut off the power and deleted. Real programs, the second of two nodes."""

from collections.abc import Iterator

import pytest

from fault_table import Row, Trial
from offline import nodeprograms
from trials import faults
from trials.cluster_fixture import Ground, spare_node
from trials.job import TrialJob

from .conftest import Numbers
from .test_faults_of_the_training import finished

SPARE = nodeprograms.SPARE.name
NOT_READY_SECONDS = 150
"""The node controller waits 50 s for a kubelet's lease (Kubernetes 1.34)."""
LONG = 1500
"""Steps of a training that is still there then."""


@pytest.fixture
def two_nodes(ground: Ground) -> Iterator[Ground]:
    """The spare node takes pods for the time of a test."""
    spare_node(ground)
    yield ground
    ground.kubectl.run("cordon", SPARE, check=False)


def test_a_kubelet_that_stops_and_comes_back_costs_nothing_that_the_ledger_does_not_tell(
    two_nodes: Ground, unbroken: Numbers, trial: Trial
) -> None:
    with TrialJob(two_nodes, "trial", steps=LONG) as job:
        job.wait_step(8)
        assert sorted(pod.node for pod in job.pods()) == ["node-0", SPARE], "one pod on each node"
        at = faults.stop_kubelet(job)
        try:
            job.wait("the node to be not ready", lambda: _is_not_ready(two_nodes) or None, NOT_READY_SECONDS)
            step = job.last_step()
            job.wait_step(step + 3)  # The containers go on.
        finally:
            faults.start_kubelet(job)
        lost = finished(job, unbroken, restarts=len(job.restarts()))
        told = [(line["restartScope"], line["cause"]) for line in job.restarts()]
        assert set(told) <= {("Pod", "NodeLost"), ("Pod", "PodEvicted"), ("Pod", "PodDeleted")}, job.why()
        seconds = [faults.seconds_since(at, line["recoveredTime"]) for line in job.restarts()]
        orphans = job.remove()
    assert orphans == []
    trial(
        Row("kubelet stopped until NotReady, then started", "cluster", 1, lost, 0, seconds, "Succeeded, losses equal")
    )


def test_a_node_without_power_that_is_deleted_is_replaced_by_another(
    two_nodes: Ground, unbroken: Numbers, trial: Trial
) -> None:
    with TrialJob(two_nodes, "trial") as job:
        job.wait_step(8)
        assert sorted(pod.node for pod in job.pods()) == ["node-0", SPARE], "one pod on each node"
        two_nodes.cluster.kill_spare_node()
        at = faults.now()
        two_nodes.kubectl.run("delete", "node", SPARE)  # As a cloud's node controller does.
        (line,) = job.wait_recovered(1)
        assert (line["restartScope"], line["cause"], line["node"]) == ("Pod", "NodeLost", SPARE), job.why()
        seconds = faults.seconds_since(at, line["recoveredTime"])
        lost = finished(job, unbroken, restarts=1)
        assert {pod.node for pod in job.pods()} == {"node-0"}
        orphans = job.remove()
    assert orphans == []
    trial(Row("node without power, deleted", "cluster", 1, lost, len(orphans), [seconds], "Succeeded, losses equal"))


def _is_not_ready(ground: Ground) -> bool:
    conditions = ground.get(f"/api/v1/nodes/{SPARE}").get("status", {}).get("conditions", [])
    return any(one["type"] == "Ready" and one["status"] != "True" for one in conditions)
