"""Floating-point operations that training a token needs, for the model FLOPs utilization (MFU) of a run."""

from .architecture import Architecture
from .parameters import padded_vocabulary


def per_token(model: Architecture, sequence: int, tensor: int = 1) -> int | None:
    """Return the operations of forward and backward pass in a sample of `sequence` tokens; None if the vocabulary is
    unknown.

    6 per parameter that multiplies a token (2 forward, 4 backward), and 12 L q S for scores and values of L layers with
    q features of all query heads: PaLM (Chowdhery et al. 2022, appendix B) and Megatron-LM (Narayanan et al. 2021,
    section 5.1, with the head and without the embedding). The `top_k` experts of a token count, and the router. As in
    both papers, the causal mask and a window do not reduce attention, and recomputation does not count.
    """
    if model.vocabulary is None:
        return None
    attention = 2 * model.hidden * (model.query_width + model.kv_width)
    mlp = (3 if model.is_gated else 2) * model.hidden * model.ffn
    with_experts = routed = 0
    if (experts := model.experts) is not None:
        with_experts = experts.layers_with_experts(model.layers)
        routed = model.hidden * experts.count
        routed += experts.per_token * (3 if experts.is_gated else 2) * model.hidden * model.ffn
    weights = model.layers * attention + (model.layers - with_experts) * mlp + with_experts * routed
    weights += model.hidden * padded_vocabulary(model, tensor)
    return 6 * weights + 12 * model.layers * model.query_width * sequence
