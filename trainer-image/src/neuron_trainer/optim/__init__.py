"""Optimizers and schedules by their names in the configuration."""

from .build import SUPPORTED_OPTIMIZERS, build, of_run
from .schedule import SUPPORTED_SCHEDULES, Extent, rates, schedule

__all__ = ["SUPPORTED_OPTIMIZERS", "SUPPORTED_SCHEDULES", "Extent", "build", "of_run", "rates", "schedule"]
