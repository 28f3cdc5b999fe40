"""Llama: RMSNorm before each block, grouped-query attention with rotary positions, SwiGLU; names as in `transformers`.

Class names are those that `model.activations_checkpoint_recompute` lists. There is no dropout and no padding mask:
attention is causal, so padding on the right cannot reach a token before it, and its labels are -100.
"""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from .config import LlamaConfig
from .rotary import Rotary, rotate


class LlamaRMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps) * weight over the last dimension; statistics in fp32."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, states: Tensor) -> Tensor:
        """[..., H] to the same shape and dtype."""
        wide = states.float()
        normed = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.eps)
        return self.weight * normed.to(states.dtype)


class CoreAttention(nn.Module):
    """Causal softmax(Q K^T / sqrt(head_dim)) V without weights of its own."""

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """[B, heads, S, head_dim] and [B, kv heads, S, head_dim] twice, to [B, heads, S, head_dim]."""
        copies = query.shape[1] // key.shape[1]
        if copies > 1:
            key, value = key.repeat_interleave(copies, dim=1), value.repeat_interleave(copies, dim=1)
        return F.scaled_dot_product_attention(query, key, value, is_causal=True)


class LlamaAttention(nn.Module):
    """Queries, keys and values from linears, rotary positions, core attention, output linear."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        bias, self.head_dim = config.attention_bias, config.head_dim
        heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
        self.q_proj = nn.Linear(config.hidden_size, heads * self.head_dim, bias=bias)
        self.k_proj = nn.Linear(config.hidden_size, kv_heads * self.head_dim, bias=bias)
        self.v_proj = nn.Linear(config.hidden_size, kv_heads * self.head_dim, bias=bias)
        self.o_proj = nn.Linear(heads * self.head_dim, config.hidden_size, bias=bias)
        self.core_attention = CoreAttention()

    def forward(self, states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """[B, S, H] to [B, S, H]; the number of heads follows from the width, so a shard of the heads works as well."""
        query, key, value = (self._heads(linear(states)) for linear in (self.q_proj, self.k_proj, self.v_proj))
        mixed = self.core_attention(rotate(query, cos, sin), rotate(key, cos, sin), value)
        return self.o_proj(mixed.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]

    def _heads(self, states: Tensor) -> Tensor:
        return states.view(*states.shape[:-1], -1, self.head_dim).transpose(1, 2)


class ActivationMultiplyMLP(nn.Module):
    """silu(gate) * up, without weights: the part of the MLP that is cheap to compute again."""

    def forward(self, gate: Tensor, up: Tensor) -> Tensor:
        """Two [..., F] to one."""
        return F.silu(gate) * up


class LlamaMLP(nn.Module):
    """SwiGLU: down(silu(gate x) * up x)."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        hidden, inner, bias = config.hidden_size, config.intermediate_size, config.mlp_bias
        self.gate_proj = nn.Linear(hidden, inner, bias=bias)
        self.up_proj = nn.Linear(hidden, inner, bias=bias)
        self.down_proj = nn.Linear(inner, hidden, bias=bias)
        self.activation = ActivationMultiplyMLP()

    def forward(self, states: Tensor) -> Tensor:
        """[..., H] to [..., H]."""
        return self.down_proj(self.activation(self.gate_proj(states), self.up_proj(states)))  # type: ignore[no-any-return]


class LlamaDecoderLayer(nn.Module):
    """One layer: x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.input_layernorm = LlamaRMSNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = LlamaAttention(config)
        self.post_attention_layernorm = LlamaRMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = LlamaMLP(config)

    def forward(self, states: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """[B, S, H] to [B, S, H]."""
        states = states + self.self_attn(self.input_layernorm(states), cos, sin)
        return states + self.mlp(self.post_attention_layernorm(states))  # type: ignore[no-any-return]


class LlamaModel(nn.Module):
    """Embedding, layers, final norm."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(LlamaDecoderLayer(config) for _ in range(config.num_hidden_layers))
        self.norm = LlamaRMSNorm(config.hidden_size, config.rms_norm_eps)
        self._rotary = Rotary(config)

    def forward(self, input_ids: Tensor) -> Tensor:
        """Token ids int64 [B, S] to [B, S, H]."""
        states = self.embed_tokens(input_ids)
        cos, sin = self._rotary.tables(input_ids.shape[1], input_ids.device)
        for layer in self.layers:
            states = layer(states, cos, sin)
        return self.norm(states)  # type: ignore[no-any-return]


class LlamaForCausalLM(nn.Module):
    """The language model: logits for the next token at every position."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.config = config
        self.model = LlamaModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.tie_weights()

    def tie_weights(self) -> None:
        """Make the head use the embedding's weight where the config says so; again after parameters were replaced."""
        if self.config.tie_word_embeddings:
            self.lm_head.weight = self.model.embed_tokens.weight

    def forward(self, input_ids: Tensor) -> Tensor:
        """Token ids int64 [B, S] to logits [B, S, V] in the compute dtype."""
        return self.lm_head(self.model(input_ids))  # type: ignore[no-any-return]
