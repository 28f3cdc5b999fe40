"""Configurations of other programs, recognized by their keys: one finding names the format and what to write instead,
rather than one finding for each of its keys."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from neuron_api.config import TrainingConfig
from neuron_api.findings.finding import Finding
from neuron_api.findings.registry import make_finding
from neuron_api.schema.key_path import fields

_NXDT_KEYS: Final = ("distributed_strategy", "exp_manager", "model_source")
"""Top-level keys that only NxDT files have."""


@dataclass(frozen=True, slots=True)
class ForeignFormat:
    """The configuration format of another program."""

    name: str
    keys: frozenset[str]
    """Top-level keys that its files have."""
    min_keys: int
    """Minimum number of them in such a file."""
    remedy: str


_COPY: Final = "Start from a file in examples/ and copy the values."


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


FORMATS: Final = (
    ForeignFormat(
        "the configuration of the HyperPod recipe launcher",
        _words(
            "recipes cluster cluster_type base_results_dir launcher_scripts_path instance_type training_config "
            "training_cfg container container_mounts git env_vars defaults hydra"
        ),
        3,
        "Take the recipe that it names under `recipes`, without its `run` section.",
    ),
    ForeignFormat(
        "a values file of Helm or Kubernetes metadata",
        _words("apiVersion kind metadata spec data status"),
        3,
        "Give a NeuronTrainingJob, or its `spec.config` alone.",
    ),
    ForeignFormat(
        "a file of Hugging Face TrainingArguments",
        _words(
            "model_name_or_path output_dir per_device_train_batch_size per_device_eval_batch_size "
            "num_train_epochs learning_rate gradient_accumulation_steps lr_scheduler_type warmup_ratio "
            "warmup_steps save_steps save_strategy eval_strategy evaluation_strategy logging_steps report_to "
            "bf16 fp16 dataset_name max_seq_length gradient_checkpointing optim overwrite_output_dir do_train "
            "do_eval tensor_parallel_size stage finetuning_type template dataset_dir cutoff_len"
        ),
        4,
        f"{_COPY} learning_rate is model.optim.lr, per_device_train_batch_size is data.micro_batch_size.",
    ),
    ForeignFormat(
        "an axolotl file",
        _words(
            "base_model datasets dataset_prepared_path sequence_len sample_packing micro_batch_size "
            "gradient_accumulation_steps num_epochs optimizer lr_scheduler learning_rate adapter lora_r "
            "lora_alpha lora_dropout lora_target_linear lora_target_modules load_in_8bit load_in_4bit "
            "val_set_size output_dir wandb_project flash_attention special_tokens model_type tokenizer_type "
            "fsdp fsdp_config deepspeed strict"
        ),
        4,
        f"{_COPY} sequence_len is model.encoder_seq_length, learning_rate is model.optim.lr.",
    ),
    ForeignFormat(
        "a file of Megatron-LM arguments",
        _words(
            "num_layers hidden_size num_attention_heads ffn_hidden_size seq_length max_position_embeddings "
            "micro_batch_size global_batch_size train_iters lr min_lr lr_decay_style lr_warmup_fraction "
            "lr_warmup_iters tensor_model_parallel_size pipeline_model_parallel_size sequence_parallel "
            "data_path split save load save_interval log_interval eval_interval eval_iters tokenizer_type "
            "tokenizer_model vocab_file merge_file bf16 fp16 swiglu weight_decay clip_grad adam_beta1 "
            "adam_beta2 use_flash_attn group_query_attention num_query_groups normalization MODEL_ARGS ENV_VARS "
            "MODEL"
        ),
        3,
        f"{_COPY} model_source megatron takes the sizes under `model`; train_iters is trainer.max_steps.",
    ),
    ForeignFormat(
        "a DeepSpeed file",
        _words(
            "train_batch_size train_micro_batch_size_per_gpu zero_optimization gradient_clipping optimizer "
            "scheduler bf16 fp16 steps_per_print zero_allow_untested_optimizer wall_clock_breakdown"
        ),
        3,
        f"{_COPY} ZeRO stage 1 is distributed_strategy.zero1.",
    ),
    ForeignFormat(
        "a config.json of a Hugging Face model",
        _words(
            "architectures model_type hidden_size num_hidden_layers num_attention_heads vocab_size torch_dtype "
            "intermediate_size transformers_version"
        ),
        4,
        "Give its path as model.model_config of a configuration.",
    ),
)
LAUNCHER_ROOTS: Final = ("recipes", "base_results_dir")
"""First parts of interpolations that only the HyperPod launcher resolves."""
_NEMO_KEYS: Final = _words(
    "micro_batch_size global_batch_size tensor_model_parallel_size pipeline_model_parallel_size mcore_gpt data "
    "tokenizer restore_from_path"
)
_NEMO_REMEDY: Final = (
    "Move the parallel sizes from `model` to `distributed_strategy`, the batch sizes and `model.data` to `data`, and "
    "add `model_source: megatron`."
)
_RECIPE_REMEDY: Final = (
    "Remove `run`, write out the values of ${recipes.…} and ${base_results_dir}, and compare the rest with a file in "
    "examples/."
)


_PROGRAMS: Final = {
    ".py": "a Python program",
    ".ipynb": "a notebook",
    ".sh": "a shell script",
}
"""Suffix, and what such a file is."""
PROGRAM_REMEDY: Final = (
    "Give the YAML file that it reads (NxDT's --config-path and --config-name), or a NeuronTrainingJob."
)


def recognize(values: Mapping[str, Any]) -> Finding | None:
    """Return a finding that names the format of another program's file; None for a configuration, valid or not."""
    if _is_mapping(values, "run") and "trainer" in values:
        return make_finding(
            1007, "run", "this is a HyperPod recipe: its launcher reads `run`, NxDT does not.", _RECIPE_REMEDY
        )
    if "_target_" in values or any(isinstance(value, Mapping) and "_target_" in value for value in values.values()):
        return _finding("a NeMo 2 or Hydra recipe (`_target_`)", f"{_COPY} `_target_` names Python classes.")
    if _is_nemo(values):
        return _finding("a NeMo configuration", _NEMO_REMEDY)
    launcher = FORMATS[0]
    if len(launcher.keys & values.keys()) >= launcher.min_keys:  # also around sections that are ours
        return _finding(launcher.name, launcher.remedy)
    if _is_nxdt(values):
        return None
    names = {str(key).replace("-", "_") for key in values}
    best = max(FORMATS, key=lambda kind: len(kind.keys & names) / kind.min_keys)
    return _finding(best.name, best.remedy) if len(best.keys & names) >= best.min_keys else None


def program_of(file: str) -> str:
    """Return what kind of program a file is by its name; empty for anything else."""
    return next((kind for suffix, kind in _PROGRAMS.items() if file.lower().endswith(suffix)), "")


def _finding(name: str, remedy: str) -> Finding:
    return make_finding(1007, "", f"this is {name}, not of NeuronX Distributed Training.", remedy)


def _is_nemo(values: Mapping[str, Any]) -> bool:
    """Return whether three or more keys stand below `model` as in NeMo 1; one or two may be a mistake."""
    model = values.get("model")
    if not isinstance(model, Mapping) or any(key in values for key in ("distributed_strategy", "data")):
        return False
    return sum(key in model for key in _NEMO_KEYS) >= 3


def _is_nxdt(values: Mapping[str, Any]) -> bool:
    sections = sum(_is_mapping(values, key) for key in ("trainer", "data", "model"))
    return (
        sections >= 2
        or any(key in values for key in _NXDT_KEYS)
        or len(values.keys() & fields(TrainingConfig).keys()) > 4
    )


def _is_mapping(values: Mapping[str, Any], key: str) -> bool:
    return isinstance(values.get(key), Mapping)
