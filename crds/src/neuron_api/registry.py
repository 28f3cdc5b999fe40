"""Every code that a finding of the configuration may have: severity, title, cause, remedy, and the keys it is about.

Ranges: 10xx reading, 11xx interpolation, 12xx overrides, 13xx key names, 14xx single values; then one range per
section: 20xx top level, 21xx trainer, 22xx exp_manager, 23xx distributed_strategy, 24xx data, 25xx model, 26xx
model.optim, 27xx model.moe, 28xx precision, 29xx model_alignment_strategy; 30xx platform, 40xx what this release does
not do. A code is never given a second meaning; one that is no longer used is removed, its number stays free.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from .findings import Finding, Severity, error, note, warning


@dataclass(frozen=True, slots=True)
class Entry:
    """One code."""

    code: str
    severity: Severity
    keys: tuple[str, ...]
    """Key paths that it is about; empty: any."""
    title: str
    cause: str
    remedy: str


_E, _W, _N = Severity.ERROR, Severity.WARNING, Severity.NOTE
_TP = "distributed_strategy.tensor_model_parallel_size"
_PP = "distributed_strategy.pipeline_model_parallel_size"
_VPP = "distributed_strategy.virtual_pipeline_model_parallel_size"
_CP = "distributed_strategy.context_parallel_size"
_EP = "distributed_strategy.expert_model_parallel_size"
_SHUFFLE = "distributed_strategy.token_shuffle_group_size"
_KV = "distributed_strategy.kv_replicator"
_CHECKPOINT = "exp_manager.checkpoint_callback_params"
_ALIGNMENT = "model_alignment_strategy"

_TABLE: Final = (
    # ---- 10xx reading ------------------------------------------------------------------------------------------------
    ("1001", _E, "", "Not a configuration", "The text is empty, is not YAML, or is not a mapping of keys.",
     "Mend the line that is named; compare with an example."),
    ("1002", _E, "", "Too large to be a configuration",
     "The text exceeds a bound on size, depth, number of values or length of one value; aliases count each time.",
     "Remove what is not configuration: real files have 8 kB and 200 values."),
    ("1003", _E, "", "A tag that is not allowed", "A value has a YAML tag (`!!python/…`), which could run code.",
     "Write the value itself."),
    ("1004", _E, "", "A key is given twice",
     "Two keys of one mapping have the same name; YAML would silently keep the last. Often the lines under a key are "
     "not indented.", "Keep one of them, or indent what belongs below another key."),
    ("1005", _E, "", "A number that no key has", "An integer has more than 64 bits, or is infinite or not a number.",
     "Write a number in the key's range."),
    ("1006", _N, "", "The word None was read as null",
     "Python's None is a string in YAML; for keys that are not texts it is read as null.", "Write null."),
    # ---- 11xx interpolation ------------------------------------------------------------------------------------------
    ("1101", _E, "", "An interpolation of a key that is not there", "`${a.b}` names no key of this configuration.",
     "Name a key from the top of the file (`${trainer.max_steps}`), or relative to its own (`${.seq_length}`)."),
    ("1102", _E, "", "Interpolations in a circle", "The value needs itself; the message shows the loop.",
     "Write one of the values out."),
    ("1103", _E, "", "An unknown resolver",
     "`${name:…}` names a function that is not offered. `eval` is not: it would run code from a resource.",
     "Use multiply, add, divide, oc.env (in the pod), oc.decode, oc.select, or write the value."),
    ("1104", _E, "", "An interpolation that cannot be computed",
     "Its form is wrong, or the function cannot work with these arguments.", "Mend the form, or write the value."),
    ("1105", _N, "", "An environment variable, known in the pod only",
     "`oc.env` is resolved in the pod; outside, the value is kept as it is written and not checked.",
     "Nothing, or write the value itself to have it checked."),
    ("1106", _E, "", "An environment variable in a key that decides the job's shape",
     "The value is needed before there is a pod, so it cannot come from the pod's environment.",
     "Write the value itself."),
    ("1107", _E, "", "Interpolations that grow without bound",
     "Resolving them takes more steps, or gives longer values, than any configuration needs.",
     "Write the values out."),
    # ---- 12xx overrides ----------------------------------------------------------------------------------------------
    ("1201", _E, "", "An override that cannot be read", "An override is `key=value`, `+key=value` or `~key`.",
     "Quote it for the shell and write the value as YAML."),
    ("1202", _E, "", "An override deletes a key that is not there", "`~key` names a key that the file does not have.",
     "Remove the override."),
    ("1203", _E, "", "An override of an unknown key", "`key=value` changes keys that are documented or in the file.",
     "Mend the name, or write `+key=value` to add a key of your own."),
    # ---- 13xx key names ----------------------------------------------------------------------------------------------
    ("1301", _E, "", "A misspelled key", "The name is one or two letters away from a documented one.",
     "Use the name that the message proposes."),
    ("1302", _E, "", "An unknown key", "The section knows no such key, and allows none of one's own.",
     "Remove it, or move it to the section it belongs to."),
    ("1303", _W, "data model", "A key of one's own", "data and model may hold further keys; they are passed on.",
     "Nothing, if it is meant for a module of yours."),
    ("1304", _W, "fusions", "fusions at the top level", "Documented under model; accepted here, as in a tutorial.",
     "Move it under model."),
    ("1305", _E, "exp_manager.exp_log_dir async_exec_max_inflight_requests "
     "model.fusions.do_layer_norm_weight_decay exp_manager.max_time_per_run data.packing fusions",
     "Two names of one key disagree", "A key and its other spelling are both given, with different values.",
     "Give one of the two."),
    # ---- 14xx single values ------------------------------------------------------------------------------------------
    ("1401", _E, "", "A required key is missing", "There is no sensible default, or the key is null.", "Add it."),
    ("1402", _E, "", "A value of the wrong type", "The key wants another kind of value.",
     "Write the kind that the message names."),
    ("1403", _E, "", "A value out of range", "The number is outside the key's bounds.", "Use one within them."),
    ("1404", _E, "", "Not one of the allowed values", "The key has a fixed list of values.", "Use one of the list."),
    ("1405", _E, "", "A text or list of the wrong length", "It is empty, too long, or has a wrong number of items.",
     "Give as many as the message says."),
    # ---- 20xx top level ----------------------------------------------------------------------------------------------
    ("2001", _N, "name", "A name that is changed in paths", "Paths keep letters, digits and . _ - only.",
     "Use a name of those."),
    ("2002", _N, "aync_exec_max_inflight_requests async_exec_max_inflight_requests", "A deep execution queue",
     "Upstream's documentation says that more than 3 requests in flight may run out of device memory.",
     "Lower it when the device memory is exhausted."),
    ("2003", _N, "bucket_size_collectives", "Bucket size capped for two collectives",
     "Reduce-scatter and all-gather buckets above 140 MB give NaN on the device; they are capped at 130.", "Nothing."),
    ("2004", _W, "compiler_cache_url", "A compile cache that is neither a path nor s3",
     "The compiler knows paths and s3:// addresses only.", "Use one of the two."),
    # ---- 21xx trainer ------------------------------------------------------------------------------------------------
    ("2101", _E, "trainer.accelerator trainer.strategy trainer.plugins trainer.logger trainer.precision "
     "trainer.use_distributed_sampler trainer.enable_checkpointing trainer.callbacks",
     "An argument that the framework sets itself", "Lightning's Trainer has it, but another section decides.",
     "Leave it out; the message names the section."),
    ("2102", _E, "trainer.max_steps trainer.max_epochs", "Training without an end",
     "max_steps and max_epochs are both -1 and max_time is not set.", "Set one of the three."),
    ("2103", _E, "trainer.accumulate_grad_batches", "Accumulation is not set here",
     "It follows from global_batch_size / (micro_batch_size x data-parallel size).", "Change the batch sizes."),
    ("2104", _E, "trainer.gradient_clip_algorithm", "Clipping by value", "Only clipping by the global norm exists.",
     "Use norm, or leave it out."),
    ("2105", _E, "trainer.val_check_interval trainer.check_val_every_n_epoch", "A validation interval that cannot be",
     "A fraction is a part of an epoch: at most 1, and not together with check_val_every_n_epoch null; Megatron data "
     "needs a number of steps.", "Write the number of steps."),
    ("2106", _E, "trainer.limit_val_batches trainer.limit_test_batches trainer.limit_train_batches "
     "trainer.limit_predict_batches trainer.overfit_batches", "More than all batches",
     "A fraction above 1 (1.5) is no part of a data set.", "Use a whole number, or a fraction up to 1.0."),
    ("2107", _E, "trainer.max_time exp_manager.max_time_per_run", "A time that cannot be read",
     "The form is DD:HH:MM:SS, or a mapping of weeks, days, hours, minutes and seconds.", "Write 00:12:00:00."),
    ("2108", _N, "trainer.sequential_move_factor", "More processes than the node has",
     "Processes of one node build their weights in turns; it has fewer than this.", "Nothing: all go at once."),
    ("2109", _E, "trainer.max_steps trainer.max_epochs", "Nothing to train", "0 steps or epochs.", "Use -1 or more."),
    ("2110", _W, "trainer.num_sanity_val_steps", "Sanity steps without validation",
     "limit_val_batches is 0, so that validation is off.", "Set limit_val_batches, or num_sanity_val_steps to 0."),
    ("2111", _W, "trainer.fast_dev_run trainer.barebones", "A run without checkpoints",
     "fast_dev_run and barebones switch loggers and checkpoints off.", "Remove it for a run that counts."),
    # ---- 22xx exp_manager --------------------------------------------------------------------------------------------
    ("2201", _E, "exp_manager.log_local_rank_0_only exp_manager.log_global_rank_0_only", "Two rules for log files",
     "One process per node, or one of all; not both.", "Set one of the two to False."),
    ("2202", _E, f"{_CHECKPOINT}.save_top_k {_CHECKPOINT}.monitor", "Checkpoints cannot be ranked",
     "save_top_k above 1 keeps the best by monitor, which is null.", "Set monitor to step, or save_top_k to -1, 0, 1."),
    ("2203", _W, f"{_CHECKPOINT}.mode", "The oldest checkpoint is kept", "mode min with monitor step.", "Use max."),
    ("2204", _W, "exp_manager.resume_if_exists", "Nothing to resume from", "This job writes no checkpoints.",
     "Set create_checkpoint_callback to True and save_top_k to 1 or more."),
    ("2205", _W, "exp_manager.explicit_log_dir exp_manager.exp_dir exp_manager.version", "A directory that is not used",
     "explicit_log_dir is the log directory as it is; exp_dir and version are ignored.", "Remove them."),
    ("2206", _E, f"{_CHECKPOINT}.every_n_train_steps {_CHECKPOINT}.train_time_interval {_CHECKPOINT}.every_n_epochs",
     "Two rhythms of checkpoints", "Steps, epochs and seconds exclude each other.", "Keep one."),
    ("2207", _E, f"exp_manager.save_bf16 {_CHECKPOINT}.use_master_weights_in_ckpt", "Two data types of one checkpoint",
     "save_bf16 writes bf16, use_master_weights_in_ckpt writes fp32.", "Set one of the two to False."),
    ("2208", _W, f"{_CHECKPOINT}.use_master_weights_in_ckpt", "There are no master weights",
     "The precision type keeps none.", "Use mixed_precision, or manual with master_weights."),
    ("2209", _W, f"{_CHECKPOINT}.model_parallel_size", "A product that does not fit",
     "It is tensor x pipeline parallel size, and unused otherwise.", "Correct it or remove it."),
    ("2210", _W, "exp_manager.load_xser exp_manager.save_xser", "Saved in one form, expected in the other",
     "A resume reads what this job wrote; the form is detected.", "Give both the same value."),
    ("2211", _E, "exp_manager.ckpt_ptl_version", "Not a version", "The form is that of PEP 440: 2.5.0.",
     "Give the Lightning version that wrote the checkpoint."),
    ("2212", _E, f"{_CHECKPOINT}.always_save_nemo {_CHECKPOINT}.save_best_model {_CHECKPOINT}.save_nemo_on_train_end",
     "No .nemo archives", "They are not written here.", "Leave the key out."),
    ("2213", _E, "exp_manager.create_wandb_logger exp_manager.create_mlflow_logger exp_manager.create_dllogger_logger "
     "exp_manager.create_clearml_logger exp_manager.create_neptune_logger", "A logger that is not there",
     "The image has TensorBoard and metrics.jsonl; the operator serves Prometheus metrics.",
     "Set it to False; use create_tensorboard_logger."),
    ("2214", _E, f"{_CHECKPOINT}.monitor", "A metric that is never there",
     "monitor is a validation metric, and validation is off.", "Set limit_val_batches, or monitor step."),
    ("2215", _W, f"{_CHECKPOINT}.filename", "Checkpoints of one name",
     "The file name has no {field}, so each checkpoint replaces the one before.", "Add {step}."),
    ("2216", _W, f"{_CHECKPOINT}.save_weights_only", "Checkpoints that cannot be resumed",
     "They hold weights only, and resume_if_exists is set.", "Set save_weights_only to False."),
    ("2217", _N, "exp_manager.create_preemption_callback", "Saving at SIGTERM is always on",
     "False has no effect.", "Nothing."),
    # ---- 23xx distributed_strategy -----------------------------------------------------------------------------------
    ("2301", _E, f"{_TP} {_PP} {_CP} trainer.devices trainer.num_nodes", "The world cannot be divided",
     "devices x num_nodes is no multiple of tensor x pipeline x context parallel size.",
     "Change them so that the product divides the processes."),
    ("2302", _E, "data.global_batch_size data.micro_batch_size", "The batch cannot be divided",
     "global_batch_size is no multiple of micro_batch_size x data-parallel size; samples would be lost.",
     "Use a multiple; the message names two."),
    ("2303", _W, _TP, "A tensor-parallel group across nodes",
     "Its collectives run in every layer and would cross the network.", "Use a size that divides trainer.devices."),
    ("2304", _E, _VPP, "Virtual stages without stages", "Interleaving needs pipeline_model_parallel_size above 1.",
     "Set it to 1, or use pipeline stages."),
    ("2305", _E, _VPP, "Micro-batches do not fit the interleaved schedule",
     "Their number must be a multiple of the number of stages.", "Change global_batch_size or micro_batch_size."),
    ("2306", _E, f"{_VPP} model.num_layers", "Layers do not fit the interleaved schedule",
     "Each chunk holds equally many layers.", "Use a num_layers that is a multiple of stages x chunks."),
    ("2307", _E, f"{_PP} model.num_layers", "Layers do not fit the stages",
     "Each stage needs a layer; Megatron models need equally many in each.", "Use fewer stages or other layers."),
    ("2308", _W, _PP, "A pipeline that mostly waits", "There are fewer micro-batches than stages.",
     "Raise global_batch_size or lower the number of stages."),
    ("2309", _E, f"{_CP} model.fusions.ring_attention", "A split sequence needs ring attention",
     "context_parallel_size is above 1 and model.fusions.ring_attention is not set.", "Set it to True."),
    ("2310", _E, f"{_CP} model.encoder_seq_length", "The sequence cannot be split",
     "encoder_seq_length is no multiple of context_parallel_size.", "Use a multiple."),
    ("2311", _E, f"{_TP} model.num_attention_heads", "Attention heads cannot be divided",
     "num_attention_heads is no multiple of the tensor-parallel size.", "Use a size that divides it."),
    ("2312", _E, f"{_TP} model.ffn_hidden_size", "The MLP cannot be divided",
     "ffn_hidden_size is no multiple of the tensor-parallel size.", "Use a size that divides it."),
    ("2313", _E, f"{_TP} {_KV} model.num_kv_heads", "Key/value heads cannot be divided",
     "Their number times kv_replicator is no multiple of the tensor-parallel size.", "Leave kv_replicator out."),
    ("2314", _N, "distributed_strategy.sequence_parallel", "Sequence parallel without tensor parallel",
     "There is nothing to shard over with tensor_model_parallel_size 1.", "Nothing."),
    ("2315", _E, "model.encoder_seq_length distributed_strategy.sequence_parallel", "The sequence cannot be sharded",
     "sequence_parallel shards it (each context-parallel part of it) over the tensor-parallel processes.",
     "Use a multiple."),
    ("2316", _W, _KV, "Replication without effect", "kv_replicator works with qkv_linear only.",
     "Set model.qkv_linear to True, or leave kv_replicator out."),
    ("2317", _E, _KV, "Replication does not fit", "The tensor-parallel size is no multiple of kv_replicator.",
     "Leave it out: as many copies as needed are made."),
    ("2318", _E, f"{_EP} {_SHUFFLE}", "There are no experts", "The key is about model.moe, which is not there.",
     "Set it to 1, or add model.moe."),
    ("2319", _E, f"{_EP} model.moe.num_experts", "Experts cannot be divided",
     "num_experts is no multiple of expert_model_parallel_size.", "Use a size that divides it."),
    ("2320", _E, f"{_EP} {_SHUFFLE}", "Data-parallel processes cannot be grouped",
     "Their number is no multiple of the group.", "Use a size that divides it."),
    ("2321", _E, _SHUFFLE, "Nothing to shuffle for", "Shuffling evens the load of experts with a capacity.",
     "Set capacity_factor above 0, or token_shuffle_group_size to 1."),
    ("2322", _E, "distributed_strategy.pipeline_model_parallel_split_rank", "Encoder/decoder models",
     "They are not supported.", "Leave the key out."),
    # ---- 24xx data ---------------------------------------------------------------------------------------------------
    ("2401", _E, "data.train_dir", "Nothing to train on", "train_dir is not set.",
     "Give the directory that `neuron-train data prepare` wrote, or the file of records for fine-tuning."),
    ("2402", _E, "data.val_dir trainer.limit_val_batches", "No validation set",
     "limit_val_batches is not 0 and val_dir is not set.", "Give one, or set limit_val_batches to 0."),
    ("2403", _E, "data.data_prefix", "No Megatron data", "data_prefix is not set.",
     "Give the prefix of the .bin and .idx files."),
    ("2404", _E, "data.data_prefix", "A blend that cannot be read",
     "The list alternates weights and prefixes; a mapping has train, validation and test.",
     "Write [weight, prefix, weight, prefix]."),
    ("2405", _E, "data.data_impl", "Another reader than mmap", "Only mmap exists.", "Use mmap, or leave it out."),
    ("2406", _E, "data.splits_string", "Splits that cannot be read", "The form is 980,10,10.", "Write that form."),
    ("2407", _E, "data.seq_length model.encoder_seq_length", "Samples longer than the model, or not as long",
     "Megatron samples are as long as encoder_seq_length, records for fine-tuning at most.",
     "Use ${model.encoder_seq_length}."),
    ("2408", _W, "data.seq_length model.encoder_seq_length", "Samples shorter than the model",
     "Records are padded or packed to data.seq_length; the model runs at that length.", "Nothing, if it is meant."),
    ("2409", _E, "data.validation_drop_last data.pad_samples_to_global_batch_size", "A partial batch without padding",
     "validation_drop_last False keeps a batch that is not full.", "Set pad_samples_to_global_batch_size to True."),
    ("2410", _E, "data.dataset_name data.subset_name data.prompt_name data.train_ds data.fine_tuning "
     "data.tokenizer.delimiter", "A key of NeMo's that is not supported", "There is nothing behind it here.",
     "Leave it out; fine-tuning is model_alignment_strategy."),
    ("2411", _E, "data.tokenizer data.tokenizer.type", "No tokenizer",
     "Megatron data needs padding and end-of-document ids, fine-tuning needs all of it.",
     "Give data.tokenizer.type: a Hugging Face directory."),
    ("2412", _E, "data.tokenizer.vocab_file data.tokenizer.merge_file", "Half a tokenizer",
     "A GPT-2 tokenizer has a vocabulary and merges.", "Give both or none."),
    ("2413", _E, "data.tokenizer.library data.tokenizer.model", "A sentencepiece tokenizer without its model",
     "library is sentencepiece and model is not set.", "Give data.tokenizer.model."),
    ("2414", _W, "data.data_prefix", "Data that is not read", "data_prefix is for model_source megatron without a "
     "fine-tuning strategy.", "Use train_dir, or remove it."),
    ("2415", _E, "data.train_dir data.val_dir", "Not a file of records",
     "Fine-tuning reads .jsonl, .json and .arrow files.", "Give such a file."),
    ("2416", _N, "data.tokenizer.library", "Read as a Hugging Face tokenizer",
     "library is megatron and type is a directory.", "Write huggingface."),
    # ---- 25xx model --------------------------------------------------------------------------------------------------
    ("2501", _E, "model.model_config model_source", "The architecture is not known",
     "model_source hf reads it from model.model_config.", "Give the path of a Hugging Face config.json."),
    ("2502", _E, "model.num_layers model.hidden_size model.ffn_hidden_size model.num_attention_heads model_source",
     "A size of the architecture is missing", "model_source megatron writes the architecture out.", "Add the key."),
    ("2503", _W, "model.model_config model.ffn_hidden_size model.num_attention_heads model.num_kv_heads "
     "model.kv_channels model.sliding_window_size", "A key of the other model source", "It is not read here.",
     "Remove it, or change model_source."),
    ("2504", _E, "model.hidden_size model.num_attention_heads", "Heads do not fit the width",
     "hidden_size is no multiple of num_attention_heads.", "Change one of them, or set kv_channels."),
    ("2505", _E, "model.num_kv_heads", "Query heads cannot be grouped",
     "num_attention_heads is no multiple of num_kv_heads.", "Use a number that divides it."),
    ("2506", _E, "model.max_position_embeddings", "Fewer positions than tokens",
     "max_position_embeddings is less than encoder_seq_length.", "Use ${.encoder_seq_length}."),
    ("2507", _E, "model.pipeline_cuts", "A wrong number of cuts", "There is one less than chunks (stages x virtual).",
     "Give as many as the message says, or null for an even split."),
    ("2508", _E, "model.pipeline_cuts", "Cuts that name no layers in order",
     "Each is model.layers.K, ascending, below the last layer.", "Write [model.layers.9, model.layers.19]."),
    ("2509", _W, "model.activations_checkpoint_recompute", "A list that is not used",
     "Only granularity selective reads it.", "Set activations_checkpoint_granularity to selective."),
    ("2510", _E, "model.activations_checkpoint_recompute", "No such module", "The name is no module class.",
     "Use a name from the message's list."),
    ("2511", _E, "model.fusions.flash_attention model.fusions.ring_attention", "Two kinds of attention",
     "flash_attention and ring_attention exclude each other.", "Set one of the two to False."),
    ("2512", _N, "model.fusions.ring_attention", "A ring of one", "context_parallel_size is 1: the same as flash.",
     "Nothing."),
    ("2513", _E, "model.attention_dropout model.fusions.flash_attention", "Dropout inside flash attention",
     "The kernel has no dropout on attention probabilities.", "Set one of the two to 0 or False."),
    ("2514", _W, "model.weight_init_only", "No checkpoint to take weights from",
     "exp_manager.resume_from_checkpoint is not set.", "Set it, or weight_init_only to False."),
    ("2515", _E, "model.gradient_accumulation_fusion model.use_emha model.megatron_amp_O2 model.bias_gelu_fusion "
     "model.bias_activation_fusion model.bias_dropout_add_fusion model.masked_softmax_fusion model.precision "
     "model.fp16_lm_cross_entropy", "A switch of NeMo's GPU code", "There is nothing behind it on Neuron.",
     "Leave it out."),
    ("2516", _E, "model.activations_checkpoint_method model.activations_checkpoint_num_layers "
     "model.activations_checkpoint_layers_per_pipeline model.num_micro_batches_with_partial_activation_checkpoints "
     "model.disable_layer_norm_checkpointing", "Another way to choose what is recomputed", "It does not exist here.",
     "Use activations_checkpoint_granularity and activations_checkpoint_recompute."),
    ("2517", _E, "model.transformer_block_type", "Norms at another place", "Only pre_ln exists.", "Use pre_ln."),
    ("2518", _E, "model.rotary_percentage", "An odd number of rotated dimensions", "They are rotated in pairs.",
     "Use a percentage that gives an even number."),
    # ---- 26xx optim --------------------------------------------------------------------------------------------------
    ("2601", _E, "model.optim.lr", "A rate of 0", "Nothing would be learnt.", "Use a number above 0."),
    ("2602", _E, "model.optim.name", "An argument of another optimizer", "This optimizer does not know it.",
     "Remove it; the message lists the valid ones."),
    ("2603", _E, "model.optim.relative_step model.optim.lr", "Two learning rates",
     "relative_step computes the rate, and lr is given.", "Remove one of the two."),
    ("2604", _E, "model.optim.warmup_init", "A warm-up of a rate that is given", "warmup_init needs relative_step.",
     "Set relative_step to True."),
    ("2605", _E, "model.optim.eps", "An eps of the wrong form", "adafactor has a pair, all others one number above 0.",
     "Write that form."),
    ("2606", _E, "model.optim.nesterov", "Nesterov without momentum", "It needs momentum above 0 and no dampening.",
     "Set momentum, or nesterov to False."),
    ("2611", _E, "model.optim.sched.name", "An optimizer, not a schedule",
     "The document lists rprop among the schedules by mistake.", "Use a schedule; rprop is a value of optim.name."),
    ("2612", _E, "model.optim.sched.warmup_ratio model.optim.sched.constant_ratio model.optim.sched.hold_ratio",
     "Steps and ratio", "A length is given in steps and as a part of max_steps.", "Give one of the two."),
    ("2614", _E, "model.optim.sched.min_lr", "A floor above the rate", "min_lr is more than lr.", "Lower it."),
    ("2615", _W, "model.optim.sched.warmup_steps", "A warm-up longer than the run", "The full rate is never reached.",
     "Use fewer steps."),
    ("2616", _W, "model.optim.sched.constant_steps", "No room for the decay",
     "warmup_steps + constant_steps is max_steps or more: the rate falls to min_lr right after the warm-up.",
     "Use fewer steps."),
    ("2617", _E, "model.optim.sched.step_size", "StepLR without its step", "step_size is not set.", "Set it."),
    ("2618", _W, "model.optim.sched.name", "An argument of another schedule", "This schedule does not read it.",
     "Remove it."),
    # ---- 27xx moe ----------------------------------------------------------------------------------------------------
    ("2701", _E, "model.moe.top_k model.moe.num_experts", "More experts per token than there are",
     "top_k is more than num_experts.", "Use at most num_experts."),
    ("2702", _E, "model.moe.capacity_factor model.moe.dropless", "Experts without capacity",
     "capacity_factor 0 drops every token unless dropless is set.", "Set dropless, or a factor above 0."),
    ("2703", _W, "model.moe.capacity_factor model.moe.dropless", "A capacity that is not used",
     "dropless computes every token: capacity_factor is taken as 0.", "Write 0."),
    ("2704", _E, "model.moe.routing_algorithm model.moe.top_k", "sinkhorn routes to one expert", "top_k is not 1.",
     "Use top_k 1, or routing_algorithm top_k."),
    ("2705", _E, "model.moe.dropless model.moe.glu_mlp model.activation", "dropless needs gated experts",
     "The blockwise kernel computes swiglu.", "Use activation swiglu or silu, and glu_mlp True."),
    ("2706", _W, "model.moe.router_aux_loss_coef", "A loss that is not computed", "output_router_logits is False.",
     "Set it to True, or the coefficient to 0."),
    # ---- 28xx precision ----------------------------------------------------------------------------------------------
    ("2801", _N, "precision.master_weights precision.fp32_grad_acc precision.fp32_grads_cc precision.xla_use_bf16 "
     "precision.xla_downcast_bf16 precision.neuron_rt_stochastic_rounding_en", "A key that only manual reads",
     "The precision type decides.", "Use type manual, or remove it."),
    ("2802", _W, "precision.xla_use_bf16 precision.xla_downcast_bf16", "Two ways to bf16",
     "With both, downcasting has no effect.", "Set one of the two."),
    # ---- 29xx model_alignment_strategy -------------------------------------------------------------------------------
    ("2901", _E, f"{_ALIGNMENT} {_ALIGNMENT}.dpo {_ALIGNMENT}.sft {_ALIGNMENT}.orpo", "Several strategies",
     "The document shows them side by side as alternatives.", "Pick one of dpo, sft, orpo."),
    ("2902", _E, f"{_ALIGNMENT}.dpo.max_prompt_length {_ALIGNMENT}.orpo.max_prompt_length", "No length of prompts",
     "max_prompt_length is required.", "Set it, below data.seq_length."),
    ("2903", _E, f"{_ALIGNMENT}.dpo.max_prompt_length {_ALIGNMENT}.orpo.max_prompt_length data.seq_length",
     "Prompts as long as the sample", "No token is left for the answer.", "Use less than data.seq_length."),
    ("2904", _E, f"{_ALIGNMENT}.dpo.precompute_ref_log_probs", "Reference computed on the way",
     "False is not supported (nor is it upstream).", "Use True, or leave it out."),
    ("2905", _E, "data.seq_length", "No length of records", "Records are padded or packed to data.seq_length.",
     "Set it."),
    ("2906", _E, f"{_ALIGNMENT}.peft.merge_lora {_ALIGNMENT}.peft.save_lora_base", "Merged into nothing",
     "merge_lora adds the adapters to the base weights, which are not saved.", "Set save_lora_base to True."),
    ("2907", _E, f"{_ALIGNMENT}.peft.target_modules", "No such module", "The name ends no module of the models.",
     "Use names of the message's list."),
    ("2908", _W, f"{_ALIGNMENT}.peft.load_lora_from_ckpt", "No checkpoint to take adapters from",
     "exp_manager.resume_from_checkpoint is not set.", "Set it."),
    # ---- 30xx platform -----------------------------------------------------------------------------------------------
    ("3001", _E, "trainer.devices", "No instance type", "The devices of a node are not known.",
     "Set spec.platform.instanceType, or spec.platform.accelerator to cpu."),
    ("3002", _E, "trainer.devices", "An unknown instance type", "It is not one with Trainium.", "Use one of the list."),
    ("3003", _E, "trainer.lnc", "Cores that cannot be joined", "Trn1's physical cores are its logical ones.",
     "Use 1, or leave it out."),
    ("3004", _E, "trainer.devices", "More processes than cores",
     "trainer.devices is more than the logical NeuronCores of the node.", "Use fewer, and more nodes."),
    ("3005", _W, "trainer.devices", "Parts of nodes over several nodes", "Their EFA interfaces stay unused.",
     "Use whole nodes."),
    ("3006", _E, "trainer.num_nodes", "No network for several nodes", "The instance type has no EFA interface.",
     "Use one node or a larger type."),
    ("3007", _W, "distributed_strategy", "More memory than the device has",
     "The estimate of a process (docs/design/009-memory-estimate.md) exceeds the memory of its cores.",
     "Split the model over more processes, recompute more (model.activations_checkpoint_granularity) or use a smaller "
     "data.micro_batch_size."),
    ("3008", _N, "trainer.devices", "An instance type that is assumed",
     "None was given; it follows from trainer.lnc and trainer.devices.", "Give --instance-type or --accelerator cpu."),
    ("3009", _N, "model.model_config", "The architecture is not at hand",
     "The file is not on the machine that plans, so that what follows from it is not known.",
     "Give a copy of it with --model-config."),
    ("3010", _N, "data.tokenizer", "The vocabulary is not known",
     "Its size is the tokenizer's, which is not read; memory and checkpoint size need it.",
     "Give a config.json with vocab_size by --model-config."),
    # ---- 40xx this release -------------------------------------------------------------------------------------------
    ("4001", _E, "", "A value that this release does not do", "It is understood, and refused rather than ignored.",
     "Use what the message names."),
    ("4002", _E, "", "A part that this release does not do", "It is understood, and refused rather than ignored.",
     "Remove the key."),
    ("4003", _W, "", "A key without effect in this release", "It is accepted and changes nothing; the numbers do not "
     "depend on it.", "Nothing, or remove the key."),
)  # fmt: skip

ENTRIES: Final[Mapping[str, Entry]] = MappingProxyType(
    {
        f"NTJ-{number}": Entry(f"NTJ-{number}", severity, tuple(keys.split()), title, cause, remedy)
        for number, severity, keys, title, cause, remedy in _TABLE
    }
)
"""By code, in order."""

_MAKE: Final = {Severity.ERROR: error, Severity.WARNING: warning, Severity.NOTE: note}


def found(number: int, key: str, message: str, remedy: str | None = None) -> Finding:
    """A finding with the code's severity; its remedy, where the check has no better one."""
    entry = ENTRIES[f"NTJ-{number}"]
    return _MAKE[entry.severity](key, message, entry.remedy if remedy is None else remedy, entry.code)


def codes_of(key: str) -> tuple[str, ...]:
    """Codes that name this key."""
    return tuple(code for code, entry in ENTRIES.items() if key in entry.keys)
