"""How far this release's trainer supports the configuration. The loader reads every documented key; a value that the
trainer would silently ignore is refused here by name.

The operator checks this before it starts anything, and the launcher before it starts any process; the loader does not,
so that `kubectl neuron plan` works for all configurations.
"""

from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from functools import cache
from typing import Any, Final

from pydantic import BaseModel

from neuron_api.config import TrainingConfig
from neuron_api.derive import alignment
from neuron_api.findings.finding import Finding, errors_of
from neuron_api.findings.registry import make_finding

from .aliases import CANONICAL
from .key_path import field_of, fields, section_of

_VALUES: Final[Mapping[str, tuple[object, ...]]] = {
    "data.data_impl": ("mmap",),
    "trainer.profiler": (None, "simple", "advanced", "pytorch"),
    "model.optim.sched.name": (
        "LinearAnnealingWithWarmUp", "CosineAnnealing", "WarmupPolicy", "WarmupHoldPolicy", "SquareAnnealing",
        "NoamAnnealing", "WarmupAnnealing", "StepLR", "ExponentialLR", "SquareRootAnnealing",
        "InverseSquareRootAnnealing", "PolynomialDecayAnnealing",
    ),
}  # fmt: skip
"""Keys of which only some values are supported."""

_DONE: Final[Mapping[str, str]] = {
    "": "name model_source seed compiler_flags compiler_cache_url aync_exec_max_inflight_requests "
    "async_exec_max_inflight_requests bucket_size_collectives neuron_rt_exec_timeout neuron_experimental_compress_rg",
    "trainer": "devices num_nodes max_epochs max_steps log_every_n_steps val_check_interval check_val_every_n_epoch "
    "num_sanity_val_steps limit_val_batches limit_test_batches gradient_clip_val lnc sequential_move_factor "
    "accumulate_grad_batches gradient_clip_algorithm min_steps min_epochs max_time limit_train_batches overfit_batches "
    "fast_dev_run detect_anomaly deterministic reload_dataloaders_every_n_epochs",
    "exp_manager": "log_local_rank_0_only create_tensorboard_logger explicit_log_dir exp_dir name resume_if_exists "
    "resume_ignore_no_checkpoint resume_from_checkpoint create_checkpoint_callback log_parameter_norm "
    "log_gradient_norm enable_recovery_time_instrumentation save_xser load_xser save_bf16 async_checkpointing "
    "ckpt_ptl_version log_global_rank_0_only "
    "summary_writer_kwargs version use_datetime_version resume_past_end files_to_copy "
    "create_early_stopping_callback early_stopping_callback_params create_preemption_callback log_step_timing "
    "disable_validation_on_resume",
    "exp_manager.checkpoint_callback_params": "filename monitor mode save_top_k save_last every_n_train_steps "
    "model_parallel_size use_master_weights_in_ckpt dirpath train_time_interval every_n_epochs save_weights_only "
    "auto_insert_metric_name enable_version_counter prefix postfix",
    "distributed_strategy": "tensor_model_parallel_size pipeline_model_parallel_size "
    "virtual_pipeline_model_parallel_size context_parallel_size expert_model_parallel_size "
    "token_shuffle_group_size zero1 sequence_parallel kv_replicator",
    "data": "micro_batch_size global_batch_size data_module train_dir val_dir test_dir shuffle_rows num_workers "
    "drop_last validation_drop_last pad_samples_to_global_batch_size dev_choose_samples packing "
    "use_sft_style_data_module seq_length",
    "model_alignment_strategy": "",
    "model_alignment_strategy.sft": "packing",
    "model": "model_config encoder_seq_length max_position_embeddings num_layers hidden_size rope_theta qkv_linear "
    "fuse_qkv pipeline_cuts use_cpu_initialization activations_checkpoint_granularity activations_checkpoint_recompute "
    "do_layer_norm_weight_decay weight_init_only token_weighted_loss",
    "model.fusions": "softmax flash_attention ring_attention",
    "model.moe": "num_experts frequency dropout capacity_factor dropless routing_algorithm router_activation "
    "sinkhorn_iterations sinkhorn_tol top_k output_router_logits router_aux_loss_coef normalize_top_k_affinities "
    "glu_mlp moe_dropout",
    "model.optim": "name lr weight_decay capturable betas eps amsgrad momentum dampening nesterov rho lr_decay "
    "initial_accumulator_value alpha centered etas step_sizes correct_bias grad_averaging luc luc_trust clip_threshold "
    "decay_rate beta1 scale_parameter relative_step warmup_init min_step",
    "model.optim.sched": "name warmup_steps warmup_ratio max_steps constant_steps constant_ratio min_lr hold_steps "
    "hold_ratio d_model step_size gamma interval last_epoch power",
    "precision": "type master_weights fp32_grad_acc xla_use_bf16 xla_downcast_bf16 neuron_rt_stochastic_rounding_en "
    "parallel_layers_reduce_dtype fp32_grads_cc",
}
"""Supported keys, by section."""

_MEGATRON: Final[Mapping[str, str]] = {
    "data": "data_prefix index_mapping_dir splits_string skip_warmup dataloader_type eod_mask_loss reset_position_ids "
    "reset_attention_mask no_seqlen_plus_one_input_tokens tokenizer",
    "model": "ffn_hidden_size num_attention_heads num_kv_heads kv_channels init_method_std use_scaled_init_method "
    "hidden_dropout attention_dropout ffn_dropout apply_query_key_layer_scaling normalization layernorm_epsilon "
    "share_embeddings_and_output_weights make_vocab_size_divisible_by position_embedding_type "
    "rotary_percentage activation has_bias sliding_window_size fp32_residual_connection "
    "positition_interpolation_factor position_freq_base position_abf_factor",
}
"""Keys that are supported with model_source megatron, and refused without it: nothing would read them."""

OF_RECORDS: Final = frozenset(("data.tokenizer", "data.index_mapping_dir"))
"""Those of them that fine-tuning also reads, whatever the model_source."""

_INERT: Final[Mapping[str, str]] = {
    "trainer": "enable_progress_bar enable_model_summary benchmark inference_mode default_root_dir "
    "limit_predict_batches enable_autolog_hparams model_registry sync_batchnorm",
    "exp_manager": "step_timing_kwargs wandb_logger_kwargs mlflow_logger_kwargs "
    "dllogger_logger_kwargs clearml_logger_kwargs neptune_logger_kwargs",
    "exp_manager.checkpoint_callback_params": "verbose always_save_nemo save_nemo_on_train_end",
    "model": "transpose_nki_inputs gradient_accumulation_fusion bias_activation_fusion bias_dropout_add_fusion "
    "bias_gelu_fusion masked_softmax_fusion persist_layer_norm megatron_amp_O2 save_logits",
}
"""Keys without effect in this release, whose value does not change the results: a warning."""


def check(config: TrainingConfig, reported: Iterable[Finding] = ()) -> tuple[Finding, ...]:
    """Return a finding for each key that is set and not supported: a warning if it does not change the results, else an
    error. Keys with an error in `reported` are skipped."""
    exempt = {CANONICAL.get(finding.key, finding.key) for finding in errors_of(reported)}
    if config.model_source == "megatron":
        exempt |= _megatron_keys()
    if alignment.reads_records(config):
        exempt |= OF_RECORDS
    return tuple(finding for finding in _section(config, "") if finding.key not in exempt)


def _megatron_keys() -> set[str]:
    return {f"{section}.{key}" for section, keys in _MEGATRON.items() for key in keys.split()}


def _section(section: BaseModel, path: str) -> Iterator[Finding]:
    supported, ignored = _DONE.get(path, "").split(), _INERT.get(path, "").split()
    attributes = _attributes(type(section))
    for key, info in fields(type(section)).items():
        key_path, value = f"{path}.{key}" if path else key, getattr(section, attributes[key])
        if key_path in CANONICAL:
            continue  # checked at the key that the value is read from
        if key_path in _VALUES:
            if value not in _VALUES[key_path]:
                yield _unsupported_value(key_path, value)
        elif isinstance(value, BaseModel) and _is_checked_by_key(key_path):
            yield from _section(value, key_path)
        elif key not in supported and value != info.get_default(call_default_factory=True):
            yield _unsupported(key_path, value, is_ignored=key in ignored, is_section=section_of(info) is not None)


@cache
def _attributes(model: type[BaseModel]) -> Mapping[str, str]:
    """Return attribute names by keys of the document."""
    return {info.alias or name: name for name, info in model.model_fields.items()}


def _below(section: str) -> bool:
    return any(path.startswith(f"{section}.") for path in _DONE)


_TITLES: Final[Mapping[str, str]] = {
    "model_alignment_strategy.dpo": "DPO",
    "model_alignment_strategy.orpo": "ORPO",
    "model_alignment_strategy.peft": "LoRA",
    "exp_manager.ema": "EMA",
}
"""Names of sections and keys in messages."""

_WITHOUT: Final[Mapping[str, str]] = {
    "model_alignment_strategy.dpo": "Without this section the run would not train on preferences.",
    "model_alignment_strategy.orpo": "Without this section the run would not train on preferences.",
    "model_alignment_strategy.peft": "Without this section the run would train all weights.",
    "exp_manager.ema": "Without it checkpoints would hold the last weights, not their average.",
    "exp_manager.checkpoint_callback_params.save_on_train_epoch_end": "Use every_n_epochs.",
    "model.optim.sched.cycle": "With False the rate stays at min_lr after max_steps.",
}
"""What a run without the key would do: removing what is refused may train something else."""


def _unsupported_value(path: str, value: object) -> Finding:
    allowed = " or ".join(str(value) for value in _VALUES[path] if value is not None)
    message = f"{value!r} is not supported in this release; the job will be rejected."
    return make_finding(4001, path, message, f"Supported: {allowed}. Another value may train something else.")


def _unsupported(path: str, value: Any, *, is_ignored: bool, is_section: bool) -> Finding:
    if is_ignored:
        return make_finding(4003, path, "it has no effect in this release.")
    remedy = _WITHOUT.get(path, "Removing it changes what is trained: decide that on purpose.")
    if is_section:
        title = _TITLES.get(path, "this section")
        return make_finding(4002, path, f"{title} is not supported in this release; the job will be rejected.", remedy)
    subject = _TITLES.get(path, repr(value))
    return make_finding(4001, path, f"{subject} is not supported in this release; the job will be rejected.", remedy)


class SupportLevel(StrEnum):
    """How far this release supports a key."""

    SUPPORTED = "supported"
    MEGATRON_ONLY = "with Megatron"
    """With model_source megatron, which alone reads it; NTJ-4001 (a section: NTJ-4002) without."""
    SOME_VALUES = "some values"
    """`supported_values` lists them."""
    IGNORED = "no effect"
    REFUSED = "refused"
    """Any value but the default; NTJ-4001."""
    REFUSED_SECTION = "refused with its section"
    """NTJ-4002."""


def level_of(path: str) -> SupportLevel:
    """Return the support level of a key path; a section is supported when any of its keys is."""
    path = CANONICAL.get(path, path)
    parent, _, key = path.rpartition(".")
    if path in _VALUES:
        return SupportLevel.SOME_VALUES
    if any(f"{path}.".startswith(f"{key}.") for key in _megatron_keys()):
        return SupportLevel.MEGATRON_ONLY
    if any(not _is_checked_by_key(section) for section in _sections_above(path)):
        return SupportLevel.REFUSED_SECTION
    if _is_checked_by_key(path) or key in _DONE.get(parent, "").split():
        return SupportLevel.SUPPORTED
    info = field_of(path)
    if info is not None and section_of(info) is not None:
        return SupportLevel.REFUSED_SECTION
    return SupportLevel.IGNORED if key in _INERT.get(parent, "").split() else SupportLevel.REFUSED


def supported_values(path: str) -> tuple[object, ...]:
    """Return the supported values of a key with `SupportLevel.SOME_VALUES`."""
    return _VALUES[path]


def _is_checked_by_key(section: str) -> bool:
    """Return whether some keys of the section are supported, so that each is checked by itself."""
    return section in _DONE or _below(section)


def _sections_above(path: str) -> Iterator[str]:
    parts = path.split(".")
    return (".".join(parts[:count]) for count in range(1, len(parts)))
