"""The line of a step says the same to whoever reads it as the trainer meant."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuron_api import step_line
from neuron_api.metrics import PREFERENCE_METRICS

NUMBERS = st.floats(min_value=1e-6, max_value=1e9)


def written(step: int, total: int, values: dict[str, float | None]) -> str:
    return step_line.GAP.join((step_line.head(step, total), *step_line.parts(values).values()))


@given(st.integers(1, 10**9), st.integers(-1, 10**9), NUMBERS, NUMBERS, NUMBERS, NUMBERS, st.none() | st.floats(0, 1))
def test_what_is_written_is_read(
    step: int, total: int, loss: float, lr: float, norm: float, speed: float, mfu: float | None
) -> None:
    values = {"loss": loss, "lr": lr, "gradient_norm": norm, "tokens_per_second": speed, "mfu": mfu}
    read = step_line.parse(f"12:00:00 I [0] {written(step, total, values)}\n")
    assert read is not None
    assert (read.step, read.max_steps) == (step, total if total > 0 else None)
    assert read.values["loss"] == pytest.approx(loss, abs=1e-4)
    assert read.values["lr"] == pytest.approx(lr, rel=1e-2)
    assert read.values["gradient_norm"] == pytest.approx(norm, abs=1e-3)
    assert read.values["tokens_per_second"] == pytest.approx(speed, abs=1)
    assert ("mfu" in read.values) is (mfu is not None)


def test_metrics_of_pairs_are_read_by_their_names() -> None:
    own = {metric.name: 0.25 for metric in PREFERENCE_METRICS}
    values = {"loss": 1.0, "lr": 1e-3, "gradient_norm": 1.0, "tokens_per_second": 10.0, **own}
    read = step_line.parse(written(1, 2, values))
    assert read is not None
    shown = {metric.name for metric in PREFERENCE_METRICS if metric.short}
    assert read.values.keys() == {"loss", "lr", "gradient_norm", "tokens_per_second", *shown}


def test_a_loss_that_is_not_finite_is_read() -> None:
    read = step_line.parse("step 3/-  loss nan  lr 0.1  norm inf  5 tokens/s")
    assert read is not None
    assert math.isnan(read.values["loss"])
    assert read.values["gradient_norm"] == math.inf


@pytest.mark.parametrize(
    "line", ["", "step 3/4", "step x/4  loss 1", "step 3/4  loss much", "step 5: val_loss 3.2", "overstep 3/4  loss 1"]
)
def test_another_line_is_none(line: str) -> None:
    assert step_line.parse(line) is None
