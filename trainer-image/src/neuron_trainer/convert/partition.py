"""What upstream puts into which part: names, cuts over tensor parallel, layers over stages, copies of key/value heads.

As B-6 and B-10 have it: `qkv_linear` and `fuse_qkv` choose names; gate and up are one tensor, cut and then
joined in each part; with r copies of kv heads the query heads (and the output's columns) are ordered so that a part has
the queries of its heads. Not checked against upstream's own loader, which cannot be installed here.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from neuron_api.config import TrainingConfig
from neuron_api.derive import sharding
from neuron_api.derive.sharding import block_sizes
from neuron_trainer.errors import CheckpointError
from neuron_trainer.models.llama import LlamaConfig

from .weights import Weights

Parts = Callable[[int, str], list[Tensor]]
"""By stage and name, the tensors of all tensor-parallel ranks."""

_NORMS: Final = ("input_layernorm.weight", "post_attention_layernorm.weight")


@dataclass(frozen=True, slots=True)
class Partition:
    """Of one model over one split."""

    model: LlamaConfig
    tensor: int
    layers: tuple[tuple[int, ...], ...]
    """Numbers of the layers of each stage."""
    copies: int
    is_joined: bool
    """`qkv_linear`: one module has queries, keys and values."""
    is_fused: bool
    """`fuse_qkv`: as one tensor."""
    is_grouped: bool
    """Copies of a head beside each other (trn2) or all heads again and again (trn1)."""

    @classmethod
    def from_config(cls, config: TrainingConfig, model: LlamaConfig, *, is_grouped: bool) -> "Partition":
        """Return the partition that the configuration asks for; raises `CheckpointError` where upstream could not."""
        strategy, section = config.distributed_strategy, config.model
        stages = strategy.pipeline_model_parallel_size
        blocks = stages * strategy.virtual_pipeline_model_parallel_size
        sizes = block_sizes(model.num_hidden_layers, blocks, section.pipeline_cuts or ())
        if sizes is None:
            raise CheckpointError(f"{model.num_hidden_layers} layers cannot be split into {blocks}")
        tensor = strategy.tensor_model_parallel_size
        copies = sharding.replication(model.num_key_value_heads, tensor, sharding.requested_replication(config)) or 1
        if (model.num_key_value_heads * copies) % tensor or model.num_attention_heads % tensor:
            raise CheckpointError(f"heads cannot be divided over {tensor} tensor-parallel ranks")
        firsts = [sum(sizes[:block]) for block in range(blocks)]
        layers = tuple(
            tuple(
                n for block in range(stage, blocks, stages) for n in range(firsts[block], firsts[block] + sizes[block])
            )
            for stage in range(stages)
        )
        is_joined = section.qkv_linear or copies > 1
        return cls(model, tensor, layers, copies, is_joined, is_joined and section.fuse_qkv, is_grouped)

    def places(self) -> list[tuple[int, int]]:
        """(tensor rank, stage) of each part."""
        return [(rank, stage) for stage in range(len(self.layers)) for rank in range(self.tensor)]

    def part(self, weights: Weights, rank: int, stage: int) -> dict[str, Callable[[], Tensor]]:
        """The tensors of one part by upstream's names."""
        tensors: dict[str, Callable[[], Tensor]] = {}
        for name in self._around(stage):
            cut = self._vocabulary if name != "model.norm.weight" else _all
            tensors[name] = partial(cut, weights.get(name) or weights["model.embed_tokens.weight"], rank)
        for layer in self.layers[stage]:
            tensors |= self._layer(weights, f"model.layers.{layer}", rank)
        return tensors

    def join(self, parts: Parts) -> Weights:
        """Full tensors by Hugging Face's names."""
        tensors: dict[str, Callable[[], Tensor]] = {}
        for stage, numbers in enumerate(self.layers):
            for name in self._around(stage):
                if not (name == "lm_head.weight" and self.model.tie_word_embeddings):
                    tensors[name] = partial(self._whole, parts, stage, name)
            for number in numbers:
                tensors |= self._join_layer(parts, stage, f"model.layers.{number}")
        return tensors

    # ---- parts of the whole ------------------------------------------------------------------------------------------

    def _around(self, stage: int) -> Iterator[str]:
        if stage == 0:
            yield "model.embed_tokens.weight"
        if stage == len(self.layers) - 1:
            yield from ("model.norm.weight", "lm_head.weight")

    def _vocabulary(self, load: Callable[[], Tensor], rank: int) -> Tensor:
        """Rows, with zeros up to a multiple of the ranks."""
        whole = load()
        padded = F.pad(whole, (0, 0, 0, -whole.shape[0] % self.tensor))
        return padded.chunk(self.tensor)[rank]

    def _layer(self, weights: Weights, layer: str, rank: int) -> dict[str, Callable[[], Tensor]]:
        attention, mlp = f"{layer}.self_attn", f"{layer}.mlp"
        tensors: dict[str, Callable[[], Tensor]] = {
            f"{layer}.{norm}": partial(_all, weights[f"{layer}.{norm}"], rank) for norm in _NORMS
        }
        q, k, v = (partial(self._heads, weights[f"{attention}.{x}_proj.weight"], rank, x) for x in "qkv")
        tensors |= dict(zip(self._qkv_names(attention), (q, k, v), strict=False))
        if len(self._qkv_names(attention)) == 1:
            tensors[self._qkv_names(attention)[0]] = lambda: torch.cat([q(), k(), v()])
        gate, up = (weights[f"{mlp}.{x}_proj.weight"] for x in ("gate", "up"))
        return tensors | {
            f"{attention}.o_proj.weight": partial(self._output, weights[f"{attention}.o_proj.weight"], rank),
            f"{mlp}.gate_up_proj.weight": lambda: torch.cat([self._rows(gate, rank), self._rows(up, rank)]),
            f"{mlp}.down_proj.weight": lambda: weights[f"{mlp}.down_proj.weight"]().chunk(self.tensor, 1)[rank],
        }

    def _qkv_names(self, attention: str) -> list[str]:
        if self.is_fused:
            return [f"{attention}.qkv_proj.weight_qkv"]
        if self.is_joined:
            return [f"{attention}.qkv_proj.weight_{x}" for x in "qkv"]
        if self.model.num_key_value_heads == self.model.num_attention_heads:
            return [f"{attention}.qkv_proj.weight"]
        return [f"{attention}.{x}_proj.weight" for x in "qkv"]

    def _rows(self, load: Callable[[], Tensor], rank: int) -> Tensor:
        return load().chunk(self.tensor)[rank]

    def _heads(self, load: Callable[[], Tensor], rank: int, kind: str) -> Tensor:
        order = self.queries() if kind == "q" else self.keys()
        by_head = self._by_head(load())[order]
        return by_head.flatten(0, 1).chunk(self.tensor)[rank]

    def _output(self, load: Callable[[], Tensor], rank: int) -> Tensor:
        by_head = self._by_head(load().T)[self.queries()]
        return by_head.flatten(0, 1).chunk(self.tensor)[rank].T

    def keys(self) -> list[int]:
        """The key/value heads in the order of the parts, each `copies` times."""
        every = range(self.model.num_key_value_heads)
        if self.is_grouped:
            return [head for head in every for _ in range(self.copies)]
        return list(every) * self.copies

    def queries(self) -> list[int]:
        """The query heads in the order of the parts: beside the key head that they share."""
        group = self.model.num_attention_heads // self.model.num_key_value_heads
        each = group // self.copies
        if self.is_grouped or each == group:
            return list(range(self.model.num_attention_heads))
        return [
            key * group + copy * each + n
            for copy in range(self.copies)
            for key in range(self.model.num_key_value_heads)
            for n in range(each)
        ]

    # ---- the whole of its parts --------------------------------------------------------------------------------------

    def _whole(self, parts: Parts, stage: int, name: str) -> Tensor:
        tensors = parts(stage, name)
        return tensors[0] if name == "model.norm.weight" else torch.cat(tensors)[: self.model.vocab_size]

    def _join_layer(self, parts: Parts, stage: int, layer: str) -> Weights:
        attention, mlp = f"{layer}.self_attn", f"{layer}.mlp"
        tensors: dict[str, Callable[[], Tensor]] = {
            f"{layer}.{norm}": partial(self._first, parts, stage, f"{layer}.{norm}") for norm in _NORMS
        }
        for kind in "qkv":
            tensors[f"{attention}.{kind}_proj.weight"] = partial(self._join_heads, parts, stage, attention, kind)
        tensors[f"{attention}.o_proj.weight"] = lambda: self._join_output(parts(stage, f"{attention}.o_proj.weight"))
        for half, name in enumerate(("gate", "up")):
            tensors[f"{mlp}.{name}_proj.weight"] = partial(self._half, parts, stage, f"{mlp}.gate_up_proj.weight", half)
        tensors[f"{mlp}.down_proj.weight"] = lambda: torch.cat(parts(stage, f"{mlp}.down_proj.weight"), 1)
        return tensors

    @staticmethod
    def _first(parts: Parts, stage: int, name: str) -> Tensor:
        return parts(stage, name)[0]

    @staticmethod
    def _half(parts: Parts, stage: int, name: str, half: int) -> Tensor:
        return torch.cat([tensor.chunk(2)[half] for tensor in parts(stage, name)])

    def _join_heads(self, parts: Parts, stage: int, attention: str, kind: str) -> Tensor:
        names = self._qkv_names(attention)
        if len(names) == 1:
            tensors = [self._unfused(tensor)["qkv".index(kind)] for tensor in parts(stage, names[0])]
        else:
            tensors = parts(stage, names["qkv".index(kind)])
        order = self.queries() if kind == "q" else self.keys()
        by_head = self._by_head(torch.cat(tensors))
        return by_head[_first_places(order)].flatten(0, 1)

    def _unfused(self, tensor: Tensor) -> tuple[Tensor, ...]:
        """Queries have more rows than keys where heads are shared: upstream's own script cuts in three equal parts."""
        queries = self.model.num_attention_heads // self.tensor * self.model.head_dim
        keys = self.model.num_key_value_heads * self.copies // self.tensor * self.model.head_dim
        return torch.split(tensor, [queries, keys, keys])

    def _join_output(self, tensors: list[Tensor]) -> Tensor:
        by_head = self._by_head(torch.cat(tensors, 1).T)
        return by_head[_first_places(self.queries())].flatten(0, 1).T.contiguous()

    def _by_head(self, rows: Tensor) -> Tensor:
        """[heads x head_dim, n] to [heads, head_dim, n]."""
        return rows.reshape(-1, self.model.head_dim, rows.shape[1])


def _all(load: Callable[[], Tensor], _: int) -> Tensor:
    return load()


def _first_places(order: list[int]) -> list[int]:
    """Return where each head is found first, by the head's number."""
    return [order.index(head) for head in range(max(order) + 1)]
