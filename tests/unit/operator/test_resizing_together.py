"""Several elastic jobs on the same nodes: none is stuck, and none holds what another one needs for ever."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builders import JobBuilder, make_job
from unit.operator.elastic_cluster import ElasticCluster, advance_together

SHRINK, GROW = 30, 60


def job(name: str, own: int, batch: int = 24, **policy: object) -> JobBuilder:
    bounds = {"minNodes": 1, "maxNodes": 4, "shrinkAfterSeconds": SHRINK, "growAfterSeconds": GROW}
    return make_job(name).nodes(own).config("data.global_batch_size", batch).spec(elasticPolicy=bounds | policy)


def on_the_same_nodes(capacity: int, *jobs: JobBuilder) -> list[ElasticCluster]:
    clusters = [ElasticCluster(one, capacity) for one in jobs]
    for one in clusters:
        one.neighbours = clusters
    return clusters


def resize(clusters: list[ElasticCluster], capacity: int) -> None:
    """Nodes go, with the pods on them, or come."""
    nodes = {f"node-{number}" for number in range(capacity)}
    for one in clusters:
        one.capacity = capacity
        bodies = one.bodies.items()
        one.bodies = {name: body for name, body in bodies if body["spec"].get("nodeName", "node-0") in nodes}


@pytest.mark.slow
def test_two_jobs_that_need_the_same_two_nodes_do_not_share_them_for_ever() -> None:
    """Both may have 2 or 4 nodes, and there are 6."""
    jobs = [job(name, 2, batch=16, minNodes=2, nodes=2) for name in ("a", "b")]
    clusters = on_the_same_nodes(6, *jobs)
    advance_together(clusters, 20)
    for one in clusters:
        one.job = one.job.spec(elasticPolicy={**one.job.body["spec"]["elasticPolicy"], "nodes": 4})
    advance_together(clusters, 5)
    assert [len(one.standbys()) for one in clusters] == [2, 2]
    assert [one.nodes for one in clusters] == [2, 2], "each holds one of the two"
    advance_together(clusters, 5 * GROW)
    assert sorted(one.nodes for one in clusters) == [2, 4]
    assert all(one.trains() for one in clusters)


@pytest.mark.slow
@settings(derandomize=True, deadline=None, max_examples=6, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.integers(2, 14), st.sampled_from([10, 40, 90])), min_size=2, max_size=5))
def test_jobs_that_lose_their_nodes_have_them_all_again_once_they_are_there(
    story: list[tuple[int, int]],
) -> None:
    clusters = on_the_same_nodes(12, *(job(name, own) for name, own in (("a", 4), ("b", 4), ("c", 4))))
    advance_together(clusters, 20)
    for capacity, seconds in story:
        resize(clusters, capacity)
        advance_together(clusters, seconds)
        assert seconds < 2 * SHRINK or any(one.trains() for one in clusters), "nodes are there, and no job trains"
    resize(clusters, 12)
    advance_together(clusters, 4 * GROW, stride=10)
    assert [one.nodes for one in clusters] == [4, 4, 4]
    assert all(one.status.gang_failures == 0 for one in clusters)
