"""Which nodes new pods avoid: on which grounds, how many, how long; and never those of victims."""

from datetime import timedelta

import pytest

from builders import NOW, PodBuilder, at, make_job, make_pod, observed
from neuron_api import contract
from neuron_api.resource.reasons import Reason
from neuron_api.resource.spec import NodePolicy
from neuron_api.resource.status import ExcludedNode, JobStatus, PodStatus, Restart, RestartScope
from neuron_operator.failure_rules import built_in
from neuron_operator.planning.failures import gang as gangs
from neuron_operator.planning.failures.gang import Gang
from neuron_operator.planning.observation.observation import Node
from neuron_operator.planning.restarts import exclusion

POLICY = NodePolicy()
SRAM = "sram-uncorrectable-code"


def line(node: str, number: int = 0, **values: object) -> Restart:
    defaults: dict[str, object] = {
        "restart_scope": RestartScope.PROCESS, "cause": Reason.PROCESS_FAILED, "time": at(number), "round": number,
        "pod": "tiny-0-1", "pod_uid": "pod-0-1", "node": node, "exit_code": 1, "message": "ValueError: bad",
    }  # fmt: skip
    return Restart(**(defaults | values))  # type: ignore[arg-type]


def broken(node: str, number: int = 0) -> Restart:
    return line(node, number, cause=Reason.HARDWARE_FAULT, rule=SRAM, neuron_code=1202)


def follow(
    before: JobStatus, *new: Restart, policy: NodePolicy = POLICY, size: int = 2, seconds: float = 10, **names: str
) -> JobStatus:
    after = before.model_copy(update={"restarts": (*before.restarts, *new)})
    nodes = {name: Node(name, hostname) for name, hostname in names.items()}
    return exclusion.update(before, after, built_in(), nodes, policy, size, at(seconds))


def excluded(status: JobStatus) -> list[tuple[str, Reason]]:
    return [(one.node, one.reason) for one in status.excluded_nodes]


def test_a_fault_of_the_hardware_excludes_at_once_for_a_day_by_the_nodes_host_name() -> None:
    status = follow(JobStatus(), broken("node_1"), node_1="host-1")
    (one,) = status.excluded_nodes
    assert (one.node, one.hostname, one.reason) == ("node_1", "host-1", Reason.HARDWARE_FAULT)
    assert (one.exclusion_time, one.expiration_time) == (at(10), at(10) + timedelta(days=1))
    assert one.message == f"{SRAM} in pod tiny-0-1, Neuron code 1202: ValueError: bad"
    assert exclusion.hostnames(status) == ("host-1",)


def test_a_node_that_may_not_be_read_is_avoided_by_its_name() -> None:
    assert exclusion.hostnames(follow(JobStatus(), broken("node-1"))) == ("node-1",)


def test_its_host_name_is_learned_when_it_is_read_later() -> None:
    status = follow(JobStatus(), broken("node_1"))
    assert exclusion.hostnames(follow(status, seconds=11, node_1="host-1")) == ("host-1",)


def test_the_third_failure_blamed_on_a_node_within_the_window_excludes_it() -> None:
    two = follow(JobStatus(), line("node-1", 0), line("node-1", 1), line("node-0", 2))
    assert excluded(two) == []
    three = follow(two, line("node-1", 3))
    assert excluded(three) == [("node-1", Reason.REPEATED_FAILURES)]
    assert "3 failures were blamed on it" in three.excluded_nodes[0].message


def test_pods_of_a_node_that_fall_together_are_one_failure_of_it() -> None:
    """Three pods of one node, one of them twice: two failures, where three exclude it."""
    fallen = [
        line(
            "node-1",
            when,
            restart_scope=RestartScope.POD,
            cause=Reason.POD_FAILED,
            pod=f"tiny-0-{index}",
            pod_uid=f"{index}-{when}",
        )
        for index, when in ((0, 0), (1, 2), (2, 4), (1, 300))
    ]
    status = follow(JobStatus(), *fallen, seconds=300)
    assert excluded(status) == []
    again = line(
        "node-1", 600, restart_scope=RestartScope.POD, cause=Reason.POD_FAILED, pod="tiny-0-2", pod_uid="another"
    )
    status = follow(status, again, seconds=600)
    assert excluded(status) == [("node-1", Reason.REPEATED_FAILURES)]
    assert status.excluded_nodes[0].message.startswith("3 failures")


def test_failures_that_are_far_apart_do_not_add_up() -> None:
    day = 86400
    status = follow(JobStatus(), line("n", 0), line("n", 1), line("n", 2 * day), seconds=2 * day)
    assert excluded(status) == []


@pytest.mark.parametrize(
    "victim",
    [
        {"message": "RuntimeError: Connection closed by peer"},
        {"message": "nrt: suspected hang in collectives"},
        {"cause": Reason.COLLECTIVE_HANG, "rule": "collective-hang"},
        {"cause": Reason.OUT_OF_MEMORY, "restart_scope": RestartScope.POD},
        {"cause": Reason.HANG, "restart_scope": RestartScope.GANG},
        {"cause": Reason.POD_DELETED, "restart_scope": RestartScope.POD},
        {"cause": Reason.POD_EVICTED, "restart_scope": RestartScope.POD},
        {"cause": Reason.NODE_LOST, "restart_scope": RestartScope.POD},
        {"cause": Reason.NODE_MAINTENANCE, "restart_scope": RestartScope.POD, "rule": "node-spot-interruption"},
        {"node": ""},
    ],
)
def test_the_node_of_a_victim_or_of_a_disruption_is_never_excluded(victim: dict[str, object]) -> None:
    lines = [line("node-1", number).model_copy(update=victim) for number in range(9)]
    assert excluded(follow(JobStatus(), *lines)) == []


def test_a_line_excludes_once_and_not_again_when_the_time_is_over() -> None:
    status = follow(JobStatus(), broken("node-1"))
    assert follow(status, seconds=20) == status
    over = follow(status, seconds=86411)
    assert excluded(over) == []
    assert excluded(follow(over, seconds=86412)) == []


@pytest.mark.parametrize(("size", "percent", "most"), [(1, 10, 1), (9, 10, 1), (20, 10, 2), (64, 10, 6), (64, 0, 1)])
def test_no_more_nodes_are_excluded_than_the_cap_allows(size: int, percent: int, most: int) -> None:
    policy = NodePolicy(max_excluded_percent=percent)
    lines = [broken(f"node-{number}", number) for number in range(10)]
    status = follow(JobStatus(), *lines, policy=policy, size=size)
    assert [name for name, _ in excluded(status)] == [f"node-{number}" for number in range(most)]
    assert exclusion.has_room(status, "node-0", policy, size)
    assert not exclusion.has_room(status, "node-99", policy, size)


def test_a_fault_of_the_hardware_takes_the_place_of_mere_repetition_and_not_the_other_way_round() -> None:
    repeated = follow(JobStatus(), *(line("node-0", number) for number in range(3)))
    status = follow(repeated, broken("node-1", 9))
    assert excluded(status) == [("node-1", Reason.HARDWARE_FAULT)]
    assert excluded(follow(status, line("node-0", 11))) == [("node-1", Reason.HARDWARE_FAULT)]
    assert excluded(follow(status, *(line("node-1", n) for n in (12, 13, 14)))) == [("node-1", Reason.HARDWARE_FAULT)]


@pytest.mark.parametrize(
    ("reason", "gives_way_to"),
    [
        (Reason.STRAGGLER, [Reason.REPEATED_FAILURES, Reason.HARDWARE_FAULT]),
        (Reason.REPEATED_FAILURES, [Reason.HARDWARE_FAULT]),
        (Reason.HARDWARE_FAULT, []),
    ],
)
def test_where_there_is_room_for_one_node_the_better_proof_has_it(reason: Reason, gives_way_to: list[Reason]) -> None:
    before = JobStatus(excluded_nodes=(one(reason),))
    for proof, lines in (
        (Reason.REPEATED_FAILURES, [line("node-0", number) for number in range(3)]),
        (Reason.HARDWARE_FAULT, [broken("node-0", 9)]),
    ):
        expected = ("node-0", proof) if proof in gives_way_to else ("node-1", reason)
        assert excluded(follow(before, *lines)) == [expected]


def test_who_wants_no_exclusion_has_none_and_loses_those_that_are_there() -> None:
    status = follow(JobStatus(), broken("node-1"))
    off = NodePolicy(exclude_faulty_nodes=False)
    assert excluded(follow(status, broken("node-2", 5), policy=off)) == []
    assert not exclusion.has_room(status, "node-1", off, 2)
    never = NodePolicy(repeat_failures=0)
    assert excluded(follow(JobStatus(), *(line("n", number) for number in range(9)), policy=never)) == []


# ---- pods that wait for a node --------------------------------------------------------------------------------------

JOB = make_job().nodes(2).build()
AFFINITY = "0/2 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."


def one(reason: Reason, until: float = 1e6) -> ExcludedNode:
    return ExcludedNode(node="node-1", hostname="host-1", reason=reason, exclusion_time=NOW, expiration_time=at(until))


def waiting(avoids: str = "host-1", said: str = AFFINITY) -> PodBuilder:
    pod = make_pod(JOB, 1).unschedulable(said)
    annotations = {contract.ANNOTATION_EXCLUDED: avoids} if avoids else {}
    return pod._with("metadata", annotations=annotations, creationTimestamp="2026-11-24T12:00:00Z")


def gang(*pods: PodBuilder) -> Gang:
    records = tuple(PodStatus(name=f"tiny-0-{n}", uid=f"pod-0-{n}") for n in range(2))
    return gangs.assemble(observed(JOB, (make_pod(JOB, 0).on("node-0").ready(), *pods)), JobStatus(pods=records), 2)


def test_pods_without_a_node_are_made_anew_when_they_avoid_other_nodes_than_they_should() -> None:
    added = JobStatus(excluded_nodes=(one(Reason.HARDWARE_FAULT),))
    for status, pod in ((JobStatus(), waiting("host-1")), (added, waiting(""))):
        found = exclusion.mark_stale_pods(status, gang(pod), at(5))
        assert found is not None
        assert [record.lost for record in found.pods] == [False, True]
        assert found.restart_count == 0


def test_pods_that_avoid_what_they_should_or_have_a_node_are_left_alone() -> None:
    status = JobStatus(excluded_nodes=(one(Reason.HARDWARE_FAULT),))
    assert exclusion.mark_stale_pods(status, gang(waiting()), at(1000)) is None
    assert exclusion.mark_stale_pods(status, gang(make_pod(JOB, 1).on("node-1").ready()), at(1000)) is None
    assert exclusion.mark_stale_pods(status, gang(waiting("").terminating()), at(1000)) is None


@pytest.mark.parametrize(
    ("reason", "said", "seconds", "ends"),
    [
        (Reason.REPEATED_FAILURES, AFFINITY, 61, True),
        (Reason.STRAGGLER, AFFINITY, 61, True),
        (Reason.REPEATED_FAILURES, AFFINITY, 59, False),
        (Reason.REPEATED_FAILURES, "0/2 nodes are available: 2 Insufficient aws.amazon.com/neuron.", 61, False),
        (Reason.HARDWARE_FAULT, AFFINITY, 61, False),
    ],
)
def test_a_job_that_cannot_be_placed_takes_back_what_nothing_but_repetition_is_behind(
    reason: Reason, said: str, seconds: float, ends: bool
) -> None:
    status = JobStatus(excluded_nodes=(one(reason),))
    found = exclusion.mark_stale_pods(status, gang(waiting(said=said)), at(seconds))
    assert (found is not None) is ends
    assert found is None or found.excluded_nodes == ()


def test_it_looks_again_when_an_exclusion_ends_or_pods_have_waited_long_enough() -> None:
    status = JobStatus(excluded_nodes=(one(Reason.REPEATED_FAILURES, until=100),))
    assert exclusion.seconds_until_next(status, gang(waiting()), at(20)) == 40
    assert exclusion.seconds_until_next(status, gang(), at(20)) == 80
    assert exclusion.seconds_until_next(JobStatus(), gang(waiting()), at(20)) is None
