"""Slow processes in the status: with their nodes, announced once, and avoided where that is asked for."""

from datetime import datetime
from typing import Any

import pytest

from builders import at, make_job, make_pod, make_report
from neuron_api.resource.progress import Progress, StragglerReport
from neuron_api.resource.reasons import Reason
from neuron_api.resource.spec import NodePolicy
from neuron_api.resource.status import JobStatus, PodStatus
from neuron_operator.failure_rules import built_in
from neuron_operator.planning.restarts import exclusion
from neuron_operator.planning.status import stragglers
from neuron_operator.planning.status.changes import announcements, is_progress_only_change

JOB = make_job().nodes(2).build()
PODS = {index: PodStatus(name=f"tiny-0-{index}", uid=f"uid-{index}", node=f"node-{index}") for index in range(2)}
AVOID = NodePolicy(avoid_stragglers=True)


def slow(rank: int, time: datetime, ratio: float = 1.2, part: str = "work") -> StragglerReport:
    return StragglerReport(
        rank=rank,
        node_rank=rank // 2,
        part=part,
        seconds=0.12,
        usual_seconds=0.1,
        ratio=ratio,
        steps=40,
        step=300,
        time=time,
    )


def report(*slow: StragglerReport) -> Progress:
    return make_report(make_pod(JOB, 0).build(), JOB).build().model_copy(update={"stragglers": slow})


def follow(before: JobStatus, said: Progress | None, pods: dict[int, PodStatus] = PODS) -> JobStatus:
    return stragglers.update(before, said, pods)


def test_a_slow_process_has_its_pod_and_node_and_is_announced_once_with_the_evidence() -> None:
    first = follow(JobStatus(), report(slow(3, at(5))))
    (found,) = first.stragglers
    assert (found.rank, found.pod, found.node, found.ratio) == (3, "tiny-0-1", "node-1", 1.2)
    (event,) = announcements(JobStatus(), first)
    assert (event.kind, event.reason) == ("Warning", Reason.STRAGGLER)
    assert event.note == (
        "Rank 3 in pod tiny-0-1 on node node-1 is slow, and all others wait: 1.20 x the time of those with the "
        "same work, 120 ms a step without its waits for others, the others 100 ms; most of the difference in its own "
        "work (median of 40 steps up to step 300)."
    )
    assert not is_progress_only_change(JobStatus(), first), "it is written at once"
    again = follow(first, report(slow(3, at(5))))
    assert again == first
    assert announcements(first, again) == ()


def test_processes_of_one_node_are_one_event_that_names_the_slowest() -> None:
    (event,) = announcements(JobStatus(), follow(JobStatus(), report(slow(2, at(5)), slow(3, at(5), 1.6))))
    assert event.note.startswith("Rank 3 in pod tiny-0-1")


def test_it_is_announced_again_only_after_it_was_as_fast_as_the_others() -> None:
    first = follow(JobStatus(), report(slow(3, at(5))))
    healthy = follow(first, report())
    assert healthy.stragglers == ()
    assert announcements(first, healthy) == ()
    (event,) = announcements(healthy, follow(healthy, report(slow(3, at(90)))))
    assert event.reason is Reason.STRAGGLER


def test_a_pod_that_does_not_answer_says_nothing_and_one_that_moved_does_not_take_the_evidence_along() -> None:
    first = follow(JobStatus(), report(slow(3, at(5))))
    assert follow(first, None) is first
    moved = {**PODS, 1: PODS[1].model_copy(update={"node": "node-9"})}
    assert follow(first, report(slow(3, at(5))), moved) == first


def test_a_report_that_lies_about_its_nodes_has_none() -> None:
    (found,) = follow(JobStatus(), report(slow(99, at(5)))).stragglers
    assert (found.pod, found.node) == ("", "")
    assert exclusion.update(JobStatus(), JobStatus(stragglers=(found,)), built_in(), {}, AVOID, 2, at(9)) == JobStatus(
        stragglers=(found,)
    )


def test_a_trainer_that_cannot_compare_names_nobody() -> None:
    first = follow(JobStatus(), report(slow(3, at(5))))
    nothing = make_report(make_pod(JOB, 0).build(), JOB).build()
    assert nothing.stragglers is None
    assert follow(first, nothing).stragglers == ()


# ---- where nodePolicy.avoidStragglers asks for it --------------------------------------------------------------------


def excluded(before: JobStatus, after: JobStatus, policy: NodePolicy = AVOID, **more: Any) -> list[tuple[str, str]]:
    found = exclusion.update(before, after, built_in(), {}, policy, more.get("size", 2), at(more.get("seconds", 10)))
    return [(entry.node, str(entry.reason)) for entry in found.excluded_nodes]


@pytest.mark.parametrize("is_asked", [True, False])
def test_its_node_is_avoided_where_that_is_asked_for(is_asked: bool) -> None:
    after = follow(JobStatus(), report(slow(3, at(5))))
    found = excluded(JobStatus(), after, NodePolicy(avoid_stragglers=is_asked))
    assert found == ([("node-1", "Straggler")] if is_asked else [])


def test_an_exclusion_that_was_taken_back_does_not_return_while_the_process_is_slow() -> None:
    """It ends where pods find no other place, and the process is slow still."""
    after = follow(JobStatus(), report(slow(3, at(5))))
    assert excluded(after, follow(after, report(slow(3, at(5))))) == []


def test_of_two_slow_nodes_and_room_for_one_the_first_is_avoided() -> None:
    first = follow(JobStatus(), report(slow(3, at(5))))
    status = exclusion.update(JobStatus(), first, built_in(), {}, AVOID, 2, at(10))
    second = follow(status, report(slow(3, at(5)), slow(0, at(60))))
    assert excluded(status, second, seconds=60) == [("node-1", "Straggler")]
