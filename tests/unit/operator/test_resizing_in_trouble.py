"""spec.elasticPolicy where something is wrong: no resume, nodes that do not answer, what is refused."""

from builders import make_job, rfc3339
from neuron_api.resource.reasons import Reason
from neuron_api.resource.status import Phase
from unit.operator.elastic_cluster import (
    GROW,
    SAVE_EVERY,
    SHRINK,
    ElasticCluster,
    causes,
    elastic,
    training,
    with_nodes,
)


def test_a_job_that_could_not_resume_keeps_its_nodes() -> None:
    cluster = ElasticCluster(make_job().nodes(4).cannot_resume(), 4)
    cluster.settle()
    cluster.advance(25)
    cluster.job = cluster.job.spec(elasticPolicy={"minNodes": 2, "nodes": 2, "shrinkAfterSeconds": SHRINK})
    cluster.advance(5)
    assert (cluster.status.attempt, cluster.status.phase) == (0, Phase.RUNNING)
    with_nodes(cluster, 4)
    cluster.lose_node()
    cluster.advance(2 * SHRINK)
    assert (cluster.nodes, causes(cluster).count(Reason.SCALED_DOWN)) == (4, 0)


def test_a_bound_that_no_longer_permits_the_present_number_waits_for_room() -> None:
    cluster = training()
    cluster.lose_node(2)
    cluster.advance(SHRINK + 5)
    assert cluster.nodes == 2
    cluster.job = elastic(minNodes=3)
    cluster.advance(2 * GROW)
    assert (cluster.nodes, cluster.status.phase) == (2, Phase.RUNNING)
    cluster.capacity = 4
    cluster.advance(2 * GROW)
    assert cluster.nodes == 4


def test_a_standby_pod_that_does_not_start_is_no_room() -> None:
    cluster = training(capacity=4, nodes=3)
    with_nodes(cluster, 4)
    cluster.settle()
    (name,) = cluster.standbys()
    cluster.bodies[name]["status"]["containerStatuses"][0]["state"] = {"waiting": {"reason": "ImagePullBackOff"}}
    cluster.bodies[name]["status"]["phase"] = "Pending"
    cluster.advance(2 * SAVE_EVERY)
    assert (cluster.nodes, cluster.standbys()) == (3, [name])
    cluster.advance(GROW)
    assert (cluster.nodes, cluster.standbys()) == (3, []), "it is given up for a while"


def test_a_lost_pod_is_made_again_beside_a_standby_pod_that_does_not_go() -> None:
    """Kind: the node of a standby pod no longer answers, so its deletion takes for ever."""
    cluster = training(capacity=4, nodes=3)
    with_nodes(cluster, 4)
    cluster.settle()
    (name,) = cluster.standbys()
    stuck = cluster.bodies[name]
    cluster.bodies = {key: body for key, body in cluster.bodies.items() if key != "tiny-0-2"}
    for _ in range(3):
        cluster.reconcile()
        stuck["metadata"]["deletionTimestamp"] = rfc3339(cluster.now)
        cluster.bodies[name] = stuck
    assert "tiny-0-2" in cluster.bodies


def test_a_job_whose_configuration_is_refused_holds_no_nodes() -> None:
    cluster = training(capacity=4, nodes=3)
    with_nodes(cluster, 4)
    cluster.settle()
    assert len(cluster.standbys()) == 1
    cluster.job = cluster.job.config("data.micro_batch_size", "many")
    cluster.settle()
    assert (cluster.standbys(), len(cluster.gang())) == ([], 3)
