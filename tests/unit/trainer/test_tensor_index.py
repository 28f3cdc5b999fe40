"""The index of tensors is read whichever Python wrote it, and nothing of it is run.

The kind: a pickle is written by one release of Python and read by another; what stands in it for the same object
differs. Tried: a file of the image's Python 3.11.2 (`tests/data/checkpoints`), whose enumerations are `getattr(kind,
name)`, the same index as this Python writes it, and other uses of `getattr`.
"""

import io
import pickle
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed.checkpoint.metadata import _MEM_FORMAT_ENCODING, Metadata

from neuron_trainer.checkpoint import tensor_index
from neuron_trainer.errors import CheckpointError

RECORDED = Path(__file__).parents[2] / "data" / "checkpoints" / "python-3.11.2.metadata"


class Attribute:
    """Pickled as a call of `getattr`."""

    def __init__(self, owner: Any, name: Any) -> None:
        self.arguments = (owner, name)

    def __reduce__(self) -> tuple[Any, ...]:
        return getattr, self.arguments


def index(text: bytes) -> Metadata:
    return tensor_index.read(io.BytesIO(text), "checkpoint")


def test_the_index_of_an_older_python_is_read() -> None:
    """Found by `make demo`: every checkpoint of the image was called damaged: its Python is older."""
    metadata = index(RECORDED.read_bytes())
    assert b"getattr" in RECORDED.read_bytes()
    assert len(tensor_index.files(metadata)) == 4
    weight = metadata.state_dict_metadata["model.model.embed_tokens.weight"]
    assert weight.properties.dtype is torch.float32  # type: ignore[union-attr]


def test_the_same_index_as_this_python_writes_it_is_the_same() -> None:
    metadata = index(RECORDED.read_bytes())
    assert index(pickle.dumps(metadata)).state_dict_metadata == metadata.state_dict_metadata


@pytest.mark.parametrize("name", ["__init__", "__class__", "mro", "no_member", 3, None])
def test_no_other_attribute_is_looked_up(name: Any) -> None:
    with pytest.raises(CheckpointError, match="no index of tensors that can be read"):
        index(pickle.dumps(Attribute(_MEM_FORMAT_ENCODING, name)))


@pytest.mark.parametrize("owner", [torch.Size, Metadata, Enum, "text"])
def test_no_attribute_of_anything_else_is_looked_up(owner: Any) -> None:
    with pytest.raises(CheckpointError, match="no index of tensors that can be read"):
        index(pickle.dumps(Attribute(owner, "__name__")))
