"""Types of precision on one process: sums do not stall, rounding resumes, updates do not depend on shards."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from neuron_api import contract
from neuron_api.derive import precision
from neuron_api.platform.topology import Topology
from neuron_trainer import optim, parallel
from neuron_trainer.ipc.worker_channel import Start
from neuron_trainer.loop.step import Gradients
from neuron_trainer.models.family import Family
from neuron_trainer.parallel import LocalParameter, ParallelBackend, dtypes
from neuron_trainer.parallel.native.data import data_parallel

from .conftest import alone, train, typed

pytestmark = [pytest.mark.usefixtures("one_process"), pytest.mark.slow]

MANUAL = {"type": "manual", "xla_use_bf16": "1"}
ADAMW = {"name": "adamw", "lr": 3e-3, "sched": {"name": "WarmupPolicy", "max_steps": 99}}


def lines(folder: Path) -> list[tuple[float, ...]]:
    found = [json.loads(line) for line in (folder / contract.METRICS_FILE).read_text().splitlines()]
    return [(m["step"], m["loss"], m["lr"], m["gradient_norm"]) for m in found]


@pytest.mark.parametrize("optimizer", ["adamw", "adamw_fp32OptState", "novograd"])
@pytest.mark.parametrize("kind", ["mixed_precisionSR", "bf16SR", "autocast", "manual"])
def test_a_resumed_run_rounds_as_the_unbroken_one(kind: str, optimizer: str, tiny: Path, tmp_path: Path) -> None:
    rules = MANUAL if kind == "manual" else {"type": kind}

    def run(folder: Path, steps: int, start: Start | None = None) -> list[tuple[float, ...]]:
        values = alone(
            tiny, folder, trainer__max_steps=steps, precision=rules, model__optim={**ADAMW, "name": optimizer},
            exp_manager__checkpoint_callback_params__every_n_train_steps=2,
            exp_manager__checkpoint_callback_params__save_top_k=-1,
        )  # fmt: skip
        return lines(train(values, start))

    unbroken = run(tmp_path / "a", 5)
    (saved,) = (tmp_path / "a" / contract.CHECKPOINTS_DIR).glob("*step=2-*")
    shutil.copytree(saved, tmp_path / "b" / contract.CHECKPOINTS_DIR / saved.name)
    resumed = run(tmp_path / "b", 5, Start(1, str(tmp_path / "b" / contract.CHECKPOINTS_DIR / saved.name)))
    assert resumed == unbroken[2:]
    assert len({loss for _, loss, _, _ in unbroken}) == 5


def backend(tiny: Path, folder: Path, rows: int, **rules: Any) -> tuple[Any, ParallelBackend]:
    values = alone(
        tiny, folder, data__global_batch_size=rows, data__micro_batch_size=1, precision=rules, model__optim=ADAMW
    )
    wanted = typed(values)
    built = parallel.create(wanted, Topology.from_config(wanted), torch.device("cpu"))
    built.build(Family.from_config(wanted))
    return wanted, built


def rows(count: int, distinct: int) -> torch.Tensor:
    some = torch.randint(0, 96, (distinct, 32), generator=torch.Generator().manual_seed(0))
    return some.repeat(count // distinct, 1)


@pytest.mark.parametrize("kind", ["mixed_precision", "bf16SR"])
def test_the_loss_of_256_micro_batches_is_their_mean_to_a_millionth(kind: str, tiny: Path, tmp_path: Path) -> None:
    _, built = backend(tiny, tmp_path, 256, type=kind)
    ids = rows(256, 256)
    each = [built.evaluate({"input_ids": one, "labels": one}).loss.double() for one in ids.split(1)]
    found = built.accumulate({"input_ids": ids, "labels": ids}).loss
    assert found.dtype is torch.float32
    assert found.item() == pytest.approx(torch.stack(each).mean().item(), rel=1e-6)
    assert all(one.item() != one.float().bfloat16().double().item() for one in each[:8]), "no loss was bf16 on its way"


def test_gradients_of_512_micro_batches_stall_in_bf16_and_not_in_fp32(tiny: Path, tmp_path: Path) -> None:
    """bf16 has 8 bits: the 257th equal addend changes nothing any more."""

    def norm(count: int, **rules: Any) -> float:
        _, built = backend(tiny, tmp_path, count, **rules)
        ids = rows(count, 1)
        return float(Gradients(built, None).compute({"input_ids": ids, "labels": ids}).gradient_norm)

    one = norm(1, **MANUAL)
    assert norm(512, **MANUAL, fp32_grad_acc=True) == pytest.approx(one, rel=5e-3)
    assert norm(512, **MANUAL) < 0.8 * one


KINDS = {
    "mixed_precision": {"type": "mixed_precision"},
    "masters, summed in bf16": {**MANUAL, "master_weights": True},
    "no masters, summed in fp32": {**MANUAL, "fp32_grad_acc": True},
}


@pytest.mark.parametrize("micro_batches", [1, 4, 5])
@pytest.mark.parametrize("kind", KINDS)
def test_losses_and_gradients_are_those_of_fsdp_to_the_bit(
    kind: str, micro_batches: int, tiny: Path, tmp_path: Path
) -> None:
    """Ours are divided after the last backward pass; a power of two gives the same bits before it."""
    before, after = (1, 5) if micro_batches == 5 else (micro_batches, 1)
    wanted, built = backend(tiny, tmp_path, micro_batches, **KINDS[kind])
    policy, family = precision.policy(wanted), Family.from_config(wanted)
    theirs = family.on_meta().to_empty(device="cpu").to(dtypes.TORCH[policy.stored])
    theirs.load_state_dict({name: family.init_parameter(name, p.shape) for name, p in theirs.named_parameters()})
    fully_shard(theirs, mesh=init_device_mesh("cpu", (1,)), mp_policy=data_parallel.mixed_precision(policy))
    ids = rows(micro_batches, micro_batches)
    found = built.accumulate({"input_ids": ids, "labels": ids}).loss
    built.finish_gradients()
    losses = []
    for index, one in enumerate(ids.split(1)):
        theirs.set_requires_gradient_sync(index == micro_batches - 1)
        loss = F.cross_entropy(theirs(one).float().flatten(0, 1), one.flatten()) / before
        loss.backward()
        losses.append(loss.detach() / after)
    assert found.item() == pytest.approx(sum(losses).item(), rel=1e-6)
    for ours, (name, parameter) in zip(built.parameters(), theirs.named_parameters(), strict=True):
        assert ours.name == name
        assert ours.leaf.grad is not None and parameter.grad is not None
        assert ours.leaf.grad.dtype is ours.leaf.dtype
        assert torch.equal(ours.leaf.grad, parameter.grad.to_local() / after), name


def part(whole: torch.Tensor, begin: int, end: int) -> LocalParameter:
    leaf = torch.nn.Parameter(whole[begin:end].clone())
    return LocalParameter("w", whole.shape, leaf, 1, offset=(begin, 0))


@pytest.mark.parametrize("name", ["adamw", "sgd", "adamax"])
def test_updates_of_shards_in_bf16_are_those_of_the_whole(name: str, tiny: Path, tmp_path: Path) -> None:
    wanted = typed(
        alone(tiny, tmp_path, precision={"type": "bf16SR"}, model__optim={**ADAMW, "name": name, "lr": 1e-3})
    )
    assert precision.policy(wanted).stored == "bf16"
    start = torch.randn(10, 7, generator=torch.Generator().manual_seed(1)).bfloat16()
    whole, shards = [part(start, 0, 10)], [part(start, 0, 3), part(start, 3, 10)]
    optimizers = [(parameters, optim.for_run(wanted, parameters)) for parameters in (whole, shards[:1], shards[1:])]
    for step in range(6):
        gradient = torch.randn(10, 7, generator=torch.Generator().manual_seed(step)).bfloat16()
        for parameters, optimizer in optimizers:
            for one in parameters:
                one.leaf.grad = gradient[one.offset[0] : one.offset[0] + len(one.leaf)].clone()
            optimizer.step()
    joined = torch.cat([one.leaf for one in shards])
    assert joined.dtype is torch.bfloat16
    assert torch.equal(joined, whole[0].leaf)
    assert (joined - start).abs().max() > 0
    states = [optimizer.state[one.leaf] for parameters, optimizer in optimizers for one in parameters]
    for key, state in states[0].items():
        if key != "step":
            assert state.dtype is torch.bfloat16
            assert torch.equal(state, torch.cat([states[1][key], states[2][key]])), key


def test_small_updates_in_bf16_add_up_only_with_stochastic_rounding(tiny: Path, tmp_path: Path) -> None:
    moved = {}
    for rounding in ("1", "0"):
        rules = {**MANUAL, "neuron_rt_stochastic_rounding_en": rounding}
        sgd = {"name": "sgd", "lr": 2.0**-11, "weight_decay": 0.0, "sched": {"name": "WarmupPolicy", "max_steps": 99}}
        wanted = typed(alone(tiny, tmp_path, precision=rules, model__optim=sgd))
        parameter = part(torch.ones(100, 100, dtype=torch.bfloat16), 0, 100)
        optimizer = optim.for_run(wanted, [parameter])
        for _ in range(64):
            parameter.leaf.grad = torch.ones_like(parameter.leaf)
            optimizer.step()
        moved[rounding] = 1.0 - parameter.leaf.float().mean().item()
    assert moved["0"] == 0.0
    assert moved["1"] == pytest.approx(64 * 2.0**-11, rel=0.02)
