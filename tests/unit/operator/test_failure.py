"""The table of exits: what has become of a pod, what it calls for, whether it counts."""

import pytest

from builders import PodBuilder, at, make_job, make_pod
from neuron_api.resource.reasons import Reason
from neuron_operator.planning.failures.failure import Verdict, classify_exit, first_failure, vanished

JOB = make_job().nodes(2).build()
POD = make_pod(JOB, 1).on("node-1")
UP = POD.ready()

REPLACE, GANG, STOP = Verdict.REPLACE, Verdict.GANG, Verdict.STOP


@pytest.mark.parametrize(
    ("pod", "verdict", "cause", "counted"),
    [
        (POD.failed(1), GANG, Reason.POD_FAILED, True),
        (POD.failed(2), STOP, Reason.TRAINER_REFUSED_CONFIG, False),
        (POD.failed(2).terminating(), STOP, Reason.TRAINER_REFUSED_CONFIG, False),
        (POD.failed(143), REPLACE, Reason.POD_PREEMPTED, False),
        (POD.failed(137), REPLACE, Reason.PROCESS_KILLED, True),
        (POD.oom_killed(), REPLACE, Reason.OUT_OF_MEMORY, True),
        (POD.oom_killed().disrupted("TerminationByKubelet"), REPLACE, Reason.POD_EVICTED, False),
        (POD.failed(64), GANG, Reason.POD_FAILED, True),
        (POD.init_failed(2), GANG, Reason.POD_FAILED, True),
        (UP.terminating(), REPLACE, Reason.POD_DELETED, False),
        (POD.failed(1).terminating(), REPLACE, Reason.POD_DELETED, False),
        (POD.failed(137).terminating(), REPLACE, Reason.POD_DELETED, False),
        (UP.disrupted().terminating(), REPLACE, Reason.POD_EVICTED, False),
        (POD.failed(143).disrupted(), REPLACE, Reason.POD_EVICTED, False),
        (UP.disrupted("PreemptionByScheduler").terminating(), REPLACE, Reason.POD_EVICTED, False),
        (UP.disrupted("DeletionByTaintManager").terminating(), REPLACE, Reason.NODE_LOST, False),
        (POD.failed(1).disrupted("DeletionByPodGC"), REPLACE, Reason.NODE_LOST, False),
        (POD.turned_away("Evicted", "low on memory"), REPLACE, Reason.POD_EVICTED, False),
        (POD.turned_away("NodeLost"), REPLACE, Reason.NODE_LOST, False),
        (POD.turned_away("OutOfcpu"), REPLACE, Reason.POD_EVICTED, False),
        (POD.turned_away("NodeAffinity"), REPLACE, Reason.POD_EVICTED, False),
        (POD.turned_away("Terminated", "node shutdown"), REPLACE, Reason.POD_EVICTED, False),
    ],
)
def test_an_end_has_one_verdict(pod: PodBuilder, verdict: Verdict, cause: Reason, counted: bool) -> None:
    loss = classify_exit(pod.build())
    assert loss is not None
    assert (loss.verdict, loss.cause, loss.counted) == (verdict, cause, counted)
    assert (loss.index, loss.pod, loss.uid, loss.node) == (1, "tiny-0-1", "pod-0-1", "node-1")


@pytest.mark.parametrize(
    "pod",
    [
        make_pod(JOB),
        make_pod(JOB).unschedulable("no node fits."),
        make_pod(JOB).waiting("ErrImagePull"),
        UP,
        POD.running(),
        UP.disrupted(),
        POD.succeeded(),
        POD.exited(0),
    ],
)
def test_a_pod_that_lives_or_has_succeeded_is_no_loss(pod: PodBuilder) -> None:
    assert classify_exit(pod.build()) is None


def test_a_pod_that_had_succeeded_before_it_was_deleted_is_no_loss() -> None:
    assert classify_exit(POD.succeeded().terminating().build()) is None
    assert classify_exit(POD.succeeded().disrupted().build(), node_lost=True) is None


@pytest.mark.parametrize("pod", [UP, POD.failed(1), UP.terminating(), make_pod(JOB).on("node-1")])
def test_a_pod_without_its_node_is_lost_with_it(pod: PodBuilder) -> None:
    loss = classify_exit(pod.build(), node_lost=True)
    assert loss is not None
    assert (loss.verdict, loss.cause, loss.counted) == (REPLACE, Reason.NODE_LOST, False)


def test_a_wrong_configuration_stays_wrong_on_another_node() -> None:
    loss = classify_exit(POD.failed(2).build(), node_lost=True)
    assert loss is not None
    assert loss.verdict is STOP


@pytest.mark.parametrize(("node_lost", "cause"), [(False, Reason.POD_DELETED), (True, Reason.NODE_LOST)])
def test_a_pod_that_is_nowhere_is_replaced_and_not_counted(node_lost: bool, cause: Reason) -> None:
    loss = vanished(1, "tiny-0-1", "uid", "node-1", node_lost=node_lost)
    assert (loss.verdict, loss.cause, loss.counted) == (REPLACE, cause, False)


def test_a_loss_says_the_last_line_of_what_the_launcher_said() -> None:
    said = "rank 3 failed at step 7: ValueError: bad\nTraceback (most recent call last):\n  ...\nValueError: bad\n"
    loss = classify_exit(POD.failed(1, said).build())
    assert loss is not None
    assert loss.last_line == "ValueError: bad"
    assert loss.message == said.strip()
    assert loss.exit_code == 1


def test_a_failed_init_container_is_named() -> None:
    loss = classify_exit(POD.init_failed(7, "wget: bad address").build())
    assert loss is not None
    assert loss.exit_code is None, "the exit code of another container is none of the contract's"
    assert "fetch" in loss.message
    assert "7" in loss.message
    assert "wget: bad address" in loss.message


def test_the_kubelets_word_stands_where_the_launcher_said_nothing() -> None:
    loss = classify_exit(POD.turned_away("OutOfcpu", "Node didn't have enough resource: cpu").build())
    assert loss is not None
    assert loss.message == "Node didn't have enough resource: cpu"


def test_the_first_to_end_by_itself_is_blamed() -> None:
    victim = classify_exit(POD.failed(1, "RuntimeError: Connection closed by peer").build())
    later = classify_exit(make_pod(JOB, 0).failed(1, "ValueError: bad").build())
    last = classify_exit(make_pod(JOB, 2).failed(1, "KeyError: x").build())
    assert victim and later and last
    ended = {victim.uid: at(0).timestamp(), later.uid: at(5).timestamp(), last.uid: at(9).timestamp()}
    assert first_failure([victim, last, later], ended) is later
    assert first_failure([victim], ended) is victim


def test_pods_that_waited_in_vain_are_victims() -> None:
    waited = classify_exit(
        make_pod(JOB, 0).failed(1, "the other nodes did not come within 900 s: TimeoutError").build()
    )
    culprit = classify_exit(POD.failed(1, "ValueError: bad").build())
    assert waited and culprit
    assert first_failure([waited, culprit], {}) is culprit
