"""Every published file that aligns, shrunk but otherwise unchanged, trains: Llama, Mixtral and Megatron models.

Kept: algorithm, adapters, precision, optimizer, schedule's form, recompute, packing, checkpoint keys. Changed: sizes,
paths, processes, and the learning rate, with which three steps show that the loss falls.
"""

import json
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from distributed.tiny import MODEL
from key_cases import CONFIGS, text_with
from neuron_api.config import TrainingConfig
from neuron_api.derive import alignment
from neuron_api.loading.loader import load_text
from neuron_trainer import run_config
from neuron_trainer.preflight import early, preflight
from neuron_trainer.run_directory.resume import EarlierRuns

from .conftest import train
from .test_loop import checkpoint_at, lines

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_process")]
DATA: Final = Path(__file__).parents[2] / "data" / "alignment"
SFT, LORA, DPO = "hf_llama3_8B_SFT_config", "hf_llama3_8B_SFT_lora_config", "hf_llama3_8B_DPO_config"
MEGATRON: Final = "megatron_llama2_7B_SFT_config"
LENGTH: Final = 64
STEPS: Final = 3
SNIPPET: Final = yaml.safe_load((CONFIGS / "doc" / "09-model-alignment-strategy.yaml").read_text())[
    "model_alignment_strategy"
]
"""The document's: alternatives side by side, and adapters."""
MODELS: Final[dict[str, dict[str, Any]]] = {
    "llama": {**MODEL, "vocab_size": 128, "max_position_embeddings": LENGTH},
    "mixtral": {
        **MODEL, "vocab_size": 128, "max_position_embeddings": LENGTH, "model_type": "mixtral", "num_local_experts": 4,
        "num_experts_per_tok": 2,
    },
}  # fmt: skip


def shrunk(base: str, folder: Path, model: str, strategy: dict[str, Any] | None = None) -> TrainingConfig:
    """The file with small sizes and local paths."""
    methods = strategy or yaml.safe_load((CONFIGS / f"{base}.yaml").read_text()).get("model_alignment_strategy", {})
    pairs = [f"model_alignment_strategy.{name}" for name in ("dpo", "orpo") if name in methods]
    records = str(DATA / ("pairs.jsonl" if pairs else "records.jsonl"))
    changes: dict[str, Any] = {
        "trainer.devices": 1, "trainer.max_steps": STEPS, "trainer.log_every_n_steps": 1,
        "trainer.val_check_interval": 2, "exp_manager.exp_dir": str(folder), "exp_manager.resume_from_checkpoint": None,
        "exp_manager.checkpoint_callback_params.every_n_train_steps": 2, "exp_manager.create_tensorboard_logger": False,
        "distributed_strategy.tensor_model_parallel_size": 1, "distributed_strategy.kv_replicator": None,
        "data.train_dir": records, "data.val_dir": records, "data.global_batch_size": 2,
        "data.index_mapping_dir": str(folder), "data.seq_length": LENGTH - 16,
        "data.tokenizer.type": str(DATA / "tokenizer"),
        "model.encoder_seq_length": LENGTH, "model.max_position_embeddings": LENGTH, "model.num_layers": 2,
        "model.hidden_size": 32, "model.optim.lr": 1e-2, "model.optim.sched.warmup_steps": 1,
    }  # fmt: skip
    if base == MEGATRON:
        changes |= {"model.ffn_hidden_size": 64, "model.num_attention_heads": 4, "model.num_kv_heads": 2}
    else:
        (folder / "model.json").write_text(json.dumps(MODELS[model]))
        changes |= {"model.model_config": str(folder / "model.json")}
    own = [{"model_alignment_strategy": None}, {"model_alignment_strategy": strategy}] if strategy else []
    changes |= {f"{section}.max_prompt_length": LENGTH // 4 for section in pairs}
    loaded = load_text(text_with(base, *own, changes))
    assert loaded.config is not None
    assert loaded.errors == ()
    return loaded.config


def trains(config: TrainingConfig, folder: Path) -> None:
    """The checks of a start, three steps, and a checkpoint."""
    early.check(config, 1, EarlierRuns(), is_test=False)
    preflight.check(run_config.with_record_length(config), 1, folder / "log")
    run = train(config.model_dump(by_alias=True, mode="json"))
    steps = lines(run)
    assert [line["step"] for line in steps] == list(range(1, STEPS + 1))
    assert all(line["loss"] == line["loss"] > 0 for line in steps), "finite"
    if alignment.preferences(config) is not None:
        assert {"chosen_rewards", "rejected_rewards", "rewards_accuracy"} <= set(steps[-1])
    stored = {tensor["name"] for tensor in json.loads(inspect(checkpoint_at(run, STEPS)))["tensors"]}
    assert any("lora_A" in name for name in stored) is (alignment.adapters(config) is not None)


def inspect(checkpoint: Path) -> str:
    import contextlib
    import io

    from neuron_trainer.__main__ import main

    with contextlib.redirect_stdout(io.StringIO()) as text:
        assert main(["checkpoint", "inspect", str(checkpoint), "-o", "json"]) == 0
    return text.getvalue()


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("base", [SFT, LORA, DPO])
def test_a_published_file_trains_with_a_llama_and_with_experts(base: str, model: str, tmp_path: Path) -> None:
    trains(shrunk(base, tmp_path, model), tmp_path)


def test_the_published_megatron_file_trains(tmp_path: Path) -> None:
    trains(shrunk(MEGATRON, tmp_path, ""), tmp_path)


ALTERNATIVES: Final = {
    f"{name}{'+peft' if has_adapters else ''}": {
        name: SNIPPET[name], **({"peft": SNIPPET["peft"]} if has_adapters else {})
    }
    for name in ("sft", "dpo", "orpo")
    for has_adapters in (False, True)
}  # fmt: skip


@pytest.mark.parametrize("alternative", ALTERNATIVES)
@pytest.mark.parametrize(("base", "model"), [(SFT, "llama"), (MEGATRON, "")], ids=["hf", "megatron"])
def test_each_alternative_of_the_document_trains_with_both_sources(
    alternative: str, base: str, model: str, tmp_path: Path
) -> None:
    trains(shrunk(base, tmp_path, model, ALTERNATIVES[alternative]), tmp_path)
