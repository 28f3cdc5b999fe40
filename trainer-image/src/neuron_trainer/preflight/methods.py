"""Alignment methods that the trainer does not have yet: refused by name before anything starts."""

from collections.abc import Iterator
from typing import Final

from neuron_api.config import TrainingConfig
from neuron_api.derive import alignment
from neuron_api.findings.finding import Finding
from neuron_api.findings.registry import make_finding

PENDING: Final = frozenset({"peft"})
"""Sections of `model_alignment_strategy`; a line goes when the trainer does it."""


def check(config: TrainingConfig) -> Iterator[Finding]:
    """Yield a finding for each method of the configuration that is pending."""
    methods = set(alignment.strategy(config).split("+"))
    for method in sorted(methods & PENDING):
        message = "it is not supported in this release; the job will be rejected."
        yield make_finding(4001, f"model_alignment_strategy.{method}", message)
