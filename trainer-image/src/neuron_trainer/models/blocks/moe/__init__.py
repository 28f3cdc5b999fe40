"""Mixture of experts in place of the MLP (B-12): `router` → `capacity` → `experts`, put together by `layer`."""

from .balance import load_balancing_loss
from .layer import MoE
from .settings import MoeSettings

__all__ = ["MoE", "MoeSettings", "load_balancing_loss"]
