"""LoRA on one process: the numbers of PEFT, what is trained, and what is not."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import lora_oracles as oracles
from neuron_api.config import PeftConfig
from neuron_api.platform.topology import Topology
from neuron_trainer import optim
from neuron_trainer.ipc.phases import Phases
from neuron_trainer.loop.run import Run
from neuron_trainer.loop.step import Gradients
from neuron_trainer.models import lora
from neuron_trainer.models.family import Family

from .conftest import typed

pytestmark = pytest.mark.usefixtures("one_process")


class Tuning:
    """A model with adapters, of an oracle's case, with its base and its initial A."""

    def __init__(self, folder: Path, name: str, **changes: Any) -> None:
        self.config = typed(oracles.values(folder, name, folder / "log", **changes))
        run = Run.build(
            self.config, Topology.from_config(self.config), "hash", torch.device("cpu"), lambda: False, Phases(),
            is_fresh=False,
        )  # fmt: skip
        self.backend, self.module = run.module.backend, run.module.model
        run.state.load_weights(Path(str(self.config.model.model_config_path)).parent)
        first = oracles.initial(name)
        for one in self.backend.parameters():
            if one.name in first:
                one.leaf.data.copy_(first[one.name])

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


def test_without_adapters_it_is_the_base_to_the_bit(tmp_path: Path) -> None:
    tuning, base = Tuning(tmp_path, "all7_none"), Tuning(tmp_path, "all7_none")
    batch = oracles.batches("all7_none")[0]
    tuning.train(oracles.batches("all7_none")[:2])
    with tuning.backend.without_adapters():
        assert torch.equal(tuning.backend.evaluate(batch).loss, base.backend.evaluate(batch).loss)
    assert not torch.equal(tuning.backend.evaluate(batch).loss, base.backend.evaluate(batch).loss)


@pytest.mark.parametrize("kind", ["fp32", "mixed_precision", "mixed_precisionSR", "bf16SR", "autocast"])
def test_frozen_weights_have_the_dtype_of_computing_and_nothing_of_training(kind: str, tmp_path: Path) -> None:
    tuning = Tuning(tmp_path, "qv_bias_all", precision={"type": kind})
    before = [one.leaf.clone() for one in tuning.backend.frozen_parameters()]
    losses = [loss for loss, _ in tuning.train(oracles.batches("qv_bias_all"))]
    assert losses[-1] < losses[1], "the batch of step 1 comes again"
    computing = torch.float32 if kind == "fp32" else torch.bfloat16
    updated = torch.bfloat16 if kind == "bf16SR" else torch.float32
    assert {one.leaf.dtype for one in tuning.backend.parameters()} == {updated}
    for one, leaf in zip(tuning.backend.frozen_parameters(), before, strict=True):
        assert one.leaf.dtype is computing
        assert one.leaf.grad is None
        assert torch.equal(one.leaf, leaf)
    named = dict(tuning.module.named_parameters())
    assert all(
        named[one.name].grad is None and not named[one.name].requires_grad for one in tuning.backend.frozen_parameters()
    )


def test_dropout_is_of_training_alone_and_one_mask_for_what_shares_a(tmp_path: Path) -> None:
    section = oracles.peft(oracles.case("qkv_shared_A")["settings"], lora_dropout=0.5)
    tuning = Tuning(tmp_path, "qkv_shared_A", model_alignment_strategy={"peft": section})
    batch = oracles.batches("qkv_shared_A")[0]
    tuning.train([batch])
    tuning.module.eval()
    assert torch.equal(tuning.backend.evaluate(batch).loss, tuning.backend.evaluate(batch).loss)
    tuning.module.train()
    assert not torch.equal(tuning.backend.evaluate(batch).loss, tuning.backend.evaluate(batch).loss)
    seeds = []
    dropouts = [one for one in tuning.module.modules() if getattr(one, "probability", 0) == 0.5]
    for child in dropouts:
        child.register_forward_hook(lambda *_: seeds.append(1))
    tuning.backend.accumulate(batch)
    assert len(seeds) == 2, "of each layer one"


def test_initial_adapters_are_those_of_peft_and_do_not_depend_on_order() -> None:
    a = lora.init_parameter("x.q_proj.lora_A.weight", torch.Size((64, 256)), 1)
    assert a.abs().max() <= 256**-0.5
    assert a.std().item() == pytest.approx(256**-0.5 / 3**0.5, rel=0.02)
    assert torch.equal(a, lora.init_parameter("x.q_proj.lora_A.weight", torch.Size((64, 256)), 1))
    assert not torch.equal(a, lora.init_parameter("x.k_proj.lora_A.weight", torch.Size((64, 256)), 1))
    assert not lora.init_parameter("x.q_proj.lora_B.weight", torch.Size((4, 4)), 1).any()
    assert not lora.init_parameter("embed_tokens.lora_embedding_A", torch.Size((4, 8)), 1).any()
    assert lora.init_parameter("embed_tokens.lora_embedding_B", torch.Size((512, 64)), 1).std().item() == pytest.approx(
        1, rel=0.02
    )


def _model(**changes: Any) -> nn.Module:
    from distributed.tiny import MODEL

    return Family.without_run({**MODEL, **changes}).on_meta()


@pytest.mark.parametrize(("targets", "trained"), [
    (["q_proj"], 2 * 2), (["self_attn.q_proj"], 2 * 2), (["layers.1.self_attn.q_proj"], 2), (["qkv_proj"], 2 * 4),
    (["gate_up_proj"], 2 * 3), (["embed_tokens", "lm_head"], 4), (["q_proj", "q_proj"], 2 * 2),
])  # fmt: skip
def test_targets_are_ends_of_names(targets: list[str], trained: int) -> None:
    summary = lora.summary(_model(), PeftConfig(target_modules=tuple(targets), lora_rank=2))
    assert len(summary.shapes) == trained


@pytest.mark.parametrize("case", oracles.counts(), ids=str)
def test_what_is_trained_is_counted_as_by_peft(case: dict[str, Any], tmp_path: Path) -> None:
    base = oracles.base(tmp_path, {"base": f"../weights/{case['base']}.safetensors"})
    config = PeftConfig(
        lora_rank=case["r"],
        lora_alpha=case["alpha"],
        target_modules=tuple(case["target_modules"]),
        lora_bias=case["bias"],
    )
    summary = lora.summary(Family.without_run(oracles.config(base)).on_meta(), config)
    assert (summary.trained, len(summary.shapes)) == (case["trainable"], case["tensors"])
    assert f"{case['trainable']:,} of" in summary.sentence
