"""The account of a job's time in its status: it adds up to the job's age, whoever speaks of which part and when."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest

from builders import NOW, at, make_job, make_pod, make_report, observed
from neuron_api import contract, timeline
from neuron_api.resource.job import NeuronTrainingJob
from neuron_api.resource.progress import Progress, TimeReport
from neuron_api.resource.reasons import ConditionType, Reason
from neuron_api.resource.status import (
    Condition,
    ConditionStatus,
    JobStatus,
    ProgressStatus,
    Restart,
    RestartScope,
    SuspensionStatus,
)
from neuron_api.resource.time_spent import DAY, MAX_MARKS, TimeSpent
from neuron_api.timeline import Activity
from neuron_operator.monitoring.job_metrics import JobMetrics
from neuron_operator.planning.observation.observation import Pod
from neuron_operator.planning.status import account, time_spent
from neuron_operator.planning.status.changes import is_progress_only_change

JOB = make_job().nodes(2).metadata(creation_timestamp=NOW).build()


class Account:
    """A job whose status is written at every look: something is always new."""

    def __init__(self, job: NeuronTrainingJob = JOB) -> None:
        self.job, self.looks = job, 0

    def look(
        self, seconds: float, pods: list[Pod] | None = None, report: Progress | None = None, **status: Any
    ) -> dict[str, float]:
        self.looks += 1
        seen = observed(self.job, pods or (), [report] if report else ())
        after = self.job.status.model_copy(update={"observed_generation": self.looks, **status})
        after = time_spent.update(seen, after, at(seconds))
        self.job = self.job.model_copy(update={"status": after})
        spent = self.spent
        assert spent.total == pytest.approx((spent.end_time - spent.start_time).total_seconds(), abs=1e-6)
        return dict(spent.seconds)

    @property
    def spent(self) -> TimeSpent:
        assert self.job.status.time_spent is not None
        return self.job.status.time_spent


def pod(index: int = 0, attempt: int = 0, **times: float) -> Pod:
    """A pod whose times are seconds from NOW."""
    moments = {name: at(seconds) for name, seconds in times.items()}
    made = make_pod(JOB, index, attempt)
    built = (made.ready() if "started_at" in times else made).build()
    fields = {name: getattr(built, name) for name in built.__dataclass_fields__}
    return Pod(**{**fields, "created_at": None, "scheduled_at": None, "started_at": None, **moments})


def says(since: float, until: float, activity: str = "step", attempt: int = 0, **seconds: float) -> Progress:
    report = make_report(make_pod(JOB, 0, attempt).build(), JOB).build()
    spent = TimeReport(since=at(since), until=at(until), seconds=seconds, activity=activity)
    return report.model_copy(update={"time_spent": spent})


UP = {"created_at": 1.0, "scheduled_at": 11.0, "started_at": 31.0}


def trained(ledger: Account) -> None:
    """A job that trains: 10 s of placement, 20 s of image, 8 s of loading, 50 s of steps."""
    ledger.look(2, [pod(created_at=1)])
    ledger.look(95, [pod(**UP), pod(1, **UP)], says(32, 90, load=8.0, step=50.0))


def test_a_start_is_placement_image_and_what_the_launcher_says() -> None:
    ledger = Account()
    assert ledger.look(2, [pod(created_at=1)]) == {"placement": 1.0, "idle": 1.0}
    ledger.look(95, [pod(**UP), pod(1, **UP)], says(32, 90, load=8.0, step=50.0))
    expected = {"idle": 1.0, "placement": 10.0, "image": 20.0, "start": 1.0, "load": 8.0, "step": 50.0}
    assert ledger.spent.seconds == expected
    assert ledger.spent.until_now(at(95))["step"] == 55.0, "it goes on with what it did"


def test_time_before_the_admission_is_the_queues() -> None:
    job = make_job().nodes(2).metadata(creation_timestamp=NOW).spec(scheduling={"gang": "Kueue"}).build()
    ledger = Account(job)
    assert ledger.look(60, [pod(created_at=1)]) == {"queue": 59.0, "idle": 1.0}
    admitted = Condition(
        type=ConditionType.ADMITTED,
        status=ConditionStatus.TRUE,
        reason=Reason.ADMITTED,
        last_transition_time=at(100),
    )
    assert ledger.look(120, [pod(created_at=1)], conditions=(admitted,)) == {
        "queue": 99.0,
        "placement": 20.0,
        "idle": 1.0,
    }


def test_a_status_without_news_is_not_written_for_the_account() -> None:
    ledger = Account()
    trained(ledger)
    seen = observed(ledger.job, [pod(**UP), pod(1, **UP)], [says(32, 94, load=8.0, step=54.0)])
    assert time_spent.update(seen, ledger.job.status, at(95)) is ledger.job.status
    moved = ledger.job.status.model_copy(update={"progress": ProgressStatus(step=3)})
    assert is_progress_only_change(
        ledger.job.status.model_copy(update={"progress": ProgressStatus(step=2)}),
        time_spent.update(seen, moved, at(95)),
    )


def test_a_lost_launcher_has_cut_off_one_step_and_the_rest_is_idle() -> None:
    ledger = Account()
    trained(ledger)
    failure = Restart(restart_scope=RestartScope.GANG, cause=Reason.POD_DELETED, time=at(100))
    before = dict(ledger.spent.seconds)
    ledger.look(107, [], restarts=(failure,), progress=ProgressStatus(step=9, seconds_per_step=3.0))
    assert timeline.difference(ledger.spent.seconds, before) == {"step": 7.0, "rework": 3.0, "idle": 7.0}


def test_an_operator_that_was_away_takes_the_pods_word_for_its_end() -> None:
    ledger = Account()
    trained(ledger)
    failure = Restart(restart_scope=RestartScope.GANG, cause=Reason.POD_FAILED, time=at(10_800))
    host = make_pod(JOB, 0, 0).failed(1, at=at(110)).build()
    ended = replace(host, created_at=at(1), scheduled_at=at(11), finished_at=at(110))
    before = dict(ledger.spent.seconds)
    ledger.look(10_801, [ended], restarts=(failure,), progress=ProgressStatus(step=9, seconds_per_step=3.0))
    assert timeline.difference(ledger.spent.seconds, before) == {"step": 17.0, "rework": 3.0, "idle": 10_691.0}


def test_a_hang_lasts_from_the_newest_step_until_it_was_noticed() -> None:
    ledger = Account()
    trained(ledger)
    failure = Restart(restart_scope=RestartScope.GANG, cause=Reason.HANG, time=at(190))
    before = dict(ledger.spent.seconds)
    ledger.look(192, [], restarts=(failure,))
    assert timeline.difference(ledger.spent.seconds, before) == {"hang": 100.0, "idle": 2.0}


def test_a_suspension_is_no_other_activity() -> None:
    ledger = Account()
    trained(ledger)
    stop = SuspensionStatus(request_time=at(91), stop_time=at(92))
    before = dict(ledger.spent.seconds)
    ledger.look(100, [], suspension=stop)
    ledger.look(400, [], suspension=None, attempt=1)
    assert timeline.difference(ledger.spent.seconds, before) == {"step": 2.0, "suspended": 308.0}


def test_the_wait_for_another_pod_is_no_rendezvous() -> None:
    """Pod 1 is lost at 95, made again at 100, has a node at 130 and its image at 150; all meet at 152."""
    ledger = Account()
    trained(ledger)
    other = pod(1, created_at=100, scheduled_at=130, started_at=150)
    before = dict(ledger.spent.seconds)
    ledger.look(160, [pod(**UP), other], says(32, 160, load=8.0, step=63.0, rendezvous=57.0))
    assert timeline.difference(ledger.spent.seconds, before) == {
        "placement": 30.0,
        "image": 20.0,
        "step": 13.0,
        "idle": 7.0,
    }


def test_nobody_waits_for_a_pod_that_stands_by() -> None:
    ledger = Account()
    trained(ledger)
    standby = replace(pod(2, created_at=40), labels={contract.LABEL_STANDBY: "true"})
    before = dict(ledger.spent.seconds)
    ledger.look(110, [pod(**UP), pod(1, **UP), standby], says(32, 110, load=8.0, step=65.0, rendezvous=5.0))
    assert timeline.difference(ledger.spent.seconds, before) == {"rendezvous": 5.0, "step": 15.0}


def test_a_new_launcher_begins_where_the_old_one_was_lost() -> None:
    ledger = Account()
    trained(ledger)
    failure = Restart(restart_scope=RestartScope.GANG, cause=Reason.POD_DELETED, time=at(90))
    ledger.look(92, [], restarts=(failure,))
    again = {"created_at": 95.0, "scheduled_at": 96.0, "started_at": 99.0}
    before = dict(ledger.spent.seconds)
    report = says(100, 130, attempt=1, load=4.0, rework=10.0, step=16.0)
    ledger.look(130, [pod(0, 1, **again), pod(1, 1, **again)], report, attempt=1)
    assert timeline.difference(ledger.spent.seconds, before) == {
        "placement": 1.0,
        "image": 3.0,
        "start": 1.0,
        "load": 4.0,
        "step": 16.0,
        "rework": 10.0,
        "idle": 3.0,
    }


def test_a_job_that_an_earlier_release_ran_is_counted_from_now_on() -> None:
    ledger = Account(JOB.model_copy(update={"status": JobStatus(start_time=NOW)}))
    ledger.look(1000, [])
    assert ledger.spent.start_time == at(1000)


def test_names_that_a_pod_makes_up_do_not_make_the_status_grow() -> None:
    ledger = Account()
    for turn in range(1, 50):
        report = says(0, 100 * turn, activity=f"new {turn}", **{f"odd {turn}": 60.0 * turn, "step": 40.0 * turn})
        ledger.look(100 * turn, [pod(**UP), pod(1, **UP)], report)
    assert set(ledger.spent.seconds) <= set(Activity)
    assert ledger.spent.activity in set(Activity)


def test_a_job_that_is_over_has_its_last_second() -> None:
    ledger = Account()
    trained(ledger)
    ledger.look(120, [], completion_time=at(110), phase="Succeeded")
    assert ledger.spent.end_time == at(110)
    assert time_spent.update(observed(ledger.job), ledger.job.status, at(999)) is ledger.job.status


def test_the_last_day_is_told_from_all_the_time_before() -> None:
    ledger = Account()
    hours = 3600.0
    up = dict.fromkeys(UP, 0.0)
    for hour in range(1, 101):
        spent = {"load": min(hour, 60) * hours, "step": max(0, hour - 60) * hours}
        ledger.look(hour * hours, [pod(**up), pod(1, **up)], says(0, hour * hours, **spent))
        assert len(ledger.spent.marks) <= MAX_MARKS
    now = at(100 * hours)
    seconds, is_part = ledger.spent.of_last_day(ledger.spent.until_now(now), now)
    assert is_part
    assert set(seconds) == {"step"}
    assert DAY.total_seconds() <= seconds["step"] <= 1.25 * DAY.total_seconds()


def test_metrics_have_each_activity() -> None:
    ledger = Account()
    trained(ledger)
    metrics = JobMetrics(lambda: NOW)
    metrics.see(ledger.job, ledger.job.status)
    registry = CollectorRegistry()
    registry.register(metrics)
    text = generate_latest(registry).decode()
    labels = 'activity="image",training_job="tiny",training_namespace="team"'
    assert f"neuron_training_time_seconds_total{{{labels}}} 20.0" in text
    assert text.count("neuron_training_time_seconds_total{") == len(Activity), "also those that have not been yet"


MOMENT = st.floats(0, 500)
LOOKS = st.lists(
    st.tuples(
        MOMENT,
        st.sampled_from(("nothing", "pods", "report", "failure", "hang", "suspend", "resume")),
        st.tuples(MOMENT, MOMENT, MOMENT),
        st.integers(0, 2),
    ),
    max_size=15,
)


@settings(max_examples=150)
@given(LOOKS)
def test_any_order_of_facts_adds_up_to_the_age(looks: list[tuple[float, str, tuple[float, float, float], int]]) -> None:
    """Also with times that contradict each other: of other clocks, in the future, of pods of other attempts."""
    ledger = Account()
    for moment, kind, (one, two, three), attempt in looks:
        up = [pod(0, attempt, created_at=one, scheduled_at=two, started_at=three), pod(1, attempt, created_at=two)]
        match kind:
            case "nothing":
                ledger.look(moment)
            case "pods":
                ledger.look(moment, up, attempt=attempt)
            case "report":
                report = says(one, two, attempt=attempt, step=three, rendezvous=one)
                ledger.look(moment, up, report, attempt=attempt)
            case "failure" | "hang":
                cause = Reason.HANG if kind == "hang" else Reason.POD_DELETED
                line = Restart(restart_scope=RestartScope.GANG, cause=cause, time=at(one))
                ledger.look(moment, restarts=(line,))
            case "suspend":
                ledger.look(moment, suspension=SuspensionStatus(request_time=at(one), stop_time=at(two)))
            case "resume":
                ledger.look(moment, suspension=None)
    if looks:
        age = ledger.spent.end_time - NOW
        assert ledger.spent.total == pytest.approx(age / timedelta(seconds=1), abs=1e-6)


# ---- what people read --------------------------------------------------------------------------------------------


def test_status_and_why_say_where_the_time_went_and_how_it_can_be_had_back() -> None:
    seconds = {"step": 600.0, "rework": 310.0, "load": 80.0, "idle": 10.0}
    spent = TimeSpent(start_time=at(-1000), end_time=NOW, seconds=seconds)
    job = JOB.model_copy(update={"status": JobStatus(time_spent=spent)})
    assert account.account_line(job, NOW) == "step 60%, rework 31%, load 8% of 16m40s"
    (line,) = account.largest_loss(job, NOW)
    assert line == (
        "31% of its 16m40s went into rework, most of what was lost. Save more often (every_n_train_steps): a failure "
        "then repeats fewer steps."
    )


def test_a_suspension_neither_is_a_loss_nor_hides_one() -> None:
    seconds = {"step": 600.0, "save": 400.0, "suspended": 90_000.0}
    spent = TimeSpent(start_time=at(-91_000), end_time=NOW, seconds=seconds)
    (line,) = account.largest_loss(JOB.model_copy(update={"status": JobStatus(time_spent=spent)}), NOW)
    assert line.startswith("40% of its 16m40s went into save")


def test_little_loss_a_young_job_and_none_of_an_account_need_no_advice() -> None:
    for seconds, age in (({"step": 990.0, "save": 10.0}, 1000), ({"start": 20.0}, 20)):
        spent = TimeSpent(start_time=at(-age), end_time=NOW, seconds=seconds)
        job = JOB.model_copy(update={"status": JobStatus(time_spent=spent)})
        assert account.largest_loss(job, NOW) == ()
    assert account.account_line(JOB, NOW) is None


def test_pods_that_are_up_wait_for_no_node_any_more() -> None:
    spent = TimeSpent(start_time=at(-100), end_time=at(-40), seconds={"placement": 60.0}, activity="placement")
    assert spent.until_now(NOW) == {"placement": 100.0}
    assert spent.until_now(NOW, is_up=True) == {"placement": 60.0, "start": 40.0}
