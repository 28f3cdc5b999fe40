"""Mixtral: a Llama whose MLPs are mixtures of experts (arXiv:2401.04088).

Parameter names are those of Llama but for `mlp.gate` (the router) and `mlp.experts`; class names are those that
`activations_checkpoint_recompute` lists.
"""

from torch import Tensor, nn

from neuron_trainer.models.blocks.attention import Attention, AttentionMaskBuilder
from neuron_trainer.models.blocks.mlp import MLP
from neuron_trainer.models.blocks.moe import LoadBalancing, MoE, nothing_yet
from neuron_trainer.models.blocks.norm import RMSNorm
from neuron_trainer.models.blocks.rotary import Rotary
from neuron_trainer.models.spec import Part, Prediction

from .config import MixtralConfig


class MixtralRMSNorm(RMSNorm):
    """Of a layer or after the last one."""


class MixtralAttention(Attention):
    """Grouped-query attention."""

    def __init__(self, config: MixtralConfig) -> None:
        super().__init__(
            config.hidden_size,
            config.num_attention_heads,
            config.num_key_value_heads,
            config.head_dim,
            window=config.sliding_window,
            dropout=config.attention_dropout,
        )


class MixtralDecoderLayer(nn.Module):
    """One layer: x + attention(norm(x)), then x + experts(norm(x)); a layer without experts has an MLP."""

    def __init__(self, config: MixtralConfig, index: int) -> None:
        super().__init__()
        self.input_layernorm = MixtralRMSNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = MixtralAttention(config)
        self.post_attention_layernorm = MixtralRMSNorm(config.hidden_size, config.rms_norm_eps)
        self.has_experts = config.has_experts(index)
        sizes = config.hidden_size, config.intermediate_size
        self.mlp = MoE(*sizes, "silu", config.moe) if self.has_experts else MLP(*sizes)

    def forward(
        self, states: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """[B, S, H] to [B, S, H], and the experts' shares (see `MoE`) where there are any."""
        states = states + self.self_attn(self.input_layernorm(states), cos, sin, mask)
        normed = self.post_attention_layernorm(states)
        added, shares = self.mlp(normed) if self.has_experts else (self.mlp(normed), None)
        return states + added, shares


class MixtralModel(nn.Module):
    """Embedding, layers, final norm."""

    def __init__(self, config: MixtralConfig) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(MixtralDecoderLayer(config, index) for index in range(config.num_hidden_layers))
        self.norm = MixtralRMSNorm(config.hidden_size, config.rms_norm_eps)
        self._rotary, self._experts = Rotary(config.rope), config.moe.num_experts
        self.sight = AttentionMaskBuilder(config.sliding_window)

    def forward(
        self,
        input_ids: Tensor,
        earlier: Tensor | None = None,
        part: Part | None = None,
        positions: Tensor | None = None,
        documents: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Token ids int64 [B, S], by default of whole samples, or states [B, S, H] of earlier layers, to [B, S, H]; and
        the sum of the experts' shares (see `MoE`) over layers, `earlier` ones included, fp32 [2, E].

        `positions` and `documents`: see `neuron_trainer.models.spec`.
        """
        cos, sin = self._rotary.tables(part or Part.whole(input_ids.shape[1]), input_ids.device, positions)
        mask = self.sight(documents)
        states = input_ids if input_ids.is_floating_point() else self.embed_tokens(input_ids)
        total = nothing_yet(self._experts, states.device) if earlier is None else earlier
        for layer in self.layers:
            states, shares = layer(states, cos, sin, mask)
            total = total if shares is None else total + shares
        return self.norm(states), total


class MixtralForCausalLM(nn.Module):
    """The language model: logits for the next token at every position, and the load-balancing loss."""

    def __init__(self, config: MixtralConfig) -> None:
        super().__init__()
        self.config = config
        self.model = MixtralModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.balance = None
        if (coefficient := config.moe.aux_loss_coef) is not None:
            self.balance = LoadBalancing(coefficient, config.moe.top_k, config.layers_with_experts)
        self.tie_weights()

    def tie_weights(self) -> None:
        """Make the head use the embedding's weight where the config says so; again after parameters were replaced."""
        if self.config.tie_word_embeddings:
            self.lm_head.weight = self.model.embed_tokens.weight

    def forward(
        self,
        input_ids: Tensor,
        earlier: Tensor | None = None,
        part: Part | None = None,
        positions: Tensor | None = None,
        documents: Tensor | None = None,
    ) -> Tensor | Prediction:
        """Token ids int64 [B, S] to logits [B, S, V] in the compute dtype, with the auxiliary loss if wanted.

        `earlier`: with states of earlier layers in place of ids, their shares (see `MixtralModel`).
        """
        states, total = self.model(input_ids, earlier, part, positions, documents)
        logits: Tensor = self.lm_head(states)
        return logits if self.balance is None else Prediction(logits, self.balance(total))
