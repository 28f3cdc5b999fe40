"""Mixture of experts in place of the MLP (B-12): `router` → `experts`, put together by `layer`."""

from .balance import LoadBalancing, load_balancing_loss, nothing_yet
from .layer import MoE
from .settings import MoeSettings

__all__ = ["LoadBalancing", "MoE", "MoeSettings", "load_balancing_loss", "nothing_yet"]
