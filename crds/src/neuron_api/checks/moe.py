"""`model.moe`: routers, capacity, experts."""

from collections.abc import Iterator

from neuron_api.config import TrainingConfig
from neuron_api.findings.finding import Finding
from neuron_api.findings.registry import make_finding


def check(config: TrainingConfig) -> Iterator[Finding]:
    """Yield the findings about experts; none for a dense model."""
    moe = config.model.moe
    if moe is None:
        return
    if config.model_source == "hf" and moe.num_experts is not None and moe.top_k > moe.num_experts:
        yield make_finding(2701, "model.moe.top_k", f"{moe.top_k} experts per token, and there are {moe.num_experts}.")
    if not moe.dropless and moe.capacity_factor == 0:
        yield make_finding(2702, "model.moe.capacity_factor", "0 drops every token, since dropless is False.")
    if moe.dropless and "capacity_factor" in moe.model_fields_set and moe.capacity_factor:
        yield make_finding(2703, "model.moe.capacity_factor", f"{moe.capacity_factor:g} is not used: dropless is True.")
    if moe.routing_algorithm == "sinkhorn" and moe.top_k != 1:
        yield make_finding(2704, "model.moe.top_k", f"sinkhorn routes a token to 1 expert, not to {moe.top_k}.")
    is_silu = config.model_source == "hf" or config.model.activation in ("swiglu", "silu")
    if moe.dropless and not (moe.glu_mlp and is_silu):
        settings = f"glu_mlp is {moe.glu_mlp} and activation {config.model.activation}"
        yield make_finding(2705, "model.moe.dropless", f"it computes gated experts with silu, and {settings}.")
    asks_for_loss = "router_aux_loss_coef" in moe.model_fields_set and moe.router_aux_loss_coef > 0
    if asks_for_loss and not moe.output_router_logits:
        yield make_finding(2706, "model.moe.router_aux_loss_coef", "it has no effect: output_router_logits is False.")
