"""The splits that the numeric contract is shown for. All of them with every family: `make test-numerics`."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Split:
    """How the ranks share the work; names are short forms of the keys of `distributed_strategy`."""

    world: int
    tensor: int = 1
    sequence: bool = False
    zero1: bool = False
    context: int = 1
    pipeline: int = 1
    virtual: int = 1
    experts: int = 1
    shuffle: int = 1
    copies: int | None = None
    """`kv_replicator`."""
    recompute: str | None = None
    """`activations_checkpoint_granularity`; with `selective` the class names are the family's."""
    layers: int = 2

    @property
    def reference(self) -> str:
        """The run on one process that it is compared with."""
        return ONE if self.layers == 2 else DEEP


ONE: Final = "one process"
UNEVEN: Final = "data 4, zero1"
"""More processes than the rows of an adapter of rank 3: one has an empty shard."""
DEEP: Final = "one process, 4 layers"
REFERENCES: Final = {ONE: Split(1), DEEP: Split(1, layers=4)}

SPLITS: Final = {
    "recompute full": Split(1, recompute="full"),
    "recompute selective": Split(1, recompute="selective"),
    "data 2": Split(2),
    "data 2, recompute full": Split(2, recompute="full"),
    "data 2, zero1": Split(2, zero1=True),
    "tensor 2": Split(2, tensor=2),
    "tensor 2, sequence": Split(2, tensor=2, sequence=True),
    "context 2": Split(2, context=2),
    "pipeline 2": Split(2, pipeline=2),
    "pipeline 2, virtual 2": Split(2, pipeline=2, virtual=2, layers=4),
    "expert 2": Split(2, experts=2),
    "expert 2, zero1": Split(2, experts=2, zero1=True),
    UNEVEN: Split(4, zero1=True),
    "tensor 4": Split(4, tensor=4),
    "tensor 4, copies 2, sequence": Split(4, tensor=4, copies=2, sequence=True),
    "context 4, zero1": Split(4, context=4, zero1=True),
    "pipeline 4": Split(4, pipeline=4, layers=4),
    "expert 4, zero1": Split(4, experts=4, zero1=True),
    "2 x 2, zero1, sequence": Split(4, tensor=2, sequence=True, zero1=True),
    "tensor 2, recompute full, data 2": Split(4, tensor=2, recompute="full", zero1=True, sequence=True),
    "context 2, tensor 2, sequence": Split(4, context=2, tensor=2, sequence=True),
    "context 2, data 2, zero1": Split(4, context=2, zero1=True),
    "context 2, pipeline 2": Split(4, context=2, pipeline=2),
    "pipeline 2, tensor 2, sequence": Split(4, pipeline=2, tensor=2, sequence=True),
    "pipeline 2, data 2, zero1": Split(4, pipeline=2, zero1=True),
    "expert 2, tensor 2, sequence": Split(4, experts=2, tensor=2, sequence=True),
    "expert 2, data 4, zero1": Split(4, experts=2, zero1=True),
    "expert 2, context 2, zero1": Split(4, experts=2, context=2, zero1=True),
    "expert 2, pipeline 2": Split(4, experts=2, pipeline=2),
    "shuffle 2": Split(2, shuffle=2),
    "shuffle 2, expert 2, tensor 2, sequence": Split(4, shuffle=2, experts=2, tensor=2, sequence=True),
    "tensor 2, pipeline 2, data 2, zero1, sequence": Split(8, tensor=2, pipeline=2, zero1=True, sequence=True),
    "tensor 2, context 2, data 2, zero1, sequence": Split(8, tensor=2, context=2, zero1=True, sequence=True),
    "tensor 2, context 2, pipeline 2, sequence": Split(8, tensor=2, context=2, pipeline=2, sequence=True),
    "tensor 2, pipeline 2, virtual 2, data 2, zero1, sequence": Split(
        8, tensor=2, pipeline=2, virtual=2, zero1=True, sequence=True, layers=4
    ),
    "tensor 4, copies 2, data 2, zero1, sequence": Split(8, tensor=4, copies=2, zero1=True, sequence=True),
    "expert 2, tensor 2, data 4, zero1, sequence": Split(8, experts=2, tensor=2, zero1=True, sequence=True),
    "expert 2, tensor 2, pipeline 2, data 2, zero1, sequence": Split(
        8, experts=2, tensor=2, pipeline=2, zero1=True, sequence=True
    ),
    "expert 2, tensor 2, context 2, recompute full": Split(8, experts=2, tensor=2, context=2, recompute="full"),
}
"""Global batch 8 in micro-batches of 2: four of them on one process, one on each of data parallel 4."""

ADAPTED: Final = "llama, lora"
MASKED: Final = "megatron gpt, hidden dropout"
LORA_DROPOUT: Final = "llama, lora, dropout"
"""Only where the processes hold the same states are the masks those of one process (B-19)."""
PACKED: Final = "documents"
"""In the name of families whose samples have several documents that do not see each other."""
ROOMY: Final = "mixtral, room for all"
"""Without the load-balancing loss: what a token shuffle does not change."""


def fits(family: str, split: str) -> bool:
    """Whether a family is trained under a split; `expert` is about families with experts (see `families.EXPERTS`)."""
    if split == UNEVEN:
        return family == ADAPTED
    return (family not in (MASKED, LORA_DROPOUT) or split == "tensor 2") and (family == ROOMY) == (
        SPLITS[split].shuffle > 1
    )


_WHOLE: Final = {
    "recompute full": ["llama, dpo", "mixtral, capacity", "megatron mistral, documents", "megatron gpt"],
    "recompute selective": ["llama, documents", "llama", "megatron mixtral"],
    "data 2": ["megatron mixtral", "llama, orpo"],
    "data 2, recompute full": ["llama", "megatron mixtral"],
    "data 2, zero1": ["llama", "llama, dpo", "megatron mistral, documents", "mixtral, sinkhorn"],
    "tensor 2": ["mixtral", MASKED, "llama, dpo", "llama, documents"],
    "tensor 2, sequence": [
        "megatron gpt",
        "megatron gpt, dpo",
        "llama, orpo",
        "megatron gpt, documents",
        "megatron gpt, experts",
    ],
    "context 2": [
        "mistral",
        "llama, dpo",
        "llama, orpo",
        "mixtral, capacity",
        "mixtral, sinkhorn",
        "llama, documents",
        "mixtral, documents",
        "megatron gpt, documents",
    ],
    "pipeline 2": ["llama, documents", "megatron gpt", "llama, dpo", "megatron gpt, dpo", "megatron mixtral"],
    "pipeline 2, virtual 2": ["mixtral", "mixtral, orpo", "megatron gpt, documents"],
    "expert 2": ["mixtral", "mixtral, dpo", "megatron gpt, experts"],
    "expert 2, zero1": ["mixtral, capacity"],
    UNEVEN: [],
    "tensor 4": ["megatron gpt, two weights"],
    "tensor 4, copies 2, sequence": ["llama"],
    "context 4, zero1": ["megatron mistral"],
    "pipeline 4": ["llama"],
    "expert 4, zero1": ["mixtral, sinkhorn"],
    "2 x 2, zero1, sequence": ["megatron mistral"],
    "tensor 2, recompute full, data 2": ["mixtral"],
    "context 2, tensor 2, sequence": ["megatron mixtral", "megatron mistral, documents"],
    "context 2, data 2, zero1": ["mixtral"],
    "context 2, pipeline 2": ["llama, orpo", "megatron gpt, experts", "megatron gpt, documents"],
    "pipeline 2, tensor 2, sequence": ["mixtral", "mixtral, orpo", "megatron mistral, documents"],
    "pipeline 2, data 2, zero1": ["megatron gpt"],
    "expert 2, tensor 2, sequence": ["mixtral, capacity"],
    "expert 2, data 4, zero1": ["megatron mixtral"],
    "expert 2, context 2, zero1": ["mixtral"],
    "expert 2, pipeline 2": ["megatron gpt, experts"],
    "shuffle 2": [ROOMY],
    "shuffle 2, expert 2, tensor 2, sequence": [ROOMY],
    "expert 2, tensor 2, pipeline 2, data 2, zero1, sequence": ["mixtral"],
}
_ADAPTERS: Final = {
    "recompute selective": ["llama, lora"],
    "data 2": ["megatron gpt, lora"],
    "data 2, zero1": ["llama, lora"],
    "tensor 2": [LORA_DROPOUT, "megatron gpt, lora"],
    "tensor 2, sequence": ["llama, lora", "megatron gpt, lora"],
    "context 2": ["llama, lora"],
    "pipeline 2": ["llama, lora", "megatron gpt, lora"],
    "expert 2": ["mixtral, lora"],
    "expert 2, zero1": ["megatron mixtral, lora"],
    UNEVEN: [ADAPTED],
    "tensor 4": ["llama, lora"],
    "tensor 4, copies 2, sequence": ["llama, lora of single linears"],
    "2 x 2, zero1, sequence": ["llama, lora"],
    "pipeline 2, data 2, zero1": ["llama, lora of single linears"],
}
PART: Final = {split: [*chosen, *_ADAPTERS.get(split, ())] for split, chosen in _WHOLE.items()}
"""What `make test` trains: each split and each family, the families where a split could go wrong."""
