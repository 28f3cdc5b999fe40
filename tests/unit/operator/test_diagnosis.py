"""Losses as the failure table and the nodes explain them, and what the planner makes of that."""

import pytest

from builders import (
    NOW,
    OPTIONS,
    PodBuilder,
    at,
    make_job,
    make_pod,
    make_report,
    observed,
    running_gang,
    with_status,
)  # fmt: skip
from neuron_api.contract import ANNOTATION_EXCLUDED
from neuron_api.resource.job import NeuronTrainingJob
from neuron_api.resource.progress import failure_headline
from neuron_api.resource.reasons import Reason
from neuron_api.resource.spec import NodePolicy
from neuron_api.resource.status import ExcludedNode, JobStatus, Phase, RestartScope
from neuron_operator.planning.observation.observation import Node, NodeCondition, Taint
from unit.operator.passes import known, names, one_pass, true

JOB = make_job().nodes(3).build()
PODS = running_gang(JOB)
SICK = Node("node-1", "host-1", conditions=(NodeCondition("NeuronHealthy", "False", "Broken"),))
LEAVING = Node("node-1", "host-1", taints=(Taint("karpenter.sh/disrupted", "", "NoSchedule"),))
BAD = "status_code=1202"
TRACE = f"{failure_headline(5, 27, f'RuntimeError: {BAD}')}\nTraceback\n  a\n  b\nRuntimeError: {BAD}"


def after(
    *pods: PodBuilder, node: Node | None = None, job: NeuronTrainingJob = JOB, reports: tuple[object, ...] = ()
) -> JobStatus:
    """The status that the pass writes in which the pods are seen so."""
    seen = observed(known(job, *PODS), pods, reports, nodes={node.name: node} if node else {})  # type: ignore[arg-type]
    return one_pass(seen)[1]


def test_a_launcher_that_gives_up_over_broken_memory_costs_its_pod_and_its_node_and_no_budget() -> None:
    status = after(PODS[0], PODS[1].failed(1, TRACE), PODS[2])
    (entry,) = status.restarts
    assert (entry.restart_scope, entry.cause, entry.rule) == (
        RestartScope.POD,
        Reason.HARDWARE_FAULT,
        "sram-uncorrectable-code",
    )
    assert (entry.node, entry.rank, entry.step, entry.exit_code, entry.neuron_code) == ("node-1", 5, 27, 1, 1202)
    assert entry.log_tail == (TRACE.splitlines()[0], "Traceback", "  a", "  b")
    assert status.gang_failures == 0
    assert [one.node for one in status.excluded_nodes] == ["node-1"]


def test_the_same_without_a_word_about_the_hardware_costs_the_gang_and_a_part_of_the_budget() -> None:
    status = after(PODS[0], PODS[1].failed(1, "ValueError: bad"), PODS[2])
    assert (status.restarts[0].restart_scope, status.restarts[0].cause) == (RestartScope.GANG, Reason.POD_FAILED)
    assert (status.gang_failures, status.excluded_nodes) == (1, ())


@pytest.mark.parametrize("pod", [PODS[1].failed(1, "ValueError: bad"), PODS[1].failed(137), PODS[1].oom_killed()])
def test_what_the_node_says_decides_where_the_failure_says_nothing(pod: PodBuilder) -> None:
    status = after(PODS[0], pod, PODS[2], node=SICK)
    assert (status.restarts[0].restart_scope, status.restarts[0].cause) == (RestartScope.POD, Reason.HARDWARE_FAULT)
    assert status.restarts[0].message.startswith("node node-1 has NeuronHealthy=False (Broken)")
    assert [(one.node, one.hostname) for one in status.excluded_nodes] == [("node-1", "host-1")]
    assert status.gang_failures == 0


@pytest.mark.parametrize("pod", [PODS[1].failed(1, "ValueError: bad"), PODS[1].failed(137), PODS[1].oom_killed()])
def test_a_failure_on_a_node_that_is_being_taken_away_is_not_counted(pod: PodBuilder) -> None:
    status = after(PODS[0], pod, PODS[2], node=LEAVING)
    assert (status.restarts[0].restart_scope, status.restarts[0].cause) == (RestartScope.POD, Reason.NODE_MAINTENANCE)
    assert (status.gang_failures, status.excluded_nodes) == (0, ())


@pytest.mark.parametrize(
    ("pod", "cause"),
    [
        (PODS[1].failed(143), Reason.POD_PREEMPTED),
        (PODS[1].terminating(), Reason.POD_DELETED),
        (PODS[1].disrupted().terminating(), Reason.POD_EVICTED),
        (PODS[1].turned_away("Evicted"), Reason.POD_EVICTED),
        (PODS[1].disrupted("DeletionByTaintManager").terminating(), Reason.NODE_LOST),
    ],
)
def test_what_kubernetes_took_keeps_its_reason_on_a_node_that_goes_and_is_never_counted(
    pod: PodBuilder, cause: Reason
) -> None:
    for node in (None, LEAVING):
        status = after(PODS[0], pod, PODS[2], node=node)
        assert (status.restarts[0].cause, status.gang_failures) == (cause, 0)
    assert after(PODS[0], pod, PODS[2], node=SICK).gang_failures == 0


def test_the_victim_that_gave_up_is_not_blamed_for_the_fault_of_another_pod() -> None:
    victim = PODS[0].failed(1, "RuntimeError: Connection closed by peer", at=at(-5))
    status = after(victim, PODS[1].failed(1, TRACE), PODS[2])
    (entry,) = status.restarts
    assert (entry.restart_scope, entry.cause, entry.node) == (RestartScope.GANG, Reason.HARDWARE_FAULT, "node-1")
    assert [one.node for one in status.excluded_nodes] == ["node-1"]
    assert status.gang_failures == 0


def test_where_no_more_nodes_can_be_excluded_a_fault_of_the_hardware_counts() -> None:
    elsewhere = ExcludedNode(
        node="x", hostname="x", reason=Reason.HARDWARE_FAULT, exclusion_time=NOW, expiration_time=at(1e6)
    )
    job = with_status(known(JOB, *PODS), excluded_nodes=(elsewhere,))
    status = one_pass(observed(job, (PODS[0], PODS[1].failed(1, TRACE), PODS[2])))[1]
    assert (status.restarts[0].cause, status.gang_failures) == (Reason.HARDWARE_FAULT, 1)
    assert [one.node for one in status.excluded_nodes] == ["x"]


def test_an_entry_that_stops_the_job_ends_it_with_its_reason() -> None:
    status = after(PODS[0], PODS[1].failed(1, "RuntimeError: NRT_UNSUPPORTED_NEFF_VERSION (10)"), PODS[2])
    assert status.phase is Phase.FAILED
    failed = next(one for one in status.conditions if one.type == "Failed")
    assert failed.reason is Reason.NEURON_SOFTWARE_MISMATCH
    assert "Entry neff-version of the failure table" in failed.message
    assert "pod tiny-0-1 on node node-1" in failed.message


# ---- processes that were restarted in place -------------------------------------------------------------------------


def in_place(message: str, *, node: Node | None = None, first_step: float | None = None) -> tuple[JobStatus, list[str]]:
    """The status once a process of pod 1 has failed so, and the pods that the pass after that deletes."""
    pods = [one.build() for one in PODS]
    host = make_report(pods[0], JOB, at(-100)).round(1).step(28, at(-50))
    if first_step is not None:
        host = host.recovery(1, 20, 8, at(first_step))
    own = make_report(pods[1], JOB, at(-100)).round(1).failure(0, 5, when=at(-9), step=28, message=message)
    nodes = {node.name: node} if node else {}
    seen = observed(known(JOB, *PODS), PODS, (host, own), nodes=nodes)
    status = one_pass(seen)[1]
    again = observed(with_status(JOB, **dict(status)), PODS, (host, own), nodes=nodes)
    deleted = names(one_pass(again)[0])
    return one_pass(again)[1], deleted


def test_a_pod_that_runs_on_though_its_hardware_is_broken_is_moved_to_another_node() -> None:
    status, deleted = in_place(f"RuntimeError: {BAD}")
    assert [(entry.restart_scope, entry.cause) for entry in status.restarts] == [
        (RestartScope.PROCESS, Reason.HARDWARE_FAULT),
        (RestartScope.POD, Reason.HARDWARE_FAULT),
    ]
    assert deleted == ["tiny-0-1"]
    assert [one.node for one in status.excluded_nodes] == ["node-1"]


def test_that_it_has_recovered_does_not_help_a_node_whose_hardware_said_it_is_broken() -> None:
    assert in_place(f"RuntimeError: {BAD}", first_step=-1)[1] == ["tiny-0-1"]


@pytest.mark.parametrize("message", ["ValueError: bad", "status_code=1200", "RuntimeError: Connection closed by peer"])
def test_processes_that_were_restarted_for_other_reasons_stay_where_they_are(message: str) -> None:
    status, deleted = in_place(message)
    assert (deleted, status.excluded_nodes) == ([], ())
    assert in_place(message, node=LEAVING)[1] == []


def test_a_pod_on_a_node_that_says_it_is_sick_is_moved_unless_it_has_got_on() -> None:
    assert in_place("ValueError: bad", node=SICK)[1] == ["tiny-0-1"]
    assert in_place("ValueError: bad", node=SICK, first_step=-1)[1] == []


def test_a_broken_node_is_blamed_before_a_process_that_failed_earlier_elsewhere() -> None:
    pods = [one.build() for one in PODS]
    host = make_report(pods[0], JOB, at(-100)).round(1).failure(0, 0, when=at(-10), step=28, message="ValueError: x")
    own = make_report(pods[1], JOB, at(-100)).round(1).failure(0, 5, when=at(-9), step=28, message=BAD)
    status = one_pass(observed(known(JOB, *PODS), PODS, (host, own)))[1]
    assert (status.restarts[0].rank, status.restarts[0].node) == (5, "node-1")


# ---- pods that are created then, and nodes that do not answer -------------------------------------------------------


def test_new_pods_avoid_excluded_nodes_and_say_which() -> None:
    one = ExcludedNode(
        node="node-1", hostname="host-1", reason=Reason.HARDWARE_FAULT, exclusion_time=NOW, expiration_time=at(1e6)
    )
    job = with_status(known(JOB, *PODS), excluded_nodes=(one,))
    records = tuple(record.model_copy(update={"lost": record.name == "tiny-0-1"}) for record in job.status.pods)
    planned, _ = one_pass(observed(with_status(job, pods=records), (PODS[0], PODS[2])))
    (create,) = planned.creates
    assert create.body["metadata"]["annotations"] == {ANNOTATION_EXCLUDED: "host-1"}
    required = create.body["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    away = {"key": "kubernetes.io/hostname", "operator": "NotIn", "values": ["host-1"]}
    assert required == {"nodeSelectorTerms": [{"matchExpressions": [away]}]}


SILENT = Node("node-1", "host-1", conditions=(NodeCondition("Ready", "Unknown", since=at(-60)),))
DOWN = make_pod(JOB, 1).on("node-1").running()


def test_a_pod_on_a_node_that_does_not_answer_is_waited_for_and_the_job_says_so() -> None:
    status = after(PODS[0], DOWN, PODS[2], node=SILENT)
    assert true(status)["Reconciling"] is Reason.NODE_NOT_READY  # type: ignore[index]
    seen = observed(known(JOB, *PODS), (PODS[0], DOWN, PODS[2]), nodes={"node-1": SILENT})
    assert one_pass(seen)[0].deletes == ()


def test_one_that_kubernetes_has_given_up_is_not_replaced_before_it_is_gone_and_somebody_must_help() -> None:
    given_up = DOWN.disrupted("DeletionByTaintManager").terminating()
    job = known(JOB, *PODS)
    for _ in range(3):
        planned, status = one_pass(observed(job, (PODS[0], given_up, PODS[2]), nodes={"node-1": SILENT}))
        assert (planned.creates, planned.deletes) == ((), ())
        job = with_status(JOB, **dict(status))
    assert true(status)["Stalled"] is Reason.NODE_NOT_READY  # type: ignore[index]
    message = next(one.message for one in status.conditions if one.type == "Stalled")
    assert "node.kubernetes.io/out-of-service=nodeshutdown:NoExecute" in message
    assert status.restarts[0].cause is Reason.NODE_LOST
    assert status.gang_failures == 0


def test_the_defaults_of_the_policy_are_those_of_the_document() -> None:
    assert NodePolicy() == NodePolicy(
        exclude_faulty_nodes=True, exclusion_seconds=86400, repeat_failures=3, repeat_window_seconds=86400,
        max_excluded_percent=10, force_delete_fenced=False,
    )  # fmt: skip
    assert OPTIONS.failures.failures
