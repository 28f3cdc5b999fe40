"""Names in `transformers`: the same; a tied head has no tensor of its own on either side."""

from neuron_trainer.models.weights import Theirs

from .config import LlamaConfig


def theirs(name: str, _: LlamaConfig) -> Theirs:
    """Of the parameter `name`."""
    return Theirs((name,))
