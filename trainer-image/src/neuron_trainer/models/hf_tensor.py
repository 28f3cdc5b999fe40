"""What a parameter of ours is in the files of `transformers`; each family's `weights` says it."""

from typing import NamedTuple


class HFTensor(NamedTuple):
    """The tensors that have the numbers of one parameter."""

    names: tuple[str, ...]
    is_stack: bool = False
    """Whether each is a row of ours, which has one dimension more, the first; else it is the one and has our shape."""
