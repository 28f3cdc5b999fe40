"""Floating-point operations that training a token needs, for the share of a device's peak that a run reaches (MFU)."""

from .architecture import Architecture
from .parameters import padded_vocabulary


def per_token(model: Architecture, sequence: int, tensor: int = 1) -> int | None:
    """Of the forward and the backward pass, in a sample of so many tokens; None when the vocabulary is not known.

    6 a parameter that a token is multiplied with (2 forward, 4 backward) and 12 L q S for scores and values of L layers
    with q features of all query heads: PaLM (Chowdhery et al. 2022, appendix B) and Megatron-LM (Narayanan et al. 2021,
    section 5.1, with the head and without the look-up of the embedding). Of experts the `top_k` of a token count, with
    the router. As in both papers the causal mask and a window do not make attention less, and what is computed again in
    the backward pass does not count.
    """
    if model.vocabulary is None:
        return None
    attention = 2 * model.hidden * (model.query_width + model.kv_width)
    mlp = (3 if model.is_gated else 2) * model.hidden * model.ffn
    with_experts = routed = 0
    if (experts := model.experts) is not None:
        with_experts = experts.among(model.layers)
        routed = model.hidden * experts.count
        routed += experts.per_token * (3 if experts.is_gated else 2) * model.hidden * model.ffn
    weights = model.layers * attention + (model.layers - with_experts) * mlp + with_experts * routed
    weights += model.hidden * padded_vocabulary(model, tensor)
    return 6 * weights + 12 * model.layers * model.query_width * sequence
