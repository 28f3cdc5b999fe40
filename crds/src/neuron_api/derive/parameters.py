"""Numbers of parameters: of the whole model, and of each kind on one process; and the operations per token."""

from dataclasses import dataclass
from math import ceil

from .architecture import Architecture, ExpertSizes
from .sharding import Sharding


@dataclass(frozen=True, slots=True)
class Parameters:
    """Numbers of elements on one process."""

    dense_layer: int
    """A layer without its experts: attention, norms, MLP or router."""
    experts_layer: int
    """The experts of a layer that has experts."""
    plain_layer: int
    """A layer with an MLP if other layers have experts; else equal to dense_layer."""
    embedding: int
    """With the learned position table, if any."""
    head: int
    """With the final norm."""

    def of_layers(self, layers: int, experts: ExpertSizes | None) -> tuple[int, int]:
        """Return the dense and the expert parameters of `layers` layers."""
        with_experts = experts.layers_with_experts(layers) if experts else layers
        return (
            with_experts * self.dense_layer + (layers - with_experts) * self.plain_layer,
            with_experts * self.experts_layer,
        )


def count(model: Architecture, split: Sharding) -> Parameters | None:
    """Return the parameters of one process; None if the vocabulary is unknown.

    Attention: q and o (2 H q) and k, v (2 H kv r) over TP. MLP: 3 H F gated, else 2 H F, over TP. Experts: E / EP of
    them, and a router H E. Norms whole. Embedding and head: padded V x H over TP. Biases: split like the
    outputs that they are added to, whole after a sum over TP (o, down).
    """
    if model.vocabulary is None:
        return None
    hidden, tensor = model.hidden, split.tensor
    attention = 2 * hidden * (model.query_width + model.kv_width * split.kv_copies)
    norm = 2 * hidden if model.has_norm_bias else hidden
    bias = model.query_width + 2 * model.kv_width * split.kv_copies if model.has_bias else 0
    shared = ceil((attention + bias) / tensor) + 2 * norm + (hidden if model.has_bias else 0)
    inputs = 2 if model.is_gated else 1
    mlp = (inputs + 1) * hidden * model.ffn + (inputs * model.ffn if model.has_mlp_bias else 0)
    plain = shared + ceil(mlp / tensor) + (hidden if model.has_mlp_bias else 0)
    experts = model.experts
    expert = (3 if experts is None or experts.is_gated else 2) * hidden * model.ffn
    rows = ceil(padded_vocabulary(model, tensor) / tensor) * hidden
    return Parameters(
        dense_layer=shared + hidden * experts.count if experts else plain,
        experts_layer=ceil(experts.count / split.expert) * ceil(expert / tensor) if experts else 0,
        plain_layer=plain,
        embedding=rows + model.positions * hidden,
        head=norm + (0 if model.is_tied and split.pipeline == 1 else rows),
    )


def padded_vocabulary(model: Architecture, tensor: int) -> int:
    """Return the rows of the embedding: the next multiple of `make_vocab_size_divisible_by` x TP (A25)."""
    multiple = model.vocabulary_multiple * tensor if model.vocabulary_multiple else 1
    return ceil((model.vocabulary or 0) / multiple) * multiple


def total(model: Architecture) -> int | None:
    """Return the parameters of the whole model, each once; None if the vocabulary is unknown."""
    whole = count(model, Sharding())
    if whole is None:
        return None
    return sum(whole.of_layers(model.layers, model.experts)) + whole.embedding + whole.head


def flops_per_token(model: Architecture, sequence: int, tensor: int = 1, adapters: int | None = None) -> int | None:
    """Return the operations of forward and backward pass in a sample of `sequence` tokens; None if the vocabulary is
    unknown.

    6 per parameter that multiplies a token (2 forward, 4 backward), and 12 L q S for scores and values of L layers with
    q features of all query heads: PaLM (Chowdhery et al. 2022, appendix B) and Megatron-LM (Narayanan et al. 2021,
    section 5.1, with the head and without the embedding). The `top_k` experts of a token count, and the router. As in
    both papers, the causal mask and a window do not reduce attention, and recomputation does not count. With LoRA's
    `adapters` (their parameters) the weights are frozen: 4 each, since they have no gradient, and 6 an adapter's.
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
    weights = 6 * weights if adapters is None else 4 * weights + 6 * adapters
    return weights + 12 * model.layers * model.query_width * sequence
