"""The vocabulary between a model family and a parallel backend."""

from enum import StrEnum


class Role(StrEnum):
    """How a module takes part in tensor and sequence parallelism (B-6)."""

    VOCABULARY_IN = "vocabulary-in"
    """Embedding split over the vocabulary."""
    VOCABULARY_OUT = "vocabulary-out"
    """Linear to the vocabulary, its output split over it; the loss is computed on the split logits."""
    COLUMN = "column"
    """Linear whose output features are split."""
    KEY_VALUE = "key-value"
    """Linear to key or value heads, of which there may be fewer than processes; `head_dim` is its parent's."""
    ROW = "row"
    """Linear whose input features are split; the partial outputs are summed."""
    NORM = "norm"
    """Works on each token alone: on a part of the sequence with sequence parallelism."""
    BLOCK = "block"
    """Needs the whole sequence at its input, its first argument; its linears have parts of the gradient of that."""
    POSITIONS = "positions"
    """Embedding of positions; its output is split over the sequence with sequence parallelism."""
    DROPOUT = "dropout"
    """Between blocks: processes hold the same states, or with sequence parallelism different parts of the sequence."""
    DROPOUT_INSIDE = "dropout-inside"
    """Inside a block: each process holds a part of the features or heads."""
    ROUTER = "router"
    """Chooses experts for every token of the whole sequence, on all processes alike."""
    EXPERTS = "experts"
    """MLPs as stacked weights [E, out, in]: gate and up split by output, down by input features; outputs are summed."""
