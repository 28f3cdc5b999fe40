"""Steps with the flash kernel of the Neuron SDK, and with a softmax for the compiler to fuse, on lazy XLA.

The kernel is the double's (tests/support/nxd_double.py), traced on the lazy device as its own operators: it does not
prove that the SDK's kernel compiles.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import nxd_double
from distributed.tiny import MODEL, VOCABULARY, config
from neuron_api.loading.loader import load_text
from neuron_trainer.models.family import Family
from neuron_trainer.parallel.backend import Share
from neuron_trainer.parallel.xla import sdk

from . import lazy

LENGTH = 2048
MICRO_BATCHES = 1


@pytest.fixture(scope="module")
def device() -> "torch.device":
    with lazy.alone() as opened:
        yield opened


def run(folder: Path, device: torch.device, length: int = LENGTH, **changes: Any) -> lazy.Steps:
    """A tiny Llama with samples that the kernel takes."""
    values = config(
        folder, folder, trainer__devices=1, trainer__num_nodes=1, data__micro_batch_size=1,
        data__global_batch_size=MICRO_BATCHES, distributed_strategy={}, model__encoder_seq_length=length, **changes,
    )  # fmt: skip
    loaded = load_text(yaml.safe_dump(values))
    assert loaded.config is not None, loaded.findings
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "hidden_size": 8, "intermediate_size": 16}
    model = {**MODEL, **heads, "max_position_embeddings": length, "num_hidden_layers": 1}
    family = Family.from_json(model, loaded.config)

    def batch(step: int, _: Share) -> dict[str, torch.Tensor]:
        generator = torch.Generator().manual_seed(step)
        ids = torch.randint(0, VOCABULARY, (MICRO_BATCHES, length), generator=generator)
        return {"input_ids": ids, "labels": ids}

    return lazy.steps(loaded.config, family, batch, device)


def test_steps_with_the_flash_kernel_are_those_without_it(tmp_path: Path, device: torch.device) -> None:
    sdk.is_trn1.cache_clear()
    with nxd_double.installed() as calls:
        steps = run(tmp_path, device, model__fusions={"flash_attention": True})
    assert len(calls) == MICRO_BATCHES * (lazy.STEPS + lazy.EVALUATIONS)
    assert steps.compilations[1 : lazy.STEPS] == [steps.compilations[1]] * (lazy.STEPS - 1)
    assert steps.fallbacks == {"aten::_local_scalar_dense": lazy.STEPS + lazy.EVALUATIONS}, "only losses are read"
    assert steps.losses == pytest.approx(run(tmp_path, torch.device("cpu")).losses, rel=1e-5)


def test_a_softmax_to_fuse_is_a_step_like_another(tmp_path: Path, device: torch.device) -> None:
    steps = run(tmp_path, device, length=64, model__fusions={"softmax": True})
    assert steps.compilations[1 : lazy.STEPS] == [steps.compilations[1]] * (lazy.STEPS - 1)
    assert steps.losses == pytest.approx(run(tmp_path, torch.device("cpu"), length=64).losses, rel=1e-5)
