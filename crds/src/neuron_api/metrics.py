"""The metrics of preference training beside the loss: metrics.jsonl, TensorBoard, the step's line, `neuron-train plot`
and `/metrics` all read this table. Each is a mean over the pairs of a global batch.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class PreferenceMetric:
    """A number of each step of DPO or ORPO."""

    name: str
    """In files and in Prometheus, after the usual prefix."""
    text: str
    """A sentence for help texts and reference pages."""
    label: str
    """On the axis of a picture."""
    short: str
    """In the step's line; empty: it is not shown there."""


PREFERENCE_METRICS: Final = (
    PreferenceMetric(
        "chosen_rewards",
        "Reward of the chosen answer: beta times its log-probability, with DPO less the reference's.",
        "reward, chosen",
        "chosen",
    ),
    PreferenceMetric("rejected_rewards", "The same of the rejected answer.", "reward, rejected", "rejected"),
    PreferenceMetric("rewards_margin", "Reward of the chosen answer less that of the rejected one.", "margin", ""),
    PreferenceMetric(
        "rewards_accuracy", "Share of pairs whose chosen answer has the higher reward, 0 to 1.", "accuracy", "accuracy"
    ),
    PreferenceMetric("nll", "Negative log-likelihood per token of the chosen answer, with ORPO.", "nll", "nll"),
    PreferenceMetric("log_odds", "Log odds ratio of the chosen over the rejected answer, with ORPO.", "log odds", ""),
)
"""In the order in which they are shown."""

NAMES: Final = tuple(metric.name for metric in PREFERENCE_METRICS)
