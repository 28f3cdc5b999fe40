"""Learning-rate schedules (B-9): the factor on the base rate for step s = 0, 1, …, s steps being done."""

from collections.abc import Callable
from typing import Final

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from neuron_api.config import TrainingConfig

SUPPORTED_SCHEDULES: Final = ("LinearAnnealingWithWarmUp",)


def linear_annealing_with_warm_up(warmup: int, total: int) -> Callable[[int], float]:
    """0 at the first step, 1 after `warmup` steps, then straight to 0 at `total`."""

    def factor(step: int) -> float:
        if step < warmup:
            return step / max(1, warmup)
        return max(0.0, (total - step) / max(1, total - warmup))

    return factor


def schedule(config: TrainingConfig, optimizer: Optimizer, max_steps: int) -> LambdaLR:
    """The configured schedule; its state is the number of steps done, never the length of the curve."""
    sched = config.model.optim.sched
    return LambdaLR(optimizer, linear_annealing_with_warm_up(sched.warmup_steps or 0, sched.max_steps or max_steps))
