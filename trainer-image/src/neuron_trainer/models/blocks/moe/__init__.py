"""Mixture of experts in place of the MLP (B-12): `router` → `experts`, put together by `layer`."""

from .layer import MoE
from .router import LoadBalancing, load_balancing_loss, nothing_yet
from .settings import MoeSettings

__all__ = ["LoadBalancing", "MoE", "MoeSettings", "load_balancing_loss", "nothing_yet"]
