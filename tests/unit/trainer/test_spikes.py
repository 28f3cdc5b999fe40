"""Unusual steps are told once, with their samples; noise, a fall and a new level are not unusual."""

import numpy as np
import pytest

from neuron_trainer.metrics.spikes import MIN_STEPS, SpikeDetector, StepSpikes

RANDOM = np.random.default_rng(5)


def test_a_spike_is_told_once_with_step_and_samples() -> None:
    watch = StepSpikes(global_batch=8)
    told = []
    for step in range(1, 101):
        loss = 2.0 + 0.05 * RANDOM.standard_normal() + (6.0 if step in (60, 61) else 0.0)
        told += watch.sentences(step, 8 * step, loss, 1.0 + 0.1 * RANDOM.standard_normal())
    assert len(told) == 1
    assert told[0].startswith("step 60: the loss is ")
    assert "samples 472 to 479" in told[0]
    assert watch.counts == {"loss": 1}
    (report,) = watch.newest
    assert (report.step, report.quantity, report.first_sample, report.last_sample) == (60, "loss", 472, 479)


def test_a_spike_after_the_first_is_another() -> None:
    watch = SpikeDetector(0.25)
    values = [2.0 + 0.01 * (step % 7) for step in range(60)]
    values[30] = values[50] = 9.0
    assert [step for step, value in enumerate(values) if watch.add(value)] == [30, 50]


@pytest.mark.parametrize("noise", [0.02, 0.2, 1.0])
@pytest.mark.parametrize("course", ["level", "fall", "warm-up"])
def test_noise_and_trends_are_not_unusual(course: str, noise: float) -> None:
    """4,000 steps of each kind; gradient norms have long tails, so their noise is log-normal."""
    steps = np.arange(4_000)
    base = {"level": 2.0 + 0 * steps, "fall": 2.0 + 8.0 * np.exp(-steps / 500), "warm-up": 10.0 - 8.0 * (steps > 50)}
    loss = base[course] * (1 + 0.1 * noise * RANDOM.standard_normal(steps.size))
    norm = base[course] * np.exp(0.3 * noise * RANDOM.standard_normal(steps.size))
    watch = StepSpikes(8)
    told = [text for step in steps for text in watch.sentences(int(step), 8, loss[step], norm[step])]
    assert told == []


def test_nothing_is_unusual_before_the_usual_is_known() -> None:
    watch = SpikeDetector(0.25)
    assert [watch.add(value) for value in [1.0] * (MIN_STEPS - 1) + [50.0]] == [None] * MIN_STEPS


def test_what_is_not_finite_is_no_spike_and_disturbs_nothing() -> None:
    watch = SpikeDetector(2.0)
    values = [1.0 + 0.01 * (step % 5) for step in range(80)]
    values[40] = float("nan")
    assert [step for step, value in enumerate(values) if watch.add(value)] == []
    assert watch.add(9.0) is not None
