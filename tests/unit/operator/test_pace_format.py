"""A span of time as people read it."""

import pytest

from neuron_operator.planning.status.pace import format_duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0s"), (0.9, "0s"), (59, "59s"), (60, "1m"), (61, "1m1s"), (3600, "1h"), (8000, "2h13m"), (90000, "1d1h")],
)
def test_a_span_has_its_two_largest_units(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
