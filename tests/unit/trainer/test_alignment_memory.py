"""LoRA, DPO and ORPO in `kubectl neuron plan`: parameters, memory, checkpoints of what the trainer makes of a file."""

from pathlib import Path
from typing import Any, Final

import pytest

from distributed.tiny import MODEL
from measured import EXPERTS, SMALL, step
from neuron_api.config import PeftConfig
from neuron_api.derive import adapters, architecture, memory
from neuron_api.derive.architecture import Architecture
from neuron_trainer.models import lora
from neuron_trainer.models.family import Family

from .conftest import train, typed
from .megatron import SHAPES, section
from .test_memory_estimate import CASES, alone
from .test_parameter_counts import HF

pytestmark = pytest.mark.slow

TOLERANCE: Final = 0.05
"""The largest error seen is 3 % (docs/design/009-memory-estimate.md)."""
ALL: Final = ("qkv_proj", "o_proj", "gate_up_proj", "down_proj")
DATA: Final = Path(__file__).parents[2] / "data" / "alignment"


def tuned(folder: Path, peft: dict[str, Any], micro_batches: int = 2, **changes: Any) -> dict[str, Any]:
    """The small model with adapters, on the records of the oracles."""
    configuration = alone(folder, micro_batches, **changes)
    configuration["model_alignment_strategy"] = {"sft": {}, "peft": {"lora_dropout": 0.0, **peft}}
    configuration["data"] |= {
        "train_dir": str(DATA / "records.jsonl"), "seq_length": 128, "index_mapping_dir": str(folder),
        "tokenizer": {"type": str(DATA / "tokenizer")},
    }  # fmt: skip
    return configuration


ADAPTERS: Final[dict[str, dict[str, Any]]] = {
    "the document's": {},
    "all, dropout": {"target_modules": ALL, "lora_dropout": 0.1},
    "the last linear of a layer": {"target_modules": ["down_proj"]},
    "embedding": {"target_modules": ["q_proj", "embed_tokens"]},
    "head": {"target_modules": ["v_proj", "lm_head"], "lora_rank": 64},
}


@pytest.mark.usefixtures("one_process")
@pytest.mark.parametrize(
    ("precision", "chosen"),
    [("fp32", "the document's"), ("fp32", "embedding"), *(("mixed_precision", chosen) for chosen in ADAPTERS)],
)
def test_the_peak_of_a_step_beside_frozen_weights_is_estimated(precision: str, chosen: str, tmp_path: Path) -> None:
    found = step(tuned(tmp_path, ADAPTERS[chosen], precision__type=precision))
    assert found.ratio == pytest.approx(1, abs=TOLERANCE)


@pytest.mark.usefixtures("one_process")
@pytest.mark.parametrize("recomputed", ["full", "CoreAttention", "LlamaMLP"])
def test_recompute_beside_frozen_weights_is_estimated(recomputed: str, tmp_path: Path) -> None:
    found = step(tuned(tmp_path, {"target_modules": ALL}, precision__type="mixed_precision", **CASES[recomputed]))
    assert found.ratio == pytest.approx(1, abs=TOLERANCE)


@pytest.mark.usefixtures("one_process")
def test_experts_may_be_frozen(tmp_path: Path) -> None:
    moe = {"num_experts": 4, "top_k": 2, "capacity_factor": None}
    configuration = tuned(tmp_path, {}, model=EXPERTS, precision__type="mixed_precision", model__moe=moe)
    assert step(configuration).ratio == pytest.approx(1, abs=TOLERANCE)


IN_EACH_STEP: Final = {"max_prompt_length": 32, "precompute_ref_log_probs": False}
PAIRS: Final[dict[str, dict[str, Any]]] = {
    "dpo": {"dpo": {"max_prompt_length": 32}},
    "orpo": {"orpo": {"max_prompt_length": 32}},
    "dpo with a second model": {"dpo": IN_EACH_STEP},
    "dpo of adapters": {"dpo": IN_EACH_STEP, "peft": {"lora_dropout": 0.0}},
}


@pytest.mark.usefixtures("one_process")
@pytest.mark.parametrize("method", PAIRS)
def test_pairs_are_two_rows_and_a_second_model_is_counted(method: str, tmp_path: Path) -> None:
    configuration = tuned(tmp_path, {}, precision__type="mixed_precision")
    configuration["model_alignment_strategy"] = PAIRS[method]
    found = step(configuration)
    assert found.ratio == pytest.approx(1, abs=TOLERANCE)
    assert (found.estimate.reference > 0) is (method == "dpo with a second model")


@pytest.mark.usefixtures("one_process")
@pytest.mark.parametrize("peft", [{}, {"save_lora_base": True}, {"save_lora_base": True, "merge_lora": True}],
                         ids=["alone", "with its base", "merged"])  # fmt: skip
def test_a_checkpoint_of_adapters_has_the_size_that_is_estimated(peft: dict[str, Any], tmp_path: Path) -> None:
    configuration = tuned(
        tmp_path, {"target_modules": ALL, "lora_rank": 64, **peft}, 1, trainer__max_steps=1,
        precision__type="mixed_precision",
    )  # fmt: skip
    configuration["exp_manager"]["resume_if_exists"] = False
    [folder] = (train(configuration) / "checkpoints").glob("*.ckpt")
    written = sum(path.stat().st_size for path in folder.iterdir())
    shape, _ = architecture.from_json(SMALL, typed(configuration).model)
    assert shape is not None
    assert memory.checkpoint_bytes(typed(configuration), shape) == pytest.approx(written, rel=TOLERANCE)


# ---- parameters --------------------------------------------------------------------------------------------------

PEFTS: Final = {
    "joined": PeftConfig(target_modules=("qkv_proj", "o_proj"), lora_bias="lora_only"),
    "all, every bias": PeftConfig(target_modules=("q_proj", "v_proj", "embed_tokens", "lm_head"), lora_bias="all"),
    "one layer": PeftConfig(target_modules=("1.self_attn.o_proj", "q_proj"), lora_rank=3),
}


def of_families(folder: Path) -> dict[str, tuple[Family, Architecture]]:
    """Models of both sources, with the sizes that a plan has of them."""
    import json

    models: dict[str, tuple[Family, Architecture]] = {}
    for name, (changes, keys) in HF.items():
        path = folder / name.replace(" ", "")
        path.mkdir()
        (path / "config.json").write_text(json.dumps({**MODEL, **changes}))
        wanted = section(**keys, model_config=str(path))
        shape, _ = architecture.from_json({**MODEL, **changes}, wanted.model)
        assert shape is not None
        models[name] = Family.from_config(wanted), shape
    for name, keys in SHAPES.items():
        wanted = section("megatron", **keys)
        shape = architecture.from_megatron(wanted, 91)
        assert shape is not None
        models[name] = Family.from_config(wanted, 91), shape
    return models


@pytest.mark.parametrize("peft", PEFTS)
def test_as_many_parameters_are_trained_as_the_trainer_trains(peft: str, tmp_path: Path) -> None:
    for name, (family, shape) in of_families(tmp_path).items():
        summary = lora.summary(family.on_meta(), PEFTS[peft])
        assert adapters.whole(shape, PEFTS[peft]).total == summary.trained, name


@pytest.mark.parametrize("name", ["gate_proj", "gate_up_proj", "up_proj", "qkv_proj", "mlp.down_proj", "0.mlp.up_proj"])
def test_a_target_is_there_where_the_trainer_finds_it(name: str, tmp_path: Path) -> None:
    for family_name, (family, shape) in of_families(tmp_path).items():
        is_there = bool(lora.groups(family.on_meta(), [name]))
        assert (adapters.find(shape, name) is not None) is is_there, family_name
