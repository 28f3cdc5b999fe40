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
    ROW = "row"
    """Linear whose input features are split; the partial outputs are summed."""
    NORM = "norm"
    """Works on each token alone: on a part of the sequence with sequence parallelism."""
    BLOCK = "block"
    """Needs the whole sequence at its input; its first argument is gathered with sequence parallelism."""
