"""Unusual steps in the status: each once, over restarts, with the samples that it had read."""

import math

import pytest
from pydantic import ValidationError

from builders import make_job, make_pod, make_report
from neuron_api.contract import MAX_SPIKES
from neuron_api.resource.progress import Progress, SpikeReport
from neuron_api.resource.status import JobStatus
from neuron_operator.planning.status import spikes
from neuron_operator.planning.status.changes import announcements, is_progress_only_change

JOB = make_job().nodes(2).build()


def spike(step: int, quantity: str = "loss") -> SpikeReport:
    return SpikeReport(
        step=step, quantity=quantity, value=9.5, usual=2.25, first_sample=8 * (step - 1), last_sample=8 * step - 1
    )


def report(*unusual: SpikeReport) -> Progress:
    return make_report(make_pod(JOB, 0).build(), JOB).build().model_copy(update={"newest_spikes": unusual})


def test_an_unusual_step_is_announced_once_with_what_it_had_read() -> None:
    first = spikes.update(JobStatus(), report(spike(60)))
    (event,) = announcements(JobStatus(), first)
    assert (event.kind, event.reason) == ("Warning", "UnusualStep")
    assert event.note.startswith("Step 60: the loss was 9.5, and 2.25 was usual in the steps before. It had read ")
    assert "samples 472 to 479" in event.note
    assert not is_progress_only_change(JobStatus(), first), "it is written at once"
    assert spikes.update(first, report(spike(60))) is first
    assert spikes.update(first, None) is first


def test_a_step_that_was_done_again_is_the_same_and_another_quantity_is_not() -> None:
    first = spikes.update(JobStatus(), report(spike(60)))
    restarted = spikes.update(first, report())
    assert restarted.spikes == first.spikes, "a start that has seen none yet"
    again = spikes.update(restarted, report(spike(60), spike(60, "gradient norm")))
    assert [event.note[:27] for event in announcements(restarted, again)] == ["Step 60: the gradient norm "]


def test_the_newest_are_kept() -> None:
    status = JobStatus()
    for step in range(1, 20):
        status = spikes.update(status, report(spike(step)))
    assert [each.step for each in status.spikes] == list(range(20 - MAX_SPIKES, 20))
    assert JobStatus.model_validate_json(status.model_dump_json(by_alias=True)) == status


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_no_launcher_reports_what_json_has_no_number_for(value: float) -> None:
    with pytest.raises(ValidationError):
        SpikeReport(step=1, quantity="loss", value=value, usual=1.0, first_sample=0, last_sample=7)
