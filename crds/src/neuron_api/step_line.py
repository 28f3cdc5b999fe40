"""The line that a trainer writes to its log for each logged step, and what it says: written by
`neuron_trainer.metrics.terminal`, read by `neuron_client` where a log is all that there is of a run.

    step 20/180  loss 6.1234  lr 0.003  norm 1.234  12,345 tokens/s  mfu 41.2%
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from .metrics import PREFERENCE_METRICS

GAP: Final = "  "
"""Between two parts of the line."""
COMMON: Final = ("loss", "lr", "gradient_norm", "tokens_per_second", "mfu")
"""Values that do not depend on the objective."""
_SHORT: Final = {metric.name: metric.short for metric in PREFERENCE_METRICS if metric.short}
_NAMES: Final = {"loss": "loss", "lr": "lr", "norm": "gradient_norm", **{short: name for name, short in _SHORT.items()}}
"""Names of values by their words in the line."""
_STEP: Final = re.compile(r"(?:^|\s)step (\d+)/(\d+|-)  (loss .*)$")


@dataclass(frozen=True, slots=True)
class StepLine:
    """A line that was read."""

    step: int
    max_steps: int | None
    values: Mapping[str, float]
    """By name, as far as the line has them; `loss` always."""


def head(step: int, max_steps: int) -> str:
    """Return the first part of the line; `max_steps` is 0 or less where there is no last step."""
    return f"step {step}/{max_steps if max_steps > 0 else '-'}"


def parts(values: Mapping[str, float | None]) -> dict[str, str]:
    """Return the other parts, in the order in which they are shown, by the words that `metrics.terminal` chooses by."""
    loss, lr, norm, speed = (values[name] for name in COMMON[:4])
    own = {name: f"{short} {values[name]:.4g}" for name, short in _SHORT.items() if values.get(name) is not None}
    shown = {
        "loss": f"loss {loss:.4f}",
        **own,
        "lr": f"lr {lr:.3g}",
        "norm": f"norm {norm:.3f}",
        "speed": f"{speed:,.0f} tokens/s",
    }
    mfu = values.get("mfu")
    return shown if mfu is None else {**shown, "mfu": f"mfu {mfu:.1%}"}


def parse(line: str) -> StepLine | None:
    """Return what a line of the log says of a step; None for any other line."""
    match = _STEP.search(line.rstrip())
    if match is None:
        return None
    values: dict[str, float] = {}
    for part in match[3].split(GAP):
        try:
            values |= _value(part)
        except ValueError:
            return None
    total = int(match[2]) if match[2] != "-" else None
    return StepLine(int(match[1]), total, values) if "loss" in values else None


def _value(part: str) -> dict[str, float]:
    """Return the value of a part; raise `ValueError` for one that is none."""
    if part.endswith(" tokens/s"):
        return {"tokens_per_second": float(part.removesuffix(" tokens/s").replace(",", ""))}
    name, _, number = part.rpartition(" ")
    if name == "mfu":
        return {"mfu": float(number.removesuffix("%")) / 100}
    return {_NAMES[name]: float(number)} if name in _NAMES else {}
