"""Optimizers and schedules by their names in the configuration."""

from .build import build, for_run
from .learning_rate import SUPPORTED_SCHEDULES, Extent, rates, schedule

__all__ = ["SUPPORTED_SCHEDULES", "Extent", "build", "for_run", "rates", "schedule"]
