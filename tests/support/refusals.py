"""Objects that `kubectl apply` refuses, each with the code and the key it must name.

One table for the API server and for the loader: both must say the same.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from neuron_operator.cli.files import convert
from neuron_operator.cli.files.platform_flags import PlatformFlags

Json = dict[str, Any]

CONFIGS = Path(__file__).parents[1] / "data" / "configs"

HF = "hf_llama3_8B_config"
MEGATRON = "megatron_llama_7B_config"
MIXTRAL = "hf_mixtral_8x7b_config"
SFT = "hf_llama3_8B_SFT_config"
LORA = "hf_llama3_8B_SFT_lora_config"
DPO = "hf_llama3_8B_DPO_config"

_TP = "distributed_strategy.tensor_model_parallel_size"
_PP = "distributed_strategy.pipeline_model_parallel_size"
_VPP = "distributed_strategy.virtual_pipeline_model_parallel_size"
_CP = "distributed_strategy.context_parallel_size"
_EP = "distributed_strategy.expert_model_parallel_size"
_SHUFFLE = "distributed_strategy.token_shuffle_group_size"
_KV = "distributed_strategy.kv_replicator"
_PARAMS = "exp_manager.checkpoint_callback_params"
_STRATEGY = "model_alignment_strategy"
_TYPE = "spec.platform.instanceType"


@dataclass(frozen=True)
class Case:
    """A real file with changes that make it illegal."""

    code: int
    key: str
    """Where the refusal points; with `spec.` in front when it is not of the configuration."""
    changes: Mapping[str, Any] = field(default_factory=dict)
    """By key path, `spec.…` beside the configuration; None removes the key."""
    base: str = HF
    """Name of a file in tests/data/configs."""


@cache
def _converted(base: str) -> Json:
    result = convert.run(
        str(CONFIGS / f"{base}.yaml"), (), convert.Wrapping("x", PlatformFlags("CPU"), "c", "/c", None)
    )
    job: Json = yaml.safe_load(result.text)
    return job


def job(base: str, name: str, changes: Mapping[str, Any]) -> Json:
    """What `kubectl neuron convert` makes of a real file, changed."""
    made = copy.deepcopy(_converted(base))
    made["metadata"]["name"] = name
    for key, value in changes.items():
        put(made["spec"] if key.startswith("spec.") else made["spec"]["config"], key.removeprefix("spec."), value)
    return made


def put(tree: Json, key: str, value: Any) -> None:
    """Set a key, or remove it with None."""
    *parents, last = key.split(".")
    for parent in parents:
        tree = tree.setdefault(parent, {})
    if value is None:
        tree.pop(last, None)
    else:
        tree[last] = value


CASES = (
    # ---- spellings and values ----
    Case(1305, "fusions.softmax", {"fusions": {"softmax": False}, "model.fusions.softmax": True}),
    Case(1305, "exp_manager.exp_log_dir", {"exp_manager.exp_log_dir": "/a", "exp_manager.explicit_log_dir": "/b"}),
    Case(1305, "async_exec_max_inflight_requests", {"async_exec_max_inflight_requests": 3}),
    Case(1305, "model.fusions.do_layer_norm_weight_decay",
         {"model.fusions.do_layer_norm_weight_decay": True, "model.do_layer_norm_weight_decay": False}),
    Case(1305, "data.packing", {"data.packing": False, f"{_STRATEGY}.sft.packing": True}, SFT),
    Case(1401, "model.optim.lr", {"model.optim.lr": None}),
    Case(1402, "trainer.max_steps", {"trainer.max_steps": "many"}),
    Case(1402, "data.micro_batch_size", {"data.micro_batch_size": "8 GB"}),
    Case(1403, "trainer.log_every_n_steps", {"trainer.log_every_n_steps": 0}),
    Case(1403, "trainer.lnc", {"trainer.lnc": 3}),
    Case(1403, "model.num_layers", {"model.num_layers": -2}),
    Case(1404, "model.optim.name", {"model.optim.name": "lion"}),
    Case(1404, "model_source", {"model_source": "nemo"}),
    Case(1404, "model.activations_checkpoint_granularity", {"model.activations_checkpoint_granularity": "some"}),
    # ---- trainer ----
    Case(2101, "trainer.accelerator", {"trainer.accelerator": "gpu"}),
    Case(2101, "trainer.logger", {"trainer.logger": False}),
    Case(2101, "trainer.plugins", {"trainer.plugins": []}),
    Case(2102, "trainer.max_steps", {"trainer.max_steps": -1}),
    Case(2112, "trainer.max_time", {"trainer.max_steps": -1, "trainer.max_time": "00:01:00:00",
                                    "model.optim.sched.max_steps": None}),
    Case(2103, "trainer.accumulate_grad_batches", {"trainer.accumulate_grad_batches": 4}),
    Case(2104, "trainer.gradient_clip_algorithm", {"trainer.gradient_clip_algorithm": "value"}),
    Case(2105, "trainer.val_check_interval", {"trainer.val_check_interval": "1.5"}),
    Case(2105, "trainer.val_check_interval", {"trainer.val_check_interval": "0.5",
                                             "trainer.check_val_every_n_epoch": None}, MEGATRON),
    Case(2106, "trainer.limit_train_batches", {"trainer.limit_train_batches": "2.5"}),
    Case(2109, "trainer.max_steps", {"trainer.max_steps": 0}),
    Case(2109, "trainer.max_epochs", {"trainer.max_epochs": 0}),
    # ---- exp_manager ----
    Case(2201, "exp_manager.log_global_rank_0_only", {"exp_manager.log_global_rank_0_only": True}),
    Case(2206, f"{_PARAMS}.every_n_epochs", {f"{_PARAMS}.every_n_epochs": 1}),
    Case(2206, f"{_PARAMS}.train_time_interval", {f"{_PARAMS}.train_time_interval": 60}),
    Case(2207, "exp_manager.save_bf16", {"exp_manager.save_bf16": True,
                                         f"{_PARAMS}.use_master_weights_in_ckpt": True}),
    Case(2212, f"{_PARAMS}.save_best_model", {f"{_PARAMS}.save_best_model": True}),
    Case(2213, "exp_manager.create_neptune_logger", {"exp_manager.create_neptune_logger": True}),
    Case(2214, f"{_PARAMS}.monitor", {f"{_PARAMS}.monitor": "val_loss", "trainer.limit_val_batches": 0}),
    # ---- distributed_strategy ----
    Case(2301, _TP, {_TP: 3}),
    Case(2301, _TP, {"trainer.devices": 64, "trainer.num_nodes": 3, _TP: 36, "spec.deviceCountScope": "PerNode"}),
    Case(2302, "data.global_batch_size", {"data.global_batch_size": 1}),
    Case(2304, _VPP, {_VPP: 2}),
    Case(2305, _VPP, {"trainer.num_nodes": 3, _TP: 32, _PP: 3, _VPP: 2, "data.global_batch_size": 4,
                      "model.num_layers": 36}),
    Case(2306, _VPP, {"trainer.num_nodes": 4, _TP: 32, _PP: 4, _VPP: 2, "model.num_layers": 30,
                      "data.global_batch_size": 4}),
    Case(2307, _PP, {"trainer.num_nodes": 4, _TP: 32, _PP: 4, "model.num_layers": 3}),
    Case(2307, _PP, {"trainer.num_nodes": 3, _TP: 32, _PP: 3}, MEGATRON),
    Case(2309, _CP, {"trainer.num_nodes": 2, _CP: 2, "model.fusions.ring_attention": False}),
    Case(2310, _CP, {"trainer.num_nodes": 3, _CP: 3, "model.fusions.flash_attention": False,
                     "model.fusions.ring_attention": True}),
    Case(2310, _CP, {"trainer.num_nodes": 3, _CP: 3, "model.fusions.flash_attention": False,
                     "model.fusions.ring_attention": True, "model.encoder_seq_length": 6144}, DPO),
    Case(2311, _TP, {_TP: 16, "model.num_attention_heads": 24, "model.hidden_size": 3072,
                     "model.num_kv_heads": 24}, MEGATRON),
    Case(2312, _TP, {"model.ffn_hidden_size": 11001}, MEGATRON),
    Case(2313, _KV, {_TP: 8, "model.qkv_linear": True, _KV: 2, "model.num_kv_heads": 2}, MEGATRON),
    Case(2315, "model.encoder_seq_length", {"model.encoder_seq_length": 8191, "model.max_position_embeddings": 8192}),
    Case(2317, _KV, {_KV: 3, "model.qkv_linear": True}),
    Case(2318, _EP, {_EP: 2}),
    Case(2318, _SHUFFLE, {_SHUFFLE: 2}),
    Case(2319, _EP, {_EP: 2, "model.moe": {"num_experts": 3}, "model.activation": "swiglu"}, MEGATRON),
    Case(2320, _EP, {"trainer.num_nodes": 12, _EP: 2, "data.global_batch_size": 3}, MIXTRAL),
    Case(2320, _SHUFFLE, {"trainer.num_nodes": 12, _SHUFFLE: 2, "data.global_batch_size": 3}, MIXTRAL),
    Case(2321, _SHUFFLE, {_SHUFFLE: 2, "model.moe.dropless": True}, MIXTRAL),
    Case(2322, "distributed_strategy.pipeline_model_parallel_split_rank",
         {"distributed_strategy.pipeline_model_parallel_split_rank": 0}),
    # ---- data ----
    Case(2401, "data.train_dir", {"data.train_dir": None}),
    Case(2417, "data.data_module", {"data.data_module": "package.rows"}),
    Case(2402, "data.val_dir", {"trainer.limit_val_batches": 4, "data.val_dir": None}),
    Case(2403, "data.data_prefix", {"data.data_prefix": None}, MEGATRON),
    Case(2405, "data.data_impl", {"data.data_impl": "lazy"}, MEGATRON),
    Case(2407, "data.seq_length", {"data.seq_length": 2048}, MEGATRON),
    Case(2407, "data.seq_length", {"data.seq_length": 16384}, DPO),
    Case(2409, "data.validation_drop_last", {"data.validation_drop_last": False}, MEGATRON),
    Case(2410, "data.dataset_name", {"data.dataset_name": "squad"}),
    Case(2410, "data.fine_tuning", {"data.fine_tuning": True}),
    Case(2410, "data.tokenizer.delimiter", {"data.tokenizer.delimiter": ","}, MEGATRON),
    Case(2411, "data.tokenizer", {"data.tokenizer": None}, SFT),
    Case(2411, "data.tokenizer.type", {"data.tokenizer": {"use_fast": True}}, MEGATRON),
    Case(2412, "data.tokenizer.merge_file", {"data.tokenizer.vocab_file": "/v"}, MEGATRON),
    Case(2413, "data.tokenizer.model", {"data.tokenizer.library": "sentencepiece"}, MEGATRON),
    Case(2415, "data.train_dir", {"data.train_dir": "/data/records.txt"}, SFT),
    # ---- model ----
    Case(2501, "model.model_config", {"model.model_config": None}),
    Case(2502, "model.num_attention_heads", {"model.num_attention_heads": None}, MEGATRON),
    Case(2502, "model.hidden_size", {"model.hidden_size": -1}, MEGATRON),
    Case(2504, "model.hidden_size", {"model.hidden_size": 4100}, MEGATRON),
    Case(2505, "model.num_kv_heads", {"model.num_kv_heads": 5}, MEGATRON),
    Case(2506, "model.max_position_embeddings", {"model.max_position_embeddings": 128}),
    Case(2507, "model.pipeline_cuts", {"model.pipeline_cuts": ["model.layers.3"]}),
    Case(2511, "model.fusions.ring_attention", {"model.fusions": {"flash_attention": True, "ring_attention": True}}),
    Case(2511, "model.fusions.ring_attention", {"model.fusions": {"flash_attention": True},
                                                "fusions": {"ring_attention": True}}),
    Case(2515, "model.masked_softmax_fusion", {"model.masked_softmax_fusion": True}),
    Case(2516, "model.activations_checkpoint_method", {"model.activations_checkpoint_method": "block"}),
    Case(2516, "model.activations_checkpoint_num_layers", {"model.activations_checkpoint_num_layers": 4}),
    Case(2516, "model.activations_checkpoint_layers_per_pipeline",
         {"model.activations_checkpoint_layers_per_pipeline": 1}),
    Case(2516, "model.disable_layer_norm_checkpointing", {"model.disable_layer_norm_checkpointing": False}),
    Case(2517, "model.transformer_block_type", {"model.transformer_block_type": "post_ln"}, MEGATRON),
    # ---- optim, sched, moe ----
    Case(2601, "model.optim.lr", {"model.optim.lr": 0}),
    Case(2602, "model.optim.nesterov", {"model.optim.nesterov": True}),
    Case(2602, "model.optim.correct_bias", {"model.optim.name": "adamw", "model.optim.correct_bias": False}),
    Case(2604, "model.optim.warmup_init", {"model.optim": {"name": "adafactor", "lr": 1e-3, "warmup_init": True}}),
    Case(2606, "model.optim.nesterov", {"model.optim": {"name": "sgd", "lr": 1e-3, "nesterov": True}}),
    Case(2611, "model.optim.sched.name", {"model.optim.sched.name": "rprop"}),
    Case(2612, "model.optim.sched.warmup_ratio", {"model.optim.sched.warmup_ratio": 0.1}),
    Case(2617, "model.optim.sched.step_size", {"model.optim.sched": {"name": "StepLR"}}),
    Case(2701, "model.moe.top_k", {"model.moe.top_k": 9}, MIXTRAL),
    Case(2702, "model.moe.capacity_factor", {"model.moe.capacity_factor": 0}, MIXTRAL),
    Case(2704, "model.moe.top_k", {"model.moe.routing_algorithm": "sinkhorn"}, MIXTRAL),
    Case(2705, "model.moe.dropless", {"model.moe.dropless": True, "model.moe.glu_mlp": False}, MIXTRAL),
    # ---- model_alignment_strategy ----
    Case(2901, _STRATEGY, {f"{_STRATEGY}.sft": {}}, DPO),
    Case(2902, f"{_STRATEGY}.dpo.max_prompt_length", {f"{_STRATEGY}.dpo.max_prompt_length": None}, DPO),
    Case(2903, f"{_STRATEGY}.dpo.max_prompt_length", {f"{_STRATEGY}.dpo.max_prompt_length": 4096}, DPO),
    Case(2905, "data.seq_length", {"data.seq_length": None}, SFT),
    Case(2906, f"{_STRATEGY}.peft.merge_lora", {f"{_STRATEGY}.peft.merge_lora": True,
                                                f"{_STRATEGY}.peft.save_lora_base": False}, LORA),
    Case(2910, f"{_STRATEGY}.peft.target_modules",
         {f"{_STRATEGY}.peft.target_modules": ["up_proj", "gate_up_proj"]}, LORA),
    # ---- platform ----
    Case(3001, _TYPE, {"spec.platform": {}}),
    Case(3002, _TYPE, {"spec.platform": {"instanceType": "p5.48xlarge"}}),
    Case(3017, "spec.platform.neuronDevices", {"spec.platform": {"instanceType": "trn3.48xlarge"}}),
    Case(3017, "spec.platform.neuronDevices", {"spec.platform": {"instanceType": "ml.trn2x.24xlarge",
                                                                 "efaInterfaces": 8}}),
    Case(3004, "trainer.devices", {"spec.platform": {"instanceType": "trn3.48xlarge", "neuronDevices": 4},
                                   "trainer.devices": 32, "trainer.num_nodes": 1}),
    Case(3004, "trainer.devices", {"spec.platform": {"instanceType": "trn2.48xlarge", "neuronDevices": 4},
                                   "trainer.devices": 32, "trainer.num_nodes": 1}),
    Case(3018, "spec.platform.efaInterfaces",
         {"spec.platform": {"instanceType": "trn3.48xlarge", "neuronDevices": 16}, "trainer.num_nodes": 2}),
    Case(3006, "trainer.num_nodes",
         {"spec.platform": {"instanceType": "trn3.48xlarge", "neuronDevices": 16, "efaInterfaces": 0},
          "trainer.num_nodes": 2}),
    Case(3003, "trainer.lnc", {"spec.platform": {"instanceType": "trn1.32xlarge"}, "trainer.lnc": 2}),
    Case(3004, "trainer.devices", {"spec.platform": {"instanceType": "trn1.32xlarge"}, "trainer.devices": 64,
                                   "trainer.num_nodes": 1}),
    Case(3004, "trainer.devices", {"spec.platform": {"instanceType": "trn1.32xlarge"}, "trainer.devices": 64,
                                   "trainer.num_nodes": 4, "spec.deviceCountScope": "PerNode"}),
    Case(3006, "trainer.num_nodes", {"spec.platform": {"instanceType": "trn1.2xlarge"}, "trainer.devices": 2,
                                     "trainer.num_nodes": 2, _TP: 2}),
    Case(3011, "trainer.devices", {"spec.deviceCountScope": "Total", "trainer.devices": 32, "trainer.num_nodes": 5}),
    Case(3013, _CP, {"spec.platform": {"instanceType": "trn2.48xlarge"}, "trainer.num_nodes": 3, _CP: 4, _TP: 8,
                     "model.encoder_seq_length": 2048,
                     "model.fusions": {"ring_attention": True}}),
    Case(3014, "model.encoder_seq_length",
         {"spec.platform": {"instanceType": "trn1.32xlarge"}, _CP: 2, _TP: 8, "model.encoder_seq_length": 65536,
          "model.max_position_embeddings": 65536, "model.fusions": {"ring_attention": True}}),
    Case(3020, "model.encoder_seq_length", {"spec.platform": {"instanceType": "trn1.32xlarge"},
                                            "model.encoder_seq_length": 3072,
                                            "model.fusions": {"flash_attention": True}}),
)  # fmt: skip


ACCEPTED: Mapping[str, Mapping[str, Any]] = {
    "numbers as texts": {"trainer.devices": "32", "trainer.log_every_n_steps": " 10 "},
    "the word None": {"model.num_layers": "None", "model.activations_checkpoint_granularity": "None"},
    "config.json's sizes": {"model.num_layers": -1, "model.hidden_size": "-1"},
    "an interpolated choice": {"model.optim.name": "${oc.select:nothing,adamw}"},
    "no rate where it is computed": {"model.optim": {"name": "adafactor", "relative_step": True}},
    "an end by time": {"trainer.max_steps": -1, "model.optim.sched.max_steps": 9, "trainer.max_time": "00:12:00:00"},
    "samples of a class of one's own": {"data.data_module": "package.rows:Rows", "data.train_dir": None,
                                        "data.val_dir": None},
    "all batches": {"trainer.limit_test_batches": "1.0"},
    "ring attention at the top level": {"trainer.num_nodes": 2, _CP: 2, "model.fusions": None,
                                        "fusions": {"ring_attention": True}},
    "an instance type of which the job says the devices": {
        "spec.platform": {"instanceType": "ml.trn3.48xlarge", "neuronDevices": 16, "efaInterfaces": 16},
        "trainer.num_nodes": 2, "trainer.devices": 32},
    "one node of a type without a published number of EFA interfaces": {
        "spec.platform": {"instanceType": "trn3.48xlarge", "neuronDevices": 16}, "trainer.num_nodes": 1,
        "trainer.devices": 32},
    "GPUs of any instance type": {"spec.platform": {"accelerator": "CUDA", "instanceType": "p5.48xlarge"}},
    "a logical core for each physical one": {"spec.platform": {"instanceType": "trn2.48xlarge"}, "trainer.lnc": 1,
                                       "trainer.devices": 128},
    "a total, recognised": {"spec.platform": {"instanceType": "trn1.32xlarge"}, "trainer.devices": 128,
                            "trainer.num_nodes": 4},
    "a total, said": {"spec.deviceCountScope": "Total", "trainer.devices": 128, "trainer.num_nodes": 4,
                      "data.global_batch_size": 4},
}  # fmt: skip
"""Changes that are close to a code and legal."""


def names() -> dict[str, Case]:
    """The cases by a name that is also an object's."""
    return {f"case-{number:03}": case for number, case in enumerate(CASES)}
