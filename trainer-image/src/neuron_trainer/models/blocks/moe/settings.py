"""What a layer of experts is, from `model.moe` and what the family adds to it."""

from dataclasses import dataclass

from neuron_api.config.moe import MoeConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class MoeSettings:
    """Experts, and how tokens are routed to them."""

    num_experts: int
    top_k: int
    """Experts of a token."""
    frequency: int = 1
    """Every so-many-th layer has experts."""
    routing_algorithm: str = "top_k"
    router_activation: str = "softmax"
    sinkhorn_iterations: int = 30
    sinkhorn_tol: float | None = None
    normalize_top_k_affinities: bool = True
    capacity_factor: float | None = None
    """Tokens of an expert as a multiple of an even share; None: every token is computed."""
    is_gated: bool = True
    dropout: float = 0.0
    """On the output of the experts together."""
    inner_dropout: float = 0.0
    """Inside each expert, after its activation."""
    aux_loss_coef: float | None = None
    """Weight of the load-balancing loss; None: there is none."""

    @classmethod
    def from_config(cls, moe: MoeConfig, num_experts: int, router_activation: str) -> "MoeSettings":
        """`num_experts` and `router_activation`: the family's, where `model.moe` has none."""
        return cls(
            num_experts=moe.num_experts or num_experts,
            top_k=moe.top_k,
            frequency=moe.frequency,
            routing_algorithm=moe.routing_algorithm,
            router_activation=moe.router_activation or router_activation,
            sinkhorn_iterations=moe.sinkhorn_iterations,
            sinkhorn_tol=moe.sinkhorn_tol,
            # A single affinity divided by itself is 1, and no gradient would reach the router.
            normalize_top_k_affinities=moe.normalize_top_k_affinities and moe.top_k > 1,
            capacity_factor=None if moe.dropless else moe.capacity_factor,
            is_gated=moe.glu_mlp,
            dropout=moe.dropout,
            inner_dropout=moe.moe_dropout,
            aux_loss_coef=moe.router_aux_loss_coef if moe.output_router_logits else None,
        )
