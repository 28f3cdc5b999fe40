"""The incremental reader against the one that reads everything: after whatever a run appends, both see the same run.

The kind: how the files of a log directory grow. Looked at: steps, validations and starts in random order with starts
that go back, lines that are written in pieces, files that are cut, replaced and written anew.
"""

import math
import random
from pathlib import Path
from typing import Any

import pytest

from neuron_api import contract
from neuron_api.thinning import MAX_POINTS, ThinnedSeries
from neuron_trainer.metrics import run_reader
from neuron_trainer.metrics.history import (
    STARTS_FILE,
    StartRecord,
    StepMetrics,
    ValidationMetrics,
    open_history,
)
from neuron_trainer.metrics.run_reader import RunReader

BEGIN = 1_790_000_000.0


def step(number: int, loss: float = 2.0, time: float = BEGIN) -> StepMetrics:
    return StepMetrics(number, loss, 1e-3, 0.5, 8 * number, 1000.0, time + 2 * number)


def compare(reader: RunReader, folder: Path) -> None:
    run, whole = reader.read(), open_history(folder).history()
    assert run.steps == whole.steps
    assert run.logged == len(whole.steps)
    assert run.validations == whole.validations
    assert run.starts == whole.starts
    assert [line.step for line in run.recent[-1:]] == [line.step for line in whole.steps[-1:]]


@pytest.mark.parametrize("seed", range(40))
def test_what_was_appended_and_what_is_read_at_once_are_the_same_run(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    file, reader = open_history(tmp_path), RunReader(tmp_path)
    last = 0
    file.begin(StartRecord(0, 0, BEGIN))
    for moment in range(rng.randrange(1, 60)):
        match rng.randrange(8):
            case 0:
                back = rng.randrange(last + 1)
                file = open_history(tmp_path)
                file.begin(StartRecord(back, last - back, BEGIN + moment))
                last = back
            case 1 if last:
                file.append(ValidationMetrics(last, rng.random(), BEGIN + moment))
            case _:
                last += rng.randrange(1, 3)
                file.append(step(last, rng.random(), BEGIN + moment))
        if rng.random() < 0.5:
            compare(reader, tmp_path)
    compare(reader, tmp_path)


def test_only_what_was_appended_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, reader, parsed = open_history(tmp_path), RunReader(tmp_path), list[bytes]()
    parse = run_reader.parse

    def count(kind: Any, text: bytes) -> Any:
        parsed.append(text)
        return parse(kind, text)

    monkeypatch.setattr(run_reader, "parse", count)
    file.begin(StartRecord(0, 0, BEGIN))
    for number in range(1, 101):
        file.append(step(number))
    first = reader.read()
    assert len(parsed) == 101
    assert reader.read() is first
    file.append(step(101))
    assert reader.read().steps[-1].step == 101
    assert len(parsed) == 102


def test_a_line_counts_when_it_is_whole(tmp_path: Path) -> None:
    file, reader = open_history(tmp_path), RunReader(tmp_path)
    file.append(step(1))
    path = tmp_path / contract.METRICS_FILE
    text = path.read_bytes()
    file.append(step(2))
    more = path.read_bytes()[len(text) :]
    path.write_bytes(text)
    assert len(reader.read().steps) == 1
    for end in range(1, len(more)):
        path.write_bytes(text + more[:end])
        assert len(reader.read().steps) == 1
    path.write_bytes(text + more)
    compare(reader, tmp_path)


@pytest.mark.parametrize("way", ["cut", "replaced", "written anew", "removed"])
def test_files_of_another_run_are_read_from_their_beginning(tmp_path: Path, way: str) -> None:
    file, reader = open_history(tmp_path), RunReader(tmp_path)
    file.begin(StartRecord(0, 0, BEGIN))
    for number in range(1, 11):
        file.append(step(number))
    compare(reader, tmp_path)
    path = tmp_path / contract.METRICS_FILE
    lines = path.read_bytes().splitlines(keepends=True)
    match way:
        case "cut":
            path.write_bytes(b"".join(lines[:4]))
        case "replaced":
            other = tmp_path / "other"
            other.write_bytes(b"".join(lines[5:]) * 2)
            other.replace(path)
        case "written anew":
            path.write_bytes(b"".join(line.replace(b"2.0", b"3.0") for line in lines) + lines[-1].replace(b"10", b"11"))
        case _:
            for name in (contract.METRICS_FILE, STARTS_FILE):
                (tmp_path / name).unlink()
    compare(reader, tmp_path)


@pytest.mark.parametrize("count", [1, 2, 99, 100, 101, 1_000, 12_345])
def test_a_long_run_is_thinned_and_no_spike_is_lost(count: int) -> None:
    losses = {count // 3 + 1: 99.0, count // 2 + 1: -1.0, 2 * count // 3 + 1: math.nan}
    series = ThinnedSeries[StepMetrics](lambda line: line.step, lambda line: line.loss, 100)
    for number in range(1, count + 1):
        series.add(step(number, losses.get(number, 2.0)))
    numbers = [line.step for line in series.lines()]
    assert len(numbers) <= 100
    assert series.count == count
    assert numbers == sorted(set(numbers))
    assert numbers[-1] == count
    assert {number for number in losses if number <= count} <= set(numbers)


def test_steps_that_are_done_again_take_the_place_of_the_first_ones() -> None:
    series = ThinnedSeries[StepMetrics](lambda line: line.step, lambda line: line.loss, 50)
    for number in range(1, 1_001):
        series.add(step(number))
    for number in range(401, 601):
        series.add(step(number, 3.0))
    lines = series.lines()
    assert lines[-1].step == 600
    assert all((line.loss == 3.0) == (line.step > 400) for line in lines)
    assert [line.step for line in lines] == sorted({line.step for line in lines})


def test_a_reader_keeps_a_bounded_part(tmp_path: Path) -> None:
    file, reader = open_history(tmp_path), RunReader(tmp_path)
    with (tmp_path / contract.METRICS_FILE).open("a") as output:
        file.append(step(1))
        text = (tmp_path / contract.METRICS_FILE).read_text()
        for number in range(2, 5_000):
            output.write(text.replace('"step": 1,', f'"step": {number},'))
    run = reader.read()
    assert (run.logged, run.steps[-1].step) == (4_999, 4_999)
    assert len(run.steps) <= MAX_POINTS
    assert len(run.recent) == 20
