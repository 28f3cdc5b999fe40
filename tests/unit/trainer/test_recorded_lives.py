"""Runs that were recorded while they were killed, stopped, frozen and started again (tests/distributed/lives.py): the
seconds of their timelines add up to the wall time that was measured beside them."""

import json
from pathlib import Path
from typing import Any

import pytest

from neuron_api import timeline
from neuron_trainer.cli import timeline_picture
from neuron_trainer.metrics.timeline import timeline_file

LIVES = sorted((Path(__file__).parents[2] / "data" / "lives").iterdir())


@pytest.fixture(params=LIVES, ids=lambda path: str(path.name))
def life(request: pytest.FixtureRequest) -> Path:
    folder: Path = request.param
    return folder


def wall(life: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((life / "wall.json").read_text())
    return values


def test_the_seconds_add_up_to_the_wall_time_within_a_hundredth(life: Path) -> None:
    measured = wall(life)
    line = timeline_file.read(life, measured["steps"])
    seconds = sum(timeline.total(line).values())
    assert seconds == pytest.approx(line[-1].end - line[0].begin, abs=1e-6), "without gaps"
    assert seconds == pytest.approx(measured["end"] - measured["begin"], rel=0.01)


def test_what_happened_is_in_the_seconds(life: Path) -> None:
    measured = wall(life)
    seconds = timeline.total(timeline_file.read(life, measured["steps"]))
    events = {event for _, event in measured["events"]}
    assert {"start", "rendezvous", "load", "step", "save"} <= seconds.keys()
    assert ("rework" in seconds) == bool(events & {"rank", "launcher", "freeze"}), "what was stopped has lost no step"
    assert ("validation" in seconds) == life.name.startswith("validated")
    assert not events & {"launcher", "stop"} or seconds["idle"] > 0


def test_each_start_again_is_a_line_in_the_picture(life: Path) -> None:
    measured = wall(life)
    starts = timeline_picture.restarts(timeline_file.read(life, measured["steps"]))
    assert len(starts) == len(measured["events"])
