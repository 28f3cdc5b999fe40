"""Megatron's decoder: every choice of the `model` section in one module.

RMSNorm or LayerNorm before each block, learned or rotary positions, an MLP with or without gate or experts, biases,
dropout. Class names are those that `activations_checkpoint_recompute` lists, parameter names those of Llama.
"""

import torch
from torch import Tensor, nn

from neuron_trainer.models.blocks.attention import Attention, AttentionMaskBuilder
from neuron_trainer.models.blocks.dropout import Dropout
from neuron_trainer.models.blocks.mlp import MLP
from neuron_trainer.models.blocks.moe import LoadBalancing, MoE, nothing_yet
from neuron_trainer.models.blocks.norm import LayerNorm, RMSNorm
from neuron_trainer.models.blocks.rotary import Rotary
from neuron_trainer.models.spec import Part, Prediction

from .config import MegatronConfig


def norm(config: MegatronConfig) -> RMSNorm | LayerNorm:
    """The configured one."""
    kind = RMSNorm if config.normalization == "rmsnorm" else LayerNorm
    return kind(config.hidden_size, config.layernorm_epsilon)


class ParallelAttention(Attention):
    """Self-attention, with grouped queries where there are fewer key/value heads."""

    def __init__(self, config: MegatronConfig) -> None:
        super().__init__(
            config.hidden_size,
            config.num_attention_heads,
            config.num_kv_heads,
            config.kv_channels,
            has_bias=config.has_bias,
            window=config.sliding_window_size,
            dropout=config.attention_dropout,
        )


class ParallelMLP(MLP):
    """The feed-forward part."""

    def __init__(self, config: MegatronConfig) -> None:
        super().__init__(
            config.hidden_size,
            config.ffn_hidden_size,
            config.activation,
            has_bias=config.has_bias,
            dropout=config.ffn_dropout,
        )


class NeuronSwitchMLP(MoE):
    """Experts in its place; without biases."""


class ParallelTransformerLayer(nn.Module):
    """One layer: x + dropout(attention(norm(x))), then x + dropout(mlp(norm(x)))."""

    def __init__(self, config: MegatronConfig, index: int) -> None:
        super().__init__()
        self.input_layernorm = norm(config)
        self.self_attn = ParallelAttention(config)
        self.attention_output_dropout = Dropout(config.hidden_dropout)
        self.post_attention_layernorm = norm(config)
        self.has_experts = config.has_experts(index)
        if config.moe is not None and self.has_experts:
            self.mlp: nn.Module = NeuronSwitchMLP(
                config.hidden_size, config.ffn_hidden_size, config.activation, config.moe
            )
        else:
            self.mlp = ParallelMLP(config)
        self.mlp_output_dropout = Dropout(config.hidden_dropout)

    def forward(
        self, states: Tensor, cos: Tensor | None, sin: Tensor | None, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """[B, S, H] to [B, S, H], and the experts' shares (see `MoE`) where there are any."""
        mixed = self.self_attn(self.input_layernorm(states), cos, sin, mask)
        states = states + self.attention_output_dropout(mixed)
        normed = self.post_attention_layernorm(states)
        added, shares = self.mlp(normed) if self.has_experts else (self.mlp(normed), None)
        return states + self.mlp_output_dropout(added), shares


class MegatronModel(nn.Module):
    """Embedding, encoder, final norm."""

    def __init__(self, config: MegatronConfig) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.embed_positions = None
        if config.rope is None:
            self.embed_positions = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.embedding_dropout = Dropout(config.hidden_dropout)
        self.layers = nn.ModuleList(ParallelTransformerLayer(config, index) for index in range(config.num_layers))
        self.norm = norm(config)
        self._rotary = Rotary(config.rope) if config.rope is not None else None
        self.sight = AttentionMaskBuilder(config.sliding_window_size)
        self._keeps_fp32 = config.fp32_residual_connection
        self._experts = config.moe.num_experts if config.moe is not None else 0

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
        part = part or Part.whole(input_ids.shape[1])
        states = input_ids if input_ids.is_floating_point() else self._embed(input_ids, part, positions)
        cos, sin = self._rotary.tables(part, input_ids.device, positions) if self._rotary is not None else (None, None)
        mask = self.sight(documents)
        total = nothing_yet(self._experts, states.device) if earlier is None else earlier
        for layer in self.layers:
            states, shares = layer(states, cos, sin, mask)
            total = total if shares is None else total + shares
        return self.norm(states), total

    def _embed(self, input_ids: Tensor, part: Part, positions: Tensor | None) -> Tensor:
        """The residual stream begins here; norms give their weight's dtype, so in fp32 it stays fp32."""
        states: Tensor = self.embed_tokens(input_ids)
        if self.embed_positions is not None:
            if positions is None:
                positions = part.cut(torch.arange(part.total, dtype=input_ids.dtype, device=input_ids.device)[None])
            states = states + self.embed_positions(positions)
        states = self.embedding_dropout(states)
        return states.float() if self._keeps_fp32 else states


class MegatronForCausalLM(nn.Module):
    """The language model: logits for the next token at every position, and the load-balancing loss of experts."""

    def __init__(self, config: MegatronConfig) -> None:
        super().__init__()
        self.config = config
        self.model = MegatronModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.balance = None
        moe, layers = config.moe, config.layers_with_experts
        if moe is not None and moe.aux_loss_coef is not None and layers:
            self.balance = LoadBalancing(moe.aux_loss_coef, moe.top_k, layers)
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

        `earlier`: with states of earlier layers in place of ids, their shares (see `MegatronModel`).
        """
        states, total = self.model(input_ids, earlier, part, positions, documents)
        logits: Tensor = self.lm_head(states)
        return logits if self.balance is None else Prediction(logits, self.balance(total))
