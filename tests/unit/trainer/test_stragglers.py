"""A slow process is named within 30 steps, once, with its evidence; noise of any kind names nobody."""

from pathlib import Path

import numpy as np
import pytest

from neuron_api.platform.topology import Topology
from neuron_trainer.metrics.stragglers import (
    Array,
    RankComparison,
    Straggler,
    StragglerDetector,
    others_median,
    work_groups,
)

RECORDED = Path(__file__).parents[2] / "data" / "step-times"
"""Seconds of 4 processes in each step, [steps, processes, (work, data)]: see the README beside them."""


def _times(steps: int, processes: int, noise: float, seed: int = 0) -> Array:
    """Normal noise around 0.4 s, and what all have in common: batches that differ."""
    random = np.random.default_rng(seed)
    common = np.exp(0.3 * random.standard_normal((steps, 1)))
    return np.asarray(0.4 * common * np.exp(noise * random.standard_normal((steps, processes))))


def _named(times: Array, data: Array | None = None) -> list[Straggler]:
    detector = StragglerDetector([0] * times.shape[1])
    waits = np.zeros_like(times) if data is None else data
    return [one for step, row in enumerate(times) for one in detector.add(step, row, waits[step])]


@pytest.mark.parametrize("processes", [2, 3, 4, 7, 64])
def test_the_median_of_the_others(processes: int) -> None:
    rows = np.random.default_rng(1).integers(1, 9, (20, processes)).astype(float)
    expected = [[np.median(np.delete(row, place)) for place in range(processes)] for row in rows]
    assert np.array_equal(others_median(rows), expected)


@pytest.mark.parametrize("processes", [2, 4, 16, 128, 1024])
@pytest.mark.parametrize("noise", [0.01, 0.05])
def test_a_fifth_slower_is_named_within_30_steps(processes: int, noise: float) -> None:
    for begin in (40, 42, 44):  # wherever looks fall
        times = _times(80, processes, noise, seed=begin)
        times[begin:, 1] *= 1.2
        named = _named(times[: begin + 30])
        assert [one.rank for one in named] == [1], (begin, named)
        assert 1.1 < named[0].ratio < 1.3
        assert named[0].part == "work"


@pytest.mark.parametrize("processes", [2, 4, 128])
def test_a_process_that_is_slow_from_the_first_step(processes: int) -> None:
    times = _times(30, processes, 0.05)
    times[:, processes - 1] *= 1.2
    assert [one.rank for one in _named(times)] == [processes - 1]


def test_where_times_vary_much_a_longer_window_decides() -> None:
    times = _times(400, 4, 0.3)
    times[100:, 2] *= 1.4
    named = _named(times)
    assert [one.rank for one in named] == [2]
    assert named[0].steps > 20
    assert named[0].step < 100 + 165


def _draws(kind: str, steps: int, processes: int, scale: float, seed: int) -> Array:
    random = np.random.default_rng(seed)
    shape = steps, processes
    match kind:
        case "long tails on both sides":
            noise = np.exp(scale * random.standard_t(3, shape) / 1.7)
        case "long tail above":
            noise = 1 + scale * random.pareto(1.5, shape)
        case "pauses":
            noise = np.where(random.random(shape) < 0.1, 1 + 5 * random.random(shape), 1 + 0.02 * random.random(shape))
        case _:  # what has begun goes on for some steps
            noise = np.empty(shape)
            last = np.zeros(processes)
            for step in range(steps):
                last = 0.7 * last + 0.7 * random.standard_normal(processes)
                noise[step] = np.exp(scale * last)
    return np.asarray(0.4 * noise)


@pytest.mark.parametrize("kind", ["long tails on both sides", "long tail above", "pauses", "similar steps"])
@pytest.mark.parametrize(("processes", "steps"), [(2, 2000), (64, 600), (1024, 100)])
def test_noise_names_nobody(kind: str, processes: int, steps: int) -> None:
    for seed, scale in enumerate((0.02, 0.1, 0.3)):
        assert _named(_draws(kind, steps, processes, scale, seed)) == [], scale


def test_recorded_noise_names_nobody_and_hides_nobody() -> None:
    """Two processes a core on a machine that was busy with other programs, too."""
    recorded = np.load(RECORDED / "two-a-core.npz")["seconds"].astype(float)
    work, data = recorded[..., 0], recorded[..., 1]
    assert len(work) >= 2000
    assert _named(work, data) == []
    slow = work[:700].copy()
    slow[300:, 3] *= 1.3
    named = _named(slow, data[:700])
    assert [one.rank for one in named] == [3]
    assert named[0].step >= 300


def test_it_is_named_once_and_again_only_after_it_was_healthy() -> None:
    times = _times(400, 4, 0.03)
    times[50:150, 0] *= 1.5
    times[250:350, 0] *= 1.5
    assert [(one.rank, one.step // 100) for one in _named(times)] == [(0, 0), (0, 2)]


def test_what_is_slow_by_less_than_a_tenth_is_none() -> None:
    times = _times(400, 8, 0.02)
    times[:, 3] *= 1.07
    assert _named(times) == []


def test_steps_of_a_few_milliseconds_are_not_worth_it() -> None:
    times = _times(200, 4, 0.02) / 100
    times[:, 3] *= 1.3
    assert _named(times) == []


def test_a_process_that_waits_for_its_data() -> None:
    times = _times(100, 4, 0.02)
    data = np.full_like(times, 0.01)
    data[30:, 2] += 0.2
    named = _named(times, data)
    assert [(one.rank, one.part) for one in named] == [(2, "data")]


# ---- ranks, nodes, sentences ---------------------------------------------------------------------------------------


def _topology(**changes: int) -> Topology:
    values = {
        "num_nodes": 2,
        "processes_per_node": 2,
        "tensor_parallel": 1,
        "pipeline_parallel": 1,
        "context_parallel": 1,
        "data_parallel": 4,
        "micro_batches": 1,
    }
    return Topology(**(values | changes))


def _feed(ranks: RankComparison, times: Array, begin: int = 0) -> list[str]:
    zeros = np.zeros_like(times)
    table = (np.stack([times, zeros, zeros], axis=2) * 1e6).astype(np.int64)
    return [text for step, rows in enumerate(table) for text in ranks.add(begin + step, rows)]


def test_the_sentence_has_rank_node_evidence_and_what_to_do() -> None:
    ranks = RankComparison(_topology(), experts=1)
    times = _times(60, 4, 0.01)
    times[20:, 3] *= 1.5
    (text,) = _feed(ranks, times)
    assert text.startswith("step ")
    assert "rank 3 on node 1 is slow, and all others wait: 1.5" in text
    assert "median of 20 steps" in text
    assert "Look at node 1: clocks" in text
    (report,) = ranks.reports
    assert (report.rank, report.node_rank, report.part, report.steps) == (3, 1, "work", 20)
    assert report.seconds > 1.3 * report.usual_seconds


def test_a_node_is_named_where_all_its_processes_are_slow() -> None:
    ranks = RankComparison(_topology(num_nodes=3, data_parallel=6), experts=1)
    times = _times(60, 6, 0.01)
    times[20:, 2:4] *= 1.5
    (text,) = _feed(ranks, times)
    assert "all 2 ranks of node 1 are slow" in text
    assert [report.rank for report in ranks.reports] == [2, 3]


def test_that_it_is_healthy_again_is_said_and_it_leaves_the_report() -> None:
    ranks = RankComparison(_topology(), experts=1)
    times = _times(120, 4, 0.01)
    times[20:60, 3] *= 1.5
    slow, healthy = _feed(ranks, times)
    assert "rank 3 on node 1 is slow" in slow
    assert "rank 3 is as fast as the others again" in healthy
    assert ranks.reports == ()


def test_only_processes_with_the_same_work_are_compared() -> None:
    stages = _topology(pipeline_parallel=2, data_parallel=2)
    assert work_groups(stages, 1) == [(0, 0, 0), (0, 0, 0), (1, 0, 0), (1, 0, 0)]
    ranks = RankComparison(stages, experts=1)
    times = _times(60, 4, 0.01)
    times[:, 2:] *= 2.0  # the last stage has the head
    assert _feed(ranks, times) == []
    assert not RankComparison(_topology(pipeline_parallel=4, data_parallel=1), experts=1).compares
    assert not RankComparison(_topology(), experts=4).compares
    sequences = _topology(context_parallel=2, data_parallel=1, tensor_parallel=2)
    assert work_groups(sequences, 1) == [(0, 0, 0), (0, 0, 0), (0, 1, 0), (0, 1, 0)]


def test_the_first_step_of_a_start_is_not_measured() -> None:
    ranks = RankComparison(_topology(), experts=1)
    assert ranks.add(0, np.zeros((4, 3), dtype=np.int64)) == []
    assert ranks.add(0, np.zeros((4, 0), dtype=np.int64)) == []
