"""`mfu`: operations of a token as PyTorch counts them in the real model, over the published peak; else no number."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from distributed.tiny import MODEL, SEQUENCE
from neuron_api import contract
from neuron_api.config import TrainingConfig
from neuron_api.derive import parameters
from neuron_trainer.metrics import history
from neuron_trainer.metrics.throughput import Utilization
from neuron_trainer.models.family import Family

from .conftest import alone, train, typed
from .megatron import SHAPES, section
from .test_llama import VARIANTS
from .test_trainer_keys import NO_CHECKPOINTS, scalars

pytestmark = pytest.mark.slow

HF: dict[str, dict[str, Any]] = {
    **{f"llama, {name}": values for name, values in VARIANTS.items()},
    "mistral": {"model_type": "mistral", "sliding_window": None},
    "mixtral": {"model_type": "mixtral", "num_local_experts": 4, "num_experts_per_tok": 2, "num_hidden_layers": 3},
}


def counted(wanted: TrainingConfig, vocabulary: int | None = None) -> float:
    """By torch, in a forward and a backward pass of the model as it is built for a run, per token."""
    family = Family.from_config(wanted, vocabulary)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = family.on_meta().to_empty(device="cpu")
        for name, parameter in model.named_parameters():
            with torch.no_grad():
                parameter.copy_(family.init_parameter(name, parameter.shape))
        ids = torch.randint(0, 90, (2, SEQUENCE))
    # It does not know the CPU's own attention, nor our multiplications of rows by expert.
    operators = torch.ops.neuron_trainer
    ours = {operators.grouped_linear: _grouped_linear, operators.grouped_outer: _grouped_outer}
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False, custom_mapping=ours) as counter:
        found = model(ids)
        logits = found[0] if isinstance(found, tuple) else found
        logits.float().sum().backward()
    return counter.get_total_flops() / ids.numel()


def _grouped_linear(values: tuple[int, int], weights: tuple[int, int, int], *_: object, **__: object) -> int:
    """Of [S, in] and [E, out, in]."""
    return 2 * values[0] * weights[1] * weights[2]


def _grouped_outer(first: tuple[int, int], second: tuple[int, int], *_: object, **__: object) -> int:
    """Of [S, out] and [S, in]."""
    return 2 * first[0] * first[1] * second[1]


@pytest.mark.parametrize("name", HF)
def test_of_a_config_json_they_are_those_that_torch_counts(name: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({**MODEL, **HF[name]}))
    wanted = section(model_config=str(tmp_path), encoder_seq_length=SEQUENCE)
    model = Family.architecture(wanted)
    assert model is not None
    assert parameters.flops_per_token(model, SEQUENCE) == counted(wanted)


@pytest.mark.parametrize("name", SHAPES)
def test_of_megatron_keys_they_are_those_that_torch_counts(name: str) -> None:
    """No token is left out for the capacity of an expert: those count as if they had been computed."""
    keys = {**SHAPES[name], "encoder_seq_length": SEQUENCE}
    if "moe" in keys:
        keys["moe"] = {**keys["moe"], "capacity_factor": 4.0}
    wanted = section("megatron", **keys)
    model = Family.architecture(wanted, 91)
    assert model is not None
    assert parameters.flops_per_token(model, SEQUENCE) == counted(wanted, 91)


def test_a_config_json_may_be_silent_about_what_its_kind_has(tmp_path: Path) -> None:
    values = {**MODEL, "model_type": "mixtral", "num_attention_heads": 8}
    del values["num_key_value_heads"]
    (tmp_path / "config.json").write_text(json.dumps(values))
    wanted = section(model_config=str(tmp_path), encoder_seq_length=SEQUENCE)
    model = Family.architecture(wanted)
    assert model is not None
    assert parameters.flops_per_token(model, SEQUENCE) == counted(wanted)


@pytest.mark.usefixtures("one_process")
def test_a_run_with_a_known_peak_says_its_share_and_another_says_none(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lines(folder: Path) -> list[dict[str, Any]]:
        text = (folder / contract.METRICS_FILE).read_text()
        return [json.loads(line) for line in text.splitlines()]

    def run(name: str) -> Path:
        return train(alone(
            tiny, tmp_path / name, trainer__max_steps=3, trainer__log_every_n_steps=1, **NO_CHECKPOINTS,
            exp_manager__create_tensorboard_logger=True,
        ))  # fmt: skip

    unknown = run("unknown")
    assert "mfu" not in scalars(unknown)
    assert all("mfu" not in line for line in lines(unknown))
    monkeypatch.setenv(contract.ENV_PEAK_FLOPS, "1e12")
    known = run("known")
    model = Family.architecture(typed(alone(tiny, tmp_path / "known")))
    assert model is not None
    each = parameters.flops_per_token(model, SEQUENCE)
    assert each is not None
    written = lines(known)
    assert len(written) == 3
    assert all(line["mfu"] == pytest.approx(line["tokens_per_second"] * each / 1e12, abs=1e-6) for line in written)
    assert all(line["mfu"] > 0 for line in written)
    shown = [value for _, value in scalars(known)["mfu"]]
    assert shown == pytest.approx([line["mfu"] for line in written], rel=1e-5)
    assert history.open_history(known).history().steps[-1].mfu == written[-1]["mfu"]


@pytest.mark.parametrize("given", ["", "much", "0", "-1", "inf", "nan"])
def test_a_peak_that_is_none_is_told_and_gives_no_share(
    given: str, tiny: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = Utilization.from_config(typed(alone(tiny, tmp_path)), None, 4, {contract.ENV_PEAK_FLOPS: given})
    assert found is None
    assert "NTJ_PEAK_FLOPS" in caplog.text


def test_the_share_is_of_all_processes(tiny: Path, tmp_path: Path) -> None:
    config = typed(alone(tiny, tmp_path))
    one, four = (Utilization.from_config(config, None, n, {contract.ENV_PEAK_FLOPS: "2e9"}) for n in (1, 4))
    assert one is not None
    assert four is not None
    assert one.at(1000.0) == pytest.approx(4 * four.at(1000.0), rel=1e-3)
