"""Adapters trained on preferences: the recorded numbers, with the start model as reference."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import lora_oracles as oracles
from pairs import pairs, recorded
from pairs import train as steps

from .test_alignment_values import check
from .test_lora import Tuning

pytestmark = pytest.mark.usefixtures("one_process")

CASES = {
    "dpo_lora_qv": "qv_none",
    "dpo_lora_all7": "all7_none",
    "dpo_lora_qv_bias_all": "qv_bias_all",
    "orpo_lora_qv": "qv_none",
}
"""To the case with the same model and adapters."""


def tuning(folder: Path, name: str, record: dict[str, Any]) -> Tuning:
    case = CASES.get(name, "qv_none")
    section = {key: value for key, value in record["settings"].items() if key in ("kl_beta", "beta")}
    method = "orpo" if "orpo" in name else "dpo"
    sections = {method: {**section, "max_prompt_length": 32}, "peft": oracles.peft(oracles.case(case)["settings"])}
    batch = record["settings"].get("batch", 16)
    return Tuning(
        folder, case, model_alignment_strategy=sections, data__global_batch_size=batch, data__micro_batch_size=batch
    )


@pytest.mark.parametrize("is_precomputed", [True, False])
@pytest.mark.parametrize("name", CASES)
def test_steps_of_adapters_on_pairs(name: str, is_precomputed: bool, tmp_path: Path) -> None:
    record = recorded(f"combined/{name}.json")
    own = tuning(tmp_path, name, record)
    batches = [pairs(indices) for indices in record["settings"]["batches"]]
    if "dpo" in name and is_precomputed:
        batches = [batch | {"reference_log_probs": own.backend.log_probs(batch)} for batch in batches]
    elif "dpo" in name:
        own.backend.keep_reference()
    for found, wanted in zip(steps(own.config, own.backend, batches), record["own_fp64"], strict=True):
        check(found, wanted)


def test_the_reference_of_a_trained_adapter_is_the_model_without_it(tmp_path: Path) -> None:
    record = recorded("combined/dpo_lora_started_adapter.json")
    own = tuning(tmp_path, "dpo_lora_started_adapter", record)
    for name, tensor in load_file(oracles.DATA / "weights/lora_B_qv_start.safetensors").items():
        [leaf] = [one.leaf for one in own.backend.parameters() if one.name == name]
        leaf.data.copy_(tensor)
    own.backend.keep_reference()
    [found] = steps(own.config, own.backend, [pairs(range(16))])
    assert found["loss"] == pytest.approx(record["own_fp64"]["loss"], abs=1e-5)
    assert found["grad_norm"] == pytest.approx(record["peft_fp32"]["grad_norm"], rel=1e-5)
    with own.backend.without_adapters():
        alone = own.backend.log_probs(pairs(range(16)))
    assert not torch.allclose(alone, own.backend.log_probs(pairs(range(16))))
