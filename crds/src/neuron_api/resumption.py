"""Compare the configuration that a checkpoint was written with to the file's, for a resume.

The values are always the file's. Model, optimizer state, counters and generators are the checkpoint's. The effect on
the results is reported for each key that differs; if the checkpoint's state cannot be used with the file's value, the
resume is refused. Pure; the trainer compares, and every program prints the same lines.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache
from typing import Any, Final

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from . import redaction
from .config import TrainingConfig
from .schema.key_path import fields, section_of

SIZES: Final = (
    "vocab_size", "hidden_size", "intermediate_size", "ffn_hidden_size", "num_hidden_layers", "num_layers",
    "num_attention_heads", "num_key_value_heads", "num_kv_heads", "head_dim", "kv_channels", "tie_word_embeddings",
)  # fmt: skip
"""Keys of a model's config that determine the shapes of its tensors."""

_START: Final = "exp_manager.resume_from_checkpoint"
_STRATEGY: Final = "model_alignment_strategy"
_METHODS: Final[Mapping[str, str]] = {f"{_STRATEGY}.{name}": name for name in ("dpo", "sft", "orpo")}
"""Sections of which a file has one at most, and the names of what they configure."""

MAX_LINES: Final = 64
"""Differences that are listed; the others are counted."""
LINE_LENGTH: Final = 240
_VALUE_LENGTH: Final = 60


class Effect(StrEnum):
    """The effect of a key that differs from the checkpoint's."""

    RATE = "the rate is the file's curve at this step"
    FILE = "the file's from this step on"
    NUMBERS = "the file's; the numbers change from this step on"
    ROUNDING = "the file's; the numbers change by rounding, with dropout also by its draws"
    START = "no effect: only a run that begins at step 0 uses it"
    NONE = "the file's; the numbers do not change"
    STATE = "the file's; the numbers change from this step on "
    """As NUMBERS, but refused if it is switched on: the checkpoint has no state for it."""
    SIZE = "the file's; the model's tensors are the same"
    """REFUSED if both have a value: null means config.json's, which is compared by itself."""
    REFUSED = "refused: the checkpoint's state means nothing for the file's value"


_EFFECTS: Final[Mapping[Effect, Mapping[str, str]]] = {
    Effect.RATE: {
        "trainer": "max_steps max_epochs",
        "model.optim": "lr relative_step warmup_init min_step",
        "model.optim.sched": "name warmup_steps warmup_ratio max_steps constant_steps constant_ratio min_lr hold_steps "
        "hold_ratio d_model step_size gamma interval last_epoch power cycle decay_rate",
    },
    Effect.FILE: {
        "trainer": "val_check_interval check_val_every_n_epoch num_sanity_val_steps limit_val_batches "
        "limit_test_batches max_time limit_predict_batches fast_dev_run min_steps min_epochs",
        "exp_manager": "create_checkpoint_callback save_bf16 create_early_stopping_callback "
        "early_stopping_callback_params max_time_per_run create_preemption_callback disable_validation_on_resume",
        "exp_manager.checkpoint_callback_params": "monitor save_top_k mode save_last every_n_train_steps "
        "use_master_weights_in_ckpt train_time_interval every_n_epochs save_weights_only save_on_train_epoch_end "
        "always_save_nemo save_best_model save_nemo_on_train_end",
        "data": "val_dir test_dir validation_drop_last",
        "model": "save_logits",
        "model_alignment_strategy.peft": "save_lora_base merge_lora save_lora_config_adapter merge_sharded_lora",
    },
    Effect.NUMBERS: {
        "": "seed",
        "trainer": "gradient_clip_val accumulate_grad_batches gradient_clip_algorithm limit_train_batches "
        "overfit_batches sync_batchnorm callbacks precision",
        "exp_manager": "ema",
        "distributed_strategy": "token_shuffle_group_size",
        "data": "micro_batch_size global_batch_size data_module train_dir data_prefix data_impl splits_string "
        "seq_length shuffle_rows dataloader_type reset_position_ids reset_attention_mask eod_mask_loss drop_last "
        "no_seqlen_plus_one_input_tokens pad_samples_to_global_batch_size dataset_name subset_name prompt_name "
        "train_ds fine_tuning tokenizer dev_choose_samples packing",
        "data.tokenizer": "library type model vocab_file merge_file delimiter sentencepiece_legacy use_fast",
        "model": "encoder_seq_length max_position_embeddings rope_theta do_layer_norm_weight_decay hidden_dropout "
        "token_weighted_loss "
        "attention_dropout ffn_dropout layernorm_epsilon rotary_percentage sliding_window_size "
        "fp32_residual_connection fp16_lm_cross_entropy positition_interpolation_factor position_freq_base "
        "position_abf_factor precision",
        "model.fusions": "do_layer_norm_weight_decay",
        "fusions": "do_layer_norm_weight_decay",
        "model.moe": "dropout capacity_factor dropless routing_algorithm router_activation sinkhorn_iterations "
        "sinkhorn_tol top_k output_router_logits router_aux_loss_coef normalize_top_k_affinities moe_dropout",
        "model.optim": "weight_decay betas eps dampening nesterov rho lr_decay alpha etas step_sizes correct_bias "
        "grad_averaging luc luc_trust clip_threshold decay_rate scale_parameter",
        "precision": "type master_weights fp32_grad_acc fp32_grads_cc xla_use_bf16 xla_downcast_bf16 "
        "neuron_rt_stochastic_rounding_en parallel_layers_reduce_dtype",
        "model_alignment_strategy.dpo": "kl_beta loss_type max_prompt_length truncation_mode",
        "model_alignment_strategy.sft": "packing isolate_records token_weighted_loss",
        "model_alignment_strategy.orpo": "beta max_prompt_length truncation_mode",
        "model_alignment_strategy.peft": "lora_alpha lora_dropout",
    },
    Effect.ROUNDING: {
        "": "bucket_size_collectives fusions",
        "trainer": "devices num_nodes",
        "distributed_strategy": "tensor_model_parallel_size pipeline_model_parallel_size "
        "virtual_pipeline_model_parallel_size context_parallel_size expert_model_parallel_size zero1 "
        "sequence_parallel kv_replicator pipeline_model_parallel_split_rank",
        "model_alignment_strategy.dpo": "precompute_ref_log_probs",
        "model": "compile qkv_linear fuse_qkv pipeline_cuts apply_query_key_layer_scaling gradient_accumulation_fusion "
        "use_emha megatron_amp_O2 bias_gelu_fusion bias_activation_fusion bias_dropout_add_fusion "
        "masked_softmax_fusion",
        "model.fusions": "softmax flash_attention ring_attention",
        "fusions": "softmax flash_attention ring_attention",
    },
    Effect.START: {
        "exp_manager": "resume_from_checkpoint resume_ignore_no_checkpoint",
        "model": "use_cpu_initialization weight_init_only init_method_std use_scaled_init_method",
        "model.optim": "initial_accumulator_value",
        "model_alignment_strategy.peft": "load_lora_from_ckpt",
    },
    Effect.NONE: {
        "": "name compiler_flags compiler_cache_url aync_exec_max_inflight_requests async_exec_max_inflight_requests "
        "neuron_rt_exec_timeout neuron_experimental_compress_rg",
        "trainer": "log_every_n_steps lnc sequential_move_factor enable_model_summary enable_progress_bar profiler "
        "detect_anomaly benchmark deterministic inference_mode default_root_dir reload_dataloaders_every_n_epochs "
        "barebones enable_autolog_hparams model_registry accelerator strategy plugins logger "
        "use_distributed_sampler enable_checkpointing",
        "exp_manager": "log_local_rank_0_only log_global_rank_0_only create_tensorboard_logger summary_writer_kwargs "
        "explicit_log_dir exp_log_dir exp_dir name version use_datetime_version resume_if_exists resume_past_end "
        "ckpt_ptl_version log_parameter_norm log_gradient_norm enable_recovery_time_instrumentation save_xser "
        "load_xser async_checkpointing files_to_copy log_step_timing step_timing_kwargs create_wandb_logger "
        "wandb_logger_kwargs create_mlflow_logger mlflow_logger_kwargs create_dllogger_logger dllogger_logger_kwargs "
        "create_clearml_logger clearml_logger_kwargs create_neptune_logger neptune_logger_kwargs",
        "exp_manager.checkpoint_callback_params": "filename model_parallel_size dirpath auto_insert_metric_name "
        "enable_version_counter prefix postfix verbose",
        "data": "num_workers index_mapping_dir skip_warmup use_sft_style_data_module",
        "model": "transpose_nki_inputs activations_checkpoint_granularity activations_checkpoint_recompute "
        "persist_layer_norm activations_checkpoint_method activations_checkpoint_num_layers "
        "activations_checkpoint_layers_per_pipeline num_micro_batches_with_partial_activation_checkpoints "
        "disable_layer_norm_checkpointing model_config make_vocab_size_divisible_by",
        "model.optim": "capturable",
        "model_alignment_strategy.peft": "lora_verbose",
    },
    Effect.SIZE: {
        "model": "num_layers hidden_size ffn_hidden_size num_attention_heads num_kv_heads kv_channels",
        "model.moe": "num_experts",
    },
    Effect.STATE: {"model.optim": "amsgrad momentum centered beta1"},
    Effect.REFUSED: {
        "": "model_source model_alignment_strategy",
        "model": "normalization share_embeddings_and_output_weights position_embedding_type activation has_bias "
        "transformer_block_type moe",
        "model.moe": "frequency glu_mlp",
        "model.optim": "name",
        "model_alignment_strategy": "dpo sft orpo peft",
        "model_alignment_strategy.peft": "lora_rank lora_bias target_modules",
    },
}
"""Every documented key, by effect and section. The path of config.json and the padding of the vocabulary have no effect
of their own: the sizes that follow from them are compared by `compare_architectures`."""


@cache
def _by_path() -> Mapping[str, Effect]:
    return {
        f"{section}.{key}" if section else key: effect
        for effect, sections in _EFFECTS.items()
        for section, keys in sections.items()
        for key in keys.split()
    }


def effect(path: str) -> Effect | None:
    """Return the effect of a documented key that holds a value; None if there is no such key."""
    return _by_path().get(path)


@dataclass(frozen=True, slots=True)
class Difference:
    """A key whose value in the file differs from that of the checkpoint."""

    key: str
    before: Any
    """The JSON value in the checkpoint's configuration."""
    after: Any
    """The JSON value in the file."""
    effect: Effect
    note: str = ""
    """Further consequences."""

    @property
    def is_refused(self) -> bool:
        """Return whether a resume with this difference is refused."""
        return self.effect is Effect.REFUSED

    @property
    def line(self) -> str:
        """Return `key: before -> after: effect`, at most `LINE_LENGTH` characters."""
        consequence = f"{self.effect.strip()}{f'; {self.note}' if self.note else ''}"
        return f"{self.key}: {_shown(self.before)} -> {_shown(self.after)}: {consequence}"[:LINE_LENGTH]


def compare(checkpoint: Mapping[str, Any], file: Mapping[str, Any]) -> tuple[Difference, ...]:
    """Return every key that differs, in the order of the models.

    Both are effective configurations (`effective`), so a default that is written out is no difference.
    """
    before = redaction.values(checkpoint)  # an older release's has secrets
    differences = _one_method(list(_section(before, file, TrainingConfig, "")))
    return tuple(_with_start(difference, file) for difference in differences)


def compare_architectures(checkpoint: Mapping[str, Any], model: Mapping[str, Any]) -> tuple[Difference, ...]:
    """Return the differences of a model's sizes and constants, whether from `model_config` or from the file."""
    sizes = json.loads(json.dumps(model, default=str))
    return tuple(
        Difference(f"the model's {name}", checkpoint[name], value, Effect.REFUSED if name in SIZES else Effect.NUMBERS)
        for name, value in sizes.items()
        if name in checkpoint and checkpoint[name] != value
    )


def effective(config: TrainingConfig) -> dict[str, Any]:
    """Return a configuration with all defaults and without secrets, as a checkpoint's manifest stores it."""
    values: dict[str, Any] = redaction.values(config.model_dump(mode="json", by_alias=True))
    return values


def describe(step: int, differences: tuple[Difference, ...] | None) -> tuple[str, ...]:
    """Return what a start says about a resume: a headline and a line per difference; None means unknown."""
    if differences is None:
        return (
            f"resume at step {step}: the checkpoint does not hold the configuration that it was written with (an older "
            "release), so they are not compared. Every value is the file's.",
        )
    if not differences:
        return (f"resume at step {step}: the configuration is the one that the checkpoint was written with.",)
    keys = "1 key differs" if len(differences) == 1 else f"{len(differences)} keys differ"
    lines = [difference.line for difference in differences[:MAX_LINES]]
    rest = len(differences) - len(lines)
    headline = f"resume at step {step}: {keys} from the checkpoint's configuration (checkpoint -> file):"
    return (headline, *lines, *([f"and {rest} more"] if rest else []))


def _one_method(differences: list[Difference]) -> list[Difference]:
    """Return the differences with a change of the method as one: its section is gone, and another's is new."""
    changed = [difference for difference in differences if difference.key in _METHODS]
    before = next((_METHODS[difference.key] for difference in changed if difference.before is not None), None)
    after = next((_METHODS[difference.key] for difference in changed if difference.after is not None), None)
    if before is None or after is None:
        return differences
    first = differences.index(changed[0])
    others = [difference for difference in differences if difference not in changed]
    return [*others[:first], Difference(_STRATEGY, before, after, Effect.REFUSED), *others[first:]]


def _with_start(difference: Difference, file: Mapping[str, Any]) -> Difference:
    """Return the difference with what it means for the start weights, which base and reference use after step 0.

    Adapters are loaded beside the base that their checkpoint names, by its fingerprint. A precomputed reference is kept
    with the run; only one that is computed in each step, without adapters, is loaded again from the file's value.
    """
    strategy = file.get("model_alignment_strategy") or {}
    if difference.key != _START:
        return difference
    dpo, peft = strategy.get("dpo"), strategy.get("peft")
    if dpo and not peft and not dpo.get("precompute_ref_log_probs"):
        return replace(difference, effect=Effect.NUMBERS, note="the reference of dpo is loaded from there")
    notes = ["the base of the adapters stays the checkpoint's"] if peft else []
    notes += ["the reference of dpo stays that of the first start"] if dpo else []
    return replace(difference, note="; ".join(notes))


def _section(
    before: Mapping[str, Any], after: Mapping[str, Any], model: type[BaseModel] | None, prefix: str
) -> Iterator[Difference]:
    documented = fields(model) if model is not None else {}
    user_keys = [key for key in (*before, *after) if key not in documented]
    for key in dict.fromkeys((*documented, *user_keys)):
        old = before.get(key) if key in before or key not in after else _default(documented.get(key))
        new = after.get(key)
        if old == new:
            continue
        path = f"{prefix}{key}"
        section = section_of(documented[key]) if key in documented else None
        if section is not None and isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from _section(old, new, section, f"{path}.")
        else:
            yield Difference(path, old, new, _effect(path, old, new))


def _default(info: FieldInfo | None) -> Any:
    """Return the default: a release without the key behaved as leaving it out does today."""
    if info is None or info.is_required():
        return None
    return to_jsonable_python(info.get_default(call_default_factory=True), by_alias=True)


def _effect(path: str, old: Any, new: Any) -> Effect:
    """Return the effect; the user's own keys go to the data module or the model and may change the results."""
    documented = effect(path) or Effect.NUMBERS
    if documented is Effect.STATE:
        return Effect.REFUSED if new and not old else Effect.NUMBERS
    if documented is Effect.SIZE and old is not None and new is not None:
        return Effect.REFUSED
    return documented


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _VALUE_LENGTH else f"{text[: _VALUE_LENGTH - 1]}…"
