"""What preference training makes of the log-probabilities of answers: a loss and metrics for each pair, without
parallelism (docs/design/020-alignment.md). Next-token cross-entropy is the backend's own.
"""

from neuron_api.config import TrainingConfig

from .dpo import Dpo
from .orpo import Orpo
from .pairs import Objective, Pairs, PairValues

__all__ = ["Dpo", "Objective", "Orpo", "PairValues", "Pairs", "for_run"]


def for_run(config: TrainingConfig) -> Objective | None:
    """Return the objective over pairs that a configuration asks for; None: cross-entropy."""
    sections = config.model_alignment_strategy
    if sections is None:
        return None
    if sections.dpo is not None:
        return Dpo(sections.dpo.kl_beta, sections.dpo.loss_type)
    return Orpo(sections.orpo.beta) if sections.orpo is not None else None
