"""Events are bounded, named by what they tell, and never stand in the way."""

from datetime import datetime, timedelta

from builders import NOW, make_job
from neuron_operator.kube.event_recorder import BURST, REFILL_SECONDS, Recorder
from neuron_operator.planning.status.changes import Announcement

from .fakes import FakeCluster

TOLD = Announcement("Normal", "Completed", "Complete", "Training has ended.")


class Now:
    def __init__(self) -> None:
        self.moment = NOW

    def __call__(self) -> datetime:
        return self.moment


async def test_the_same_transition_is_told_once_though_the_operator_was_restarted() -> None:
    cluster, job = FakeCluster(), make_job().build()
    for _ in range(2):
        await Recorder(cluster, "pod", Now()).post(job, [TOLD])  # type: ignore[arg-type]
    (event,) = cluster.objects.values()
    assert (event["regarding"]["name"], event["note"]) == (job.metadata.name, "Training has ended.")


async def test_a_job_that_tells_too_much_is_cut_off_and_heard_again_later() -> None:
    cluster, job, now = FakeCluster(), make_job().build(), Now()
    recorder = Recorder(cluster, "pod", now)  # type: ignore[arg-type]
    notes = [Announcement("Normal", "Completed", "Complete", str(number)) for number in range(BURST + 10)]
    await recorder.post(job, notes)
    assert len(cluster.objects) == BURST
    now.moment += timedelta(seconds=REFILL_SECONDS)
    await recorder.post(job, [TOLD, TOLD])
    assert len(cluster.objects) == BURST + 1


async def test_a_server_that_is_away_costs_the_event_and_nothing_else() -> None:
    cluster = FakeCluster()
    cluster.is_away = True
    await Recorder(cluster, "pod", Now()).post(make_job().build(), [TOLD])  # type: ignore[arg-type]


async def test_a_long_note_is_cut_to_what_the_api_takes() -> None:
    cluster = FakeCluster()
    long = Announcement("Warning", "Failed", "Fail", "x" * 5000)
    await Recorder(cluster, "pod", Now()).post(make_job().build(), [long])  # type: ignore[arg-type]
    (event,) = cluster.objects.values()
    assert len(event["note"]) == 1024


async def test_a_clock_that_was_set_back_does_not_silence_a_job() -> None:
    cluster, job, now = FakeCluster(), make_job().build(), Now()
    recorder = Recorder(cluster, "pod", now)  # type: ignore[arg-type]
    for hours in range(5):
        now.moment = NOW - timedelta(hours=6 * hours)
        await recorder.post(job, [Announcement("Normal", "Completed", "Complete", str(hours))])
    assert len(cluster.objects) == 5
