"""A file of another program is one finding that says what it is and what to write instead.

The kind: people try the file that they have. Looked at: HyperPod recipes (also with `run` removed and their
interpolations left), the HyperPod launcher's own file, Hugging Face TrainingArguments and LLaMA-Factory, axolotl,
Megatron-LM arguments (with hyphens, and as MODEL_ARGS), NeMo 1, NeMo 2, DeepSpeed, a model's config.json, a Kubernetes
object; real NxDT files with many mistakes stay NxDT files.
"""

import json
from pathlib import Path

import pytest
import yaml

from neuron_api.loading.loader import load_object, load_text

CONFIGS = Path(__file__).parents[2] / "data" / "configs"
LLAMA = (CONFIGS / "hf_llama3_8B_config.yaml").read_text()
RECIPE = "run:\n  name: hf-llama3-8b\n  results_dir: ${base_results_dir}/${.name}\n  model_type: hf\n" + LLAMA.replace(
    "    exp_dir: null", "    exp_dir: ${recipes.run.results_dir}"
)
FILES = {
    "HyperPod recipe": RECIPE,
    "recipe launcher": "recipes: training/llama\ncluster: k8s\ncluster_type: k8s\nbase_results_dir: /r\ngit: {}\n",
    "recipe launcher (defaults)": "defaults: [_self_, {recipes: training/llama}]\ninstance_type: trn1.32xlarge\n"
    "base_results_dir: /r\ncontainer: image:1\n",
    "recipe launcher (with its sections)": "defaults: [_self_]\ninstance_type: trn1.32xlarge\nbase_results_dir: /r\n"
    f"container: image:1\n{LLAMA}",
    "recipe launcher (HyperPod CLI)": "defaults: [{override hydra/job_logging: stdout}]\nhydra: {}\ncluster: {}\n"
    "training_cfg: {}\n",
    "TrainingArguments": "output_dir: /out\nlearning_rate: 1e-4\nnum_train_epochs: 3\nper_device_train_batch_size: 1\n",
    "TrainingArguments (LLaMA-Factory)": "model_name_or_path: meta/llama\nstage: sft\ndo_train: true\n"
    "finetuning_type: lora\ndataset: alpaca\ntemplate: llama3\ncutoff_len: 2048\noutput_dir: /o\n",
    "axolotl": "base_model: meta/llama\ndatasets: [{path: a}]\nsequence_len: 4096\nadapter: lora\nlora_r: 8\n"
    "micro_batch_size: 1\nnum_epochs: 3\nlearning_rate: 2e-4\n",
    "Megatron-LM": "num-layers: 32\nhidden-size: 4096\nmicro-batch-size: 1\ntrain-iters: 100\nlr: 1e-4\n",
    "Megatron-LM (MODEL_ARGS)": "MODEL: llama\nENV_VARS: {A: 1}\nMODEL_ARGS:\n  --num-layers: 32\n",
    "NeMo": "name: gpt\ntrainer: {devices: 1, num_nodes: 1}\nexp_manager: {}\nmodel:\n  mcore_gpt: true\n"
    "  micro_batch_size: 1\n  global_batch_size: 8\n  tensor_model_parallel_size: 1\n  data: {data_prefix: [1, /a]}\n",
    "NeMo 2": "_target_: nemo.collections.llm.pretrain\nmodel: {_target_: x}\ntrainer: {_target_: y}\n",
    "DeepSpeed": '{"train_batch_size": 8, "zero_optimization": {"stage": 1}, "bf16": {"enabled": true}}',
    "config.json": (CONFIGS / "models" / "llama3-8B.json").read_text(),
    "Kubernetes": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {a: b}\n",
}


@pytest.mark.parametrize("kind", FILES)
def test_it_is_named_in_one_finding(kind: str) -> None:
    (one,) = load_text(FILES[kind], source="file.yaml").findings
    assert one.code == "NTJ-1007"
    assert kind.partition(" (")[0] in f"{one.message} {one.remedy}"
    assert one.remedy


def test_an_object_is_known_as_its_text_is() -> None:
    (one,) = load_object(yaml.safe_load(FILES["axolotl"])).findings
    assert (one.code, "axolotl" in one.message) == ("NTJ-1007", True)


def test_a_recipe_without_its_run_section_names_the_interpolations_that_are_left() -> None:
    findings = load_text(RECIPE.replace("exp_dir: /", "exp_dir: ${recipes.run.results_dir} #"), ["~run"]).errors
    left = load_text(LLAMA, ["exp_manager.exp_dir=${recipes.run.results_dir}"]).errors
    assert all(one.code != "NTJ-1007" for one in (*findings, *left))
    assert [(one.code, one.remedy) for one in left] == [
        ("NTJ-1101", "Only the HyperPod launcher has it: write the value out.")
    ]


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_configuration_is_none_of_them_whatever_is_missing(path: Path) -> None:
    text = path.read_text()
    for key in yaml.safe_load(text):
        assert "NTJ-1007" not in {one.code for one in load_text(text, [f"~{key}"]).findings}, key


def test_a_key_too_many_is_a_misspelled_key_and_no_other_program() -> None:
    loaded = load_text(LLAMA, ["+learning_rate=1e-4", "+output_dir=/o", "+bf16=true", "+num_train_epochs=1"])
    assert {one.code for one in loaded.errors} == {"NTJ-1302"}


def test_a_models_config_json_is_known_as_an_object() -> None:
    values = json.loads(FILES["config.json"])
    assert load_object(values).findings[0].code == "NTJ-1007"
