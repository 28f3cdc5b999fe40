"""The arithmetic of the recovery benchmark's report; the benchmark itself is a command (`make bench-mttr`)."""

import pytest
from benchmarks.mttr import growth, report
from benchmarks.mttr.lives import Fault, Trial


def trial(system: str, fault: Fault, seconds: float | None, lost: int | None) -> Trial:
    return Trial(system, fault, seconds, lost, last_step=35, load=1.0)


def test_a_cell_is_the_median_of_seconds_and_steps_lost() -> None:
    trials = [trial("ours", Fault.RANK, seconds, lost) for seconds, lost in ((3.0, 1), (1.0, 0), (9.0, 15))]
    assert report.cell(trials) == "3.0 (1.0–9.0) s, 1 steps"


def test_what_did_not_recover_is_counted_and_not_averaged() -> None:
    trials = [trial("a", Fault.HANG, 2.0, 4), trial("a", Fault.HANG, None, None)]
    assert report.cell(trials) == "2.0 (2.0–2.0) s, 4 steps; never in 1 of 2"
    assert report.cell(trials[1:]) == "never (1 of 1)"
    assert report.cell([]) == ""


def test_the_table_has_a_row_for_each_system_and_a_column_for_each_fault() -> None:
    trials = [trial("ours", Fault.RANK, 1.0, 0), trial("other", Fault.NODE, 2.0, 3)]
    head, _, *rows = report.table(trials)
    assert head == "|  | rank killed | agent killed | node lost | killed in a save | rank hangs |".replace(
        "|  |", "| |"
    )
    assert rows == [
        "| ours | 1.0 (1.0–1.0) s, 0 steps |  |  |  |  |",
        "| other |  |  | 2.0 (2.0–2.0) s, 3 steps |  |  |",
    ]


@pytest.mark.parametrize("power", [0.0, 1.0, 2.0])
def test_the_slope_is_the_power_of_the_nodes(power: float) -> None:
    assert growth.slope({size: 3 * size**power for size in (64, 256, 1024)}) == pytest.approx(power)


def test_no_slope_without_two_sizes_or_with_nothing_to_take_a_logarithm_of() -> None:
    assert growth.slope({64: 1.0}) is None
    assert growth.slope({64: 1.0, 256: 0.0}) is None


def test_a_size_that_one_kind_did_not_reach_leaves_its_cell_empty() -> None:
    lines = growth.table({"gang": {64: {"requests": 64.0}, 256: {"requests": 256.0}}, "c10d": {64: {"requests": 9.0}}})
    assert lines[2:] == ["| gang, requests | 64 | 256 | 1.00 |", "| c10d, requests | 9 |  |  |"]
