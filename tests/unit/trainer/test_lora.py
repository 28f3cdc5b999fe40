"""LoRA on one process: the numbers of PEFT, what is trained, and what is not."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import lora_oracles as oracles
from neuron_api.platform.topology import Topology
from neuron_trainer import optim, parallel
from neuron_trainer.checkpoint import reader, tensors
from neuron_trainer.checkpoint.hf_reader import HFReader
from neuron_trainer.loop.step import Gradients
from neuron_trainer.models import lora
from neuron_trainer.models.family import Family

from .conftest import typed

pytestmark = pytest.mark.usefixtures("one_process")


class Tuning:
    """A model with adapters, of an oracle's case."""

    def __init__(self, folder: Path, name: str, **changes: Any) -> None:
        self.config = typed(oracles.values(folder, name, folder / "log", **changes))
        self.backend = parallel.create(self.config, Topology.from_config(self.config), torch.device("cpu"))
        self.family = Family.from_config(self.config)
        self.module = self.backend.build(self.family)
        base = [one for one in self.all() if not lora.names.is_adapter(one.name)]
        source = Path(self.config.model.model_config).parent
        reader.load_tensors(
            source, lambda names: tensors.weights(base, names), HFReader(source, self.family.hf_tensors)
        )
        first = oracles.initial(name)
        for one in self.all():
            if one.name in first:
                one.leaf.data.copy_(first[one.name])

    def all(self) -> Sequence[Any]:
        return [*self.backend.parameters(), *self.backend.frozen_parameters()]

    def train(self, batches: list[dict[str, Tensor]]) -> list[tuple[float, float]]:
        gradients = Gradients(self.backend, None)
        optimizer = optim.for_run(self.config, self.backend.parameters())
        steps = []
        for step, batch in enumerate(batches):
            sums = gradients.compute(batch)
            optimizer.step()
            self.backend.end_step(step + 1)
            steps.append((sums.loss.item(), sums.gradient_norm.item()))
        return steps


@pytest.mark.parametrize("name", oracles.CASES)
def test_losses_norms_and_logits_are_those_of_peft(name: str, tmp_path: Path) -> None:
    case, tuning = oracles.case(name), Tuning(tmp_path, name)
    steps = tuning.train(oracles.batches(name))
    assert sum(one.shape.numel() for one in tuning.backend.parameters()) == case["trainable_count"]
    assert len(tuning.backend.parameters()) == case["trainable_tensors"]
    for (loss, norm), wanted in zip(steps, case["own_fp64"], strict=True):
        assert loss == pytest.approx(wanted["loss"], abs=1e-5)
        assert norm == pytest.approx(wanted["grad_norm"], rel=1e-5)
    ids, positions, wanted = oracles.probe(name)
    logits = tuning.module(ids)[range(len(ids)), positions]
    torch.testing.assert_close(logits.double(), wanted, rtol=0, atol=2e-5)
