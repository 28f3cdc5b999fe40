"""Jobs about which nothing is new are asked for their progress only, and the more of them the rarer."""

from dataclasses import dataclass, field

import pytest

from builders import make_report, observed, with_status
from neuron_api.resource.progress import Progress
from neuron_operator.cache.idle_jobs import LOOKS_PER_SECOND, MAX_SECONDS, PASSES_PER_SECOND, IdleTracker
from neuron_operator.planning.observation.observation import Pod
from neuron_operator.queue.workqueue import JobKey

from .fakes import Clock
from .passes import JOB, PODS, known

KEY = JobKey("ns", "tiny")
REPORT = make_report(PODS[0].build(), JOB).build()


@dataclass
class Reader:
    """Says what it is told to."""

    answer: Progress | None = REPORT
    asked: list[str] = field(default_factory=list)

    async def read(self, pod: Pod) -> Progress | None:
        self.asked.append(pod.name)
        return self.answer


class Setting:
    """One still job."""

    def __init__(self) -> None:
        self.reader, self.clock = Reader(), Clock()
        self.stillness = IdleTracker(self.reader, 5.0, self.clock)
        self.stillness.settle(KEY, SEEN, None)


SEEN = observed(known(JOB, *PODS), PODS, [REPORT])


@pytest.fixture
def setting() -> Setting:
    return Setting()


async def test_the_same_report_needs_no_pass(setting: Setting) -> None:
    assert await setting.stillness.look(KEY) == 5.0
    assert len(setting.reader.asked) == 1


@pytest.mark.parametrize("answer", [None, REPORT.model_copy(update={"step": 9})])
async def test_another_report_or_silence_leads_to_a_pass(setting: Setting, answer: Progress | None) -> None:
    setting.reader.answer = answer
    assert await setting.stillness.look(KEY) is None
    assert await setting.stillness.look(KEY) is None
    assert len(setting.reader.asked) == 1  # no longer still: not asked before the pass


async def test_time_without_news_is_no_news_until_it_is_a_hang(setting: Setting) -> None:
    limit = JOB.spec.hang_policy.load_seconds
    setting.reader.answer = REPORT.model_copy(update={"idle_seconds": limit - 1})
    assert await setting.stillness.look(KEY) is not None
    setting.reader.answer = REPORT.model_copy(update={"idle_seconds": limit + 1})
    assert await setting.stillness.look(KEY) is None


async def test_what_happens_to_a_job_ends_its_stillness(setting: Setting) -> None:
    setting.stillness.end(KEY)
    assert await setting.stillness.look(KEY) is None
    assert setting.reader.asked == []


async def test_what_happens_during_a_pass_that_finds_nothing_is_not_passed_over(setting: Setting) -> None:
    """Else the pass that is queued for it would only ask for the progress: one of 1,000 lost pods came back after up
    to five minutes (2026-11-26, make bench-operator)."""
    setting.stillness.begin(KEY)
    setting.stillness.end(KEY)  # after its look at the pods
    setting.stillness.settle(KEY, SEEN, None)
    assert await setting.stillness.look(KEY) is None
    setting.stillness.begin(KEY)
    setting.stillness.settle(KEY, SEEN, None)
    assert await setting.stillness.look(KEY) == 5.0


async def test_a_full_pass_is_due_by_the_clock_and_by_the_plan(setting: Setting) -> None:
    setting.clock.now += 5.0
    assert await setting.stillness.look(KEY) is None
    for number in range(150):
        setting.stillness.settle(JobKey("ns", f"other-{number}"), SEEN, None)
    setting.stillness.settle(KEY, SEEN, 12.0)
    setting.clock.now += 9.0
    assert await setting.stillness.look(KEY) == 3.0
    setting.clock.now += 3.0
    assert await setting.stillness.look(KEY) is None


async def test_many_still_jobs_are_looked_at_no_more_often_than_a_few() -> None:
    setting = Setting()
    for number in range(500):
        setting.stillness.settle(JobKey("ns", f"job-{number}"), SEEN, None)
    assert setting.stillness.seconds == 501 / LOOKS_PER_SECOND
    assert setting.stillness.is_current(JobKey("ns", "job-499"), JOB.metadata.resource_version)
    setting.clock.now += 501 / PASSES_PER_SECOND
    assert not setting.stillness.is_current(JobKey("ns", "job-499"), JOB.metadata.resource_version)
    for number in range(5000):
        setting.stillness.settle(JobKey("ns", f"other-{number}"), SEEN, None)
    assert setting.stillness.seconds == MAX_SECONDS


def test_a_listing_needs_no_pass_for_the_version_that_was_seen(setting: Setting) -> None:
    version = JOB.metadata.resource_version
    assert setting.stillness.is_current(KEY, version)
    assert not setting.stillness.is_current(KEY, "another")
    assert not setting.stillness.is_current(JobKey("ns", "unknown"), version)


async def test_a_job_without_a_running_pod_zero_is_not_still() -> None:
    setting = Setting()
    setting.stillness.settle(JobKey("ns", "b"), observed(with_status(JOB), ()), None)
    assert await setting.stillness.look(JobKey("ns", "b")) is None
