"""Three failures of its own at one step end a job; nothing else does."""

import pytest

from builders import accepted, at, make_job
from neuron_api.resource.reasons import Reason
from neuron_api.resource.status import JobStatus, ProgressStatus, Restart, RestartScope
from neuron_operator.planning.restarts import crash_loop
from neuron_operator.planning.status.conditions import End

JOB = make_job().nodes(2).build()
CONFIG = accepted(JOB).config


def line(step: int | None, number: int, **values: object) -> Restart:
    defaults: dict[str, object] = {
        "restart_scope": RestartScope.PROCESS, "cause": Reason.PROCESS_FAILED, "time": at(10 * number), "round": number,
        "step": step, "pod": "tiny-0-1", "pod_uid": "pod-0-1", "node": "node-1", "rank": 3, "exit_code": 1,
        "message": "ValueError: bad token",
    }  # fmt: skip
    return Restart(**(defaults | values))  # type: ignore[arg-type]


def found(*lines: Restart, now_at: int = 0, interval: int = 1) -> End | None:
    status = JobStatus(restarts=lines, progress=ProgressStatus(step=now_at))
    trainer = CONFIG.trainer.model_copy(update={"log_every_n_steps": interval})
    return crash_loop.detect_crash_loop(status, CONFIG.model_copy(update={"trainer": trainer}))


def test_three_process_failures_at_one_step_are_the_end_and_it_names_step_rank_pod_node_and_last_line() -> None:
    end = found(line(27, 0), line(27, 1), line(27, 2))
    assert end is not None
    assert end.reason is Reason.SAME_STEP_CRASH
    assert "3 failures after step 27" in end.message
    assert "rank 3 in pod tiny-0-1 on node node-1 (exit code 1): ValueError: bad token." in end.message


def test_two_are_not() -> None:
    assert found(line(27, 0), line(27, 1)) is None


@pytest.mark.parametrize(
    ("steps", "interval", "ends"),
    [
        ((27, 28, 27), 1, True),
        ((27, 29, 27), 1, False),
        ((27, 27, 29), 1, False),
        ((20, 25, 30), 10, True),
        ((20, 25, 31), 10, False),
        ((None, None, None), 1, True),
        ((0, None, 0), 1, True),
    ],
)
def test_within_one_logging_interval_is_the_same_step(steps: tuple[int | None, ...], interval: int, ends: bool) -> None:
    lines = [line(step, number) for number, step in enumerate(steps)]
    assert (found(*lines, interval=interval) is not None) is ends


GANG = {"restart_scope": RestartScope.GANG, "cause": Reason.POD_FAILED, "rank": 3}


def test_restarts_of_processes_and_of_gangs_count_alike() -> None:
    assert found(line(27, 0), line(27, 1, **GANG), line(27, 2, attempt=1))


@pytest.mark.parametrize(
    "other",
    [
        {"cause": Reason.POD_DELETED, "restart_scope": RestartScope.POD},
        {"cause": Reason.POD_EVICTED, "restart_scope": RestartScope.POD},
        {"cause": Reason.NODE_LOST, "restart_scope": RestartScope.POD},
        {"cause": Reason.POD_PREEMPTED, "restart_scope": RestartScope.POD},
        {"cause": Reason.NODE_MAINTENANCE, "restart_scope": RestartScope.POD},
        {"cause": Reason.HARDWARE_FAULT, "rule": "sram-uncorrectable"},
        {"cause": Reason.SUSPENDED, "restart_scope": RestartScope.GANG},
        {"cause": Reason.HANG, "restart_scope": RestartScope.GANG},
        {"cause": Reason.PROCESS_KILLED, "exit_code": -9},
        {"cause": Reason.PROCESS_KILLED, "exit_code": -15},
        {"cause": Reason.PROCESS_KILLED, "exit_code": 137, "restart_scope": RestartScope.POD},
        {**GANG, "message": "rank 3 failed at step 27: ended by SIGKILL"},
    ],
)
def test_disruptions_faults_of_the_hardware_and_kills_from_outside_never_count(other: dict[str, object]) -> None:
    assert found(*(line(27, number, **other) for number in range(5))) is None
    assert found(line(27, 0), line(27, 1, **other), line(27, 2)) is None
    assert found(line(27, 0), line(27, 1, **other), line(27, 2), line(27, 3)) is not None


@pytest.mark.parametrize(
    "own",
    [
        {"cause": Reason.PROCESS_KILLED, "exit_code": -11},
        {"cause": Reason.PROCESS_KILLED, "exit_code": -6},
        {"cause": Reason.OUT_OF_MEMORY, "restart_scope": RestartScope.POD, "exit_code": 137},
        {"cause": Reason.COLLECTIVE_HANG, "rule": "collective-hang"},
        {**GANG, "message": "rank 3 failed at step 27: ended by SIGSEGV"},
    ],
)
def test_what_only_the_program_can_have_done_counts(own: dict[str, object]) -> None:
    assert found(*(line(27, number, **own) for number in range(3)))


def test_a_job_that_got_further_in_between_is_not_at_the_same_step() -> None:
    assert found(line(27, 0), line(27, 1), line(90, 2, cause=Reason.POD_DELETED), line(27, 3)) is None
    assert found(line(27, 0), line(27, 1), line(27, 2), now_at=28) is None
    assert found(line(27, 0), line(27, 1), line(27, 2), now_at=27)


def test_an_earlier_step_in_between_does_not_hide_it() -> None:
    assert found(line(27, 0), line(20, 1, cause=Reason.POD_DELETED), line(27, 2), line(27, 3))


def test_one_failure_that_is_told_by_two_lines_counts_once() -> None:
    gave_up = line(27, 1, **GANG, round=1)
    assert found(line(27, 0), line(27, 1), gave_up) is None
    together = [
        line(27, 5, restart_scope=RestartScope.POD, cause=Reason.OUT_OF_MEMORY, pod=f"tiny-0-{n}") for n in range(3)
    ]
    assert found(*together) is None
    rolling = {"restart_scope": RestartScope.POD, "cause": Reason.OUT_OF_MEMORY}
    one_by_one = [line(27, 0, **rolling, time=at(n), pod=f"tiny-0-{n}", pod_uid=f"pod-0-{n}") for n in range(3)]
    assert found(*one_by_one) is None, "each was told within a second of the one before"
    again = [line(27, 0, **rolling, time=at(60 * n), pod=f"tiny-0-{n}", pod_uid=f"pod-0-{n}") for n in range(3)]
    assert found(*again) is not None
