"""Weights of our models from and to directories of `transformers`, the way `neuron-train checkpoint convert` goes."""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from torch import Tensor

from neuron_trainer.convert import hugging_face
from neuron_trainer.convert.weights import stacked, unstacked
from neuron_trainer.models.family import Family


def read(folder: Path) -> dict[str, Tensor]:
    """Parameters by our names, those of the model that its config.json tells."""
    family = Family.without_run(json.loads((folder / "config.json").read_text()))
    return {name: load() for name, load in stacked(hugging_face.read(folder), family.hf_tensors).items()}


def write(folder: Path, tensors: Mapping[str, Tensor], config: Path) -> None:
    """Full tensors by our names; `config`: a config.json of their model."""
    values = json.loads(config.read_text())
    names = Family.without_run(values).hf_tensors
    ours = {name: partial(_given, tensors[name]) for name in names}
    hugging_face.write(folder, unstacked(ours, names), values, 10**9, lambda _: None)


def _given(tensor: Tensor) -> Tensor:
    return tensor
