"""spec.elasticPolicy: a job shrinks when a pod finds no node, grows when there are nodes, and follows the spec."""

from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builders import OPTIONS
from neuron_api import contract
from neuron_api.resource.reasons import Reason
from neuron_api.resource.status import Phase, RestartScope
from neuron_operator.planning.status.changes import announcements
from unit.operator.elastic_cluster import GROW, SHRINK, ElasticCluster, causes, elastic, training, with_nodes


def test_a_live_job_keeps_its_nodes_where_the_spec_asks_for_what_is_not_legal() -> None:
    cluster = training(maxNodes=8)
    with_nodes(cluster, 5)
    cluster.advance(5)
    assert (cluster.nodes, cluster.status.attempt, cluster.status.phase) == (4, 0, Phase.RUNNING)
    (valid,) = [one for one in cluster.status.conditions if one.type == "ConfigValid"]
    assert valid.reason is Reason.CONFIG_ACCEPTED_WITH_WARNINGS
    assert "spec.elasticPolicy.nodes: 5 is not legal. Use one of 2, 3, 4, 6, 8." in valid.message


# ---- the spec asks ---------------------------------------------------------------------------------------------------


def test_a_job_starts_with_the_nodes_that_the_spec_asks_for() -> None:
    cluster = training(nodes=3)
    assert (cluster.nodes, len(cluster.gang()), cluster.status.attempt) == (3, 3, 0)
    topology = cluster.status.topology
    assert topology is not None
    assert (topology.nodes, topology.data_parallel, topology.micro_batches) == (3, 3, 8)
    variables = {one["name"]: one.get("value") for one in cluster.bodies["tiny-0-1"]["spec"]["containers"][0]["env"]}
    assert variables[contract.ENV_NUM_NODES] == "3"


def test_fewer_nodes_are_taken_away_at_once_and_nothing_is_done_twice() -> None:
    cluster = training()
    with_nodes(cluster, 2)
    cluster.settle()
    assert sorted(cluster.gang()) == ["tiny-1-0", "tiny-1-1"]
    (entry,) = cluster.status.restarts
    assert (entry.cause, entry.restart_scope, entry.step) == (Reason.SCALED_DOWN, RestartScope.GANG, 25)
    assert entry.message == "from 4 to 2 nodes, since the spec asks for 2."
    cluster.advance(3)
    (entry,) = cluster.status.restarts
    assert (entry.resumed_from_step, entry.steps_lost) == (25, 0)
    assert cluster.status.phase is Phase.RUNNING
    assert (cluster.status.gang_failures, cluster.status.counted_failures) == (0, ())


def test_a_job_that_has_ended_in_one_pod_is_not_begun_again_for_an_edit() -> None:
    cluster = training()
    ended = {"name": contract.CONTAINER, "image": "i", "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}
    for name in ("tiny-0-0", "tiny-0-1"):
        cluster.bodies[name]["status"] |= {"phase": "Succeeded", "containerStatuses": [ended]}
        with_nodes(cluster, 2)
        cluster.settle()
        assert (cluster.nodes, cluster.status.attempt, causes(cluster)) == (4, 0, [])


def test_more_nodes_come_after_a_checkpoint_once_standby_pods_have_them() -> None:
    cluster = training(capacity=2, nodes=2)
    with_nodes(cluster, 4)
    cluster.settle()
    assert sorted(cluster.standbys()) == ["tiny-0-2-standby", "tiny-0-3-standby"]
    cluster.advance(40)
    assert (cluster.nodes, cluster.status.attempt) == (2, 0), "no node has come"
    cluster.capacity = 4
    cluster.advance(3)
    assert cluster.nodes == 2, "the next checkpoint is awaited"
    cluster.advance(8)
    assert (cluster.nodes, cluster.standbys(), len(cluster.gang())) == (4, [], 4)
    (entry,) = cluster.status.restarts
    assert (entry.cause, entry.steps_lost) == (Reason.SCALED_UP, 0)


def test_a_checkpoint_of_the_second_in_which_standby_pods_were_placed_was_there_before_them() -> None:
    cluster = training(capacity=4, nodes=2, seconds=20)
    cluster.saved_time = cluster.now + timedelta(milliseconds=100)
    with_nodes(cluster, 4)
    cluster.settle()
    assert (cluster.nodes, len(cluster.standbys())) == (2, 2)
    cluster.saved_time = cluster.now + timedelta(seconds=1)
    cluster.settle()
    assert cluster.nodes == 4


def test_a_growth_at_a_step_waits_for_no_checkpoint() -> None:
    cluster = training(capacity=4, nodes=2, growAt="Step", seconds=22)
    with_nodes(cluster, 4)
    cluster.settle()
    assert (cluster.nodes, cluster.step) == (4, 22)


def test_a_policy_that_is_taken_away_gives_the_configurations_own_number_back() -> None:
    cluster = training(nodes=2)
    cluster.job = cluster.job.spec(elasticPolicy=None)
    cluster.settle()
    assert len(cluster.gang()) == 4
    assert cluster.status.elastic is None


# ---- a node is lost --------------------------------------------------------------------------------------------------


def test_a_pod_without_a_node_shrinks_the_job_after_the_bound_and_not_before() -> None:
    cluster = training()
    cluster.lose_node()
    cluster.settle()
    assert causes(cluster) == [Reason.POD_DELETED]
    cluster.advance(SHRINK - 1)
    assert (cluster.nodes, cluster.status.attempt) == (4, 0)
    cluster.advance(1)
    assert (cluster.nodes, cluster.status.attempt, len(cluster.gang())) == (3, 1, 3)
    entry = cluster.status.restarts[-1]
    assert entry.cause is Reason.SCALED_DOWN
    assert "from 4 to 3 nodes, since pod tiny-0-3 has had no node for 30 s" in entry.message
    assert "0/4 nodes fit." in entry.message
    cluster.advance(2)
    assert cluster.status.phase is Phase.RUNNING
    assert [line.steps_lost for line in cluster.status.restarts] == [5, 0], "one loss is told once"
    assert cluster.status.gang_failures == 0


def test_the_next_look_is_when_the_bound_is_reached() -> None:
    from neuron_operator.planning.planner import plan

    cluster = training()
    cluster.lose_node()
    cluster.settle()
    cluster.advance(SHRINK - 2)
    assert plan(cluster.observe(), OPTIONS, cluster.now).requeue_after == 2.0


def test_a_job_that_waits_for_a_node_says_until_when() -> None:
    cluster = training()
    cluster.lose_node()
    cluster.settle()
    cluster.advance(2)
    (pending,) = [one for one in cluster.status.conditions if one.type == "Reconciling"]
    assert pending.reason is Reason.PODS_PENDING
    assert pending.message.endswith("From 12:00:55 UTC on the job goes on with 3 nodes (spec.elasticPolicy).")


def test_two_lost_nodes_cost_one_change() -> None:
    cluster = training()
    cluster.lose_node(2)
    cluster.advance(SHRINK + 2)
    assert [size for _, size in cluster.sizes] == [4, 2]


def test_the_next_legal_number_is_taken() -> None:
    cluster = ElasticCluster(elastic(minNodes=1).config("data.global_batch_size", 16), 4)
    cluster.settle()
    cluster.advance(25)
    cluster.lose_node()
    cluster.advance(SHRINK + 2)
    assert cluster.nodes == 2, "3 does not divide 16"


def test_a_job_waits_at_its_minimum() -> None:
    cluster = training()
    cluster.lose_node(3)
    cluster.advance(4 * SHRINK)
    assert (cluster.nodes, cluster.status.phase) == (2, Phase.RESTARTING)
    cluster.capacity = 2
    cluster.advance(3)
    assert cluster.status.phase is Phase.RUNNING


def test_a_job_starts_with_fewer_nodes_where_there_are_not_more() -> None:
    cluster = ElasticCluster(elastic(), 2)
    cluster.settle()
    cluster.advance(SHRINK + 3)
    assert (cluster.nodes, cluster.status.phase) == (2, Phase.RUNNING)


def test_a_job_grows_back_not_before_its_bound() -> None:
    cluster = training()
    cluster.lose_node()
    cluster.advance(SHRINK + 1)
    assert cluster.nodes == 3
    cluster.capacity = 4
    cluster.advance(GROW - 5)
    assert (cluster.nodes, cluster.standbys()) == (3, [])
    cluster.advance(20)
    assert cluster.nodes == 4
    assert causes(cluster) == [Reason.POD_DELETED, Reason.SCALED_DOWN, Reason.SCALED_UP]


def test_nodes_that_are_not_enough_are_let_go_for_a_while() -> None:
    """Two jobs that hold one node each of the two that both need would hold them for ever."""
    cluster = ElasticCluster(elastic(own=2, minNodes=2, maxNodes=4).config("data.global_batch_size", 16), 2)
    cluster.settle()
    cluster.advance(15)
    with_nodes(cluster, 4)
    cluster.capacity = 3
    cluster.advance(GROW)
    assert len(cluster.standbys()) == 2
    cluster.advance(5)
    assert cluster.standbys() == []
    assert cluster.status.elastic is not None
    assert cluster.status.elastic.next_growth_time is not None
    cluster.capacity = 4
    cluster.advance(2 * GROW + 15, stride=5)
    assert cluster.nodes == 4


def test_a_lost_pod_comes_before_a_growth() -> None:
    """Standby pods that hold a node are in the way of the pod that was lost."""
    cluster = training(capacity=3, nodes=2, growAt="Checkpoint", maxNodes=4)
    with_nodes(cluster, 4)
    cluster.settle()
    held = [name for name in cluster.standbys() if "nodeName" in cluster.bodies[name]["spec"]]
    assert held
    cluster.capacity = 2  # the node of a pod of the gang goes
    lost = "tiny-0-1"
    node = cluster.bodies[lost]["spec"]["nodeName"]
    cluster.bodies[held[0]]["spec"]["nodeName"], cluster.bodies[lost]["spec"]["nodeName"] = node, "node-2"
    del cluster.bodies[lost]
    cluster.settle()
    assert "nodeName" in cluster.bodies[lost]["spec"]
    assert cluster.trains()


def test_a_suspended_job_holds_no_nodes() -> None:
    cluster = training(capacity=3, nodes=2, maxNodes=4)
    with_nodes(cluster, 4)
    cluster.settle()
    assert cluster.standbys()
    cluster.job = cluster.job.spec(suspend=True, suspendPolicy={"checkpointWaitSeconds": 0})
    cluster.advance(2)
    assert cluster.bodies == {}
    assert cluster.status.phase is Phase.SUSPENDED


def test_a_status_that_was_lost_is_found_again_in_the_pods() -> None:
    cluster = training()
    cluster.lose_node()
    cluster.advance(SHRINK + 5)
    before = dict(cluster.gang())
    cluster.status = type(cluster.status)(start_time=cluster.status.start_time)
    cluster.settle()
    assert (cluster.nodes, cluster.status.attempt) == (3, 1)
    assert cluster.gang() == before


def test_each_change_is_one_normal_event() -> None:
    cluster = training()
    before = cluster.status
    with_nodes(cluster, 2)
    cluster.reconcile()
    told = [(one.kind, one.reason, one.note) for one in announcements(before, cluster.status)]
    assert told == [("Normal", "ScaledDown", "ScaledDown after step 25: from 4 to 2 nodes, since the spec asks for 2.")]


# ---- standby pods ----------------------------------------------------------------------------------------------------


def test_a_standby_pod_asks_for_what_a_pod_of_the_job_asks_for_and_does_nothing() -> None:
    template: dict[str, Any] = {
        "spec": {
            "nodeSelector": {"pool": "a"},
            "containers": [
                {"name": "trainer", "resources": {"requests": {"cpu": "4"}}, "env": [{"name": "A", "value": "b"}]},
                {"name": "sidecar", "image": "s"},
            ],
            "initContainers": [{"name": "fetch", "image": "f"}],
        }
    }
    cluster = ElasticCluster(elastic().pod_template(template), 2)
    cluster.job = cluster.job.spec(elasticPolicy={"minNodes": 2, "nodes": 2})
    cluster.settle()
    cluster.advance(5)
    with_nodes(cluster, 3)
    cluster.settle()
    (name,) = cluster.standbys()
    spec, own = cluster.bodies[name]["spec"], cluster.bodies["tiny-0-0"]["spec"]
    (container,) = spec["containers"]
    assert container["resources"] == own["containers"][0]["resources"]
    assert container["image"] == own["containers"][0]["image"]
    assert spec["nodeSelector"] == own["nodeSelector"]
    assert {"env", "volumeMounts", "readinessProbe", "ports"}.isdisjoint(container)
    assert {"initContainers", "hostname", "subdomain"}.isdisjoint(spec)
    assert [record.name for record in cluster.status.pods] == ["tiny-0-0", "tiny-0-1"]


# ---- any story -------------------------------------------------------------------------------------------------------

STORIES = st.lists(
    st.one_of(
        st.tuples(st.just("capacity"), st.integers(0, 5)),
        st.tuples(st.just("nodes"), st.integers(2, 4)),
        st.tuples(st.just("wait"), st.sampled_from([5, 10, 35, 70])),
        st.tuples(st.just("kill"), st.integers(0, 4)),
    ),
    min_size=4,
    max_size=16,
)


def live(cluster: ElasticCluster, name: str, number: int) -> None:
    if name == "capacity":
        if number < cluster.capacity:
            cluster.lose_node(cluster.capacity - number)
        cluster.capacity = number
    elif name == "nodes":
        with_nodes(cluster, number)
    elif name == "wait":
        cluster.advance(number, stride=5)
    else:
        cluster.reconcile(kill_after=number)


@pytest.mark.slow
@settings(derandomize=True, deadline=None, max_examples=20, suppress_health_check=[HealthCheck.too_slow])
@given(STORIES)
def test_whatever_happens_no_job_is_stuck_and_bounds_hold(story: list[tuple[str, int]]) -> None:
    cluster = training(seconds=5)
    asked = []
    for name, number in story:
        asked += [cluster.now] if name == "nodes" else []
        live(cluster, name, number)
        assert cluster.nodes in (2, 3, 4)
        assert len(cluster.gang()) <= 4
    cluster.capacity = max(cluster.capacity, 2)
    cluster.advance(3 * SHRINK, stride=10)
    assert cluster.trains(), "there are nodes for the minimum, and the job does not train"
    cluster.capacity = 5
    cluster.advance(3 * SHRINK + 2 * GROW, stride=10)
    assert cluster.status.elastic is not None
    assert cluster.nodes == cluster.status.elastic.desired_nodes
    assert cluster.status.gang_failures == 0
    for (before, old), (after, new) in pairwise(cluster.sizes):
        early = new > old and after - before < timedelta(seconds=GROW)
        assert not early or any(before <= moment <= after for moment in asked), "it grows oftener than it may"
