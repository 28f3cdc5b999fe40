"""The part of the table that is about tuning: 29xx, model_alignment_strategy."""

from typing import Final

from .finding import Severity

_E, _W, _N = Severity.ERROR, Severity.WARNING, Severity.NOTE
_ALIGNMENT = "model_alignment_strategy"

TABLE: Final = (
    (
        "2901",
        _E,
        f"{_ALIGNMENT} {_ALIGNMENT}.dpo {_ALIGNMENT}.sft {_ALIGNMENT}.orpo",
        "Several strategies",
        "The document shows them side by side as alternatives.",
        "Pick one of dpo, sft, orpo.",
    ),
    (
        "2902",
        _E,
        f"{_ALIGNMENT}.dpo.max_prompt_length {_ALIGNMENT}.orpo.max_prompt_length",
        "No length of prompts",
        "max_prompt_length is required.",
        "Set it, below data.seq_length.",
    ),
    (
        "2903",
        _E,
        f"{_ALIGNMENT}.dpo.max_prompt_length {_ALIGNMENT}.orpo.max_prompt_length data.seq_length",
        "Prompts as long as the sample",
        "No token is left for the answer.",
        "Use less than data.seq_length.",
    ),
    (
        "2905",
        _E,
        "data.seq_length",
        "No length of records",
        "Records are padded or packed to data.seq_length.",
        "Set it.",
    ),
    (
        "2906",
        _E,
        f"{_ALIGNMENT}.peft.merge_lora {_ALIGNMENT}.peft.save_lora_base",
        "Merged into nothing",
        "merge_lora adds the adapters to the base weights, which are not saved.",
        "Set save_lora_base to True.",
    ),
    (
        "2907",
        _E,
        f"{_ALIGNMENT}.peft.target_modules",
        "No such module",
        "No module of the model ends with this name, so that nothing would be trained there. Experts are stacked "
        "weights, which get no adapters; a model without a gate has no gate_proj.",
        "Use names listed in the message.",
    ),
    (
        "2908",
        _W,
        f"{_ALIGNMENT}.peft.load_lora_from_ckpt",
        "No checkpoint to take adapters from",
        "exp_manager.resume_from_checkpoint is not set.",
        "Set it.",
    ),
    (
        "2909",
        _N,
        f"{_ALIGNMENT}.peft",
        "LoRA alone",
        "peft without sft, dpo and orpo is sft with its defaults.",
        "No action needed.",
    ),
    (
        "2910",
        _E,
        f"{_ALIGNMENT}.peft.target_modules",
        "Two adapters on one linear",
        "qkv_proj stands for q_proj, k_proj and v_proj, gate_up_proj for gate_proj and up_proj.",
        "Use the joined name or the single ones.",
    ),
    (
        "2911",
        _W,
        f"{_ALIGNMENT}.peft.lora_rank",
        "A rank above the linear's",
        "An adapter of this rank has more parameters than the linear and can do no more.",
        "Use a smaller lora_rank.",
    ),
    (
        "2912",
        _W,
        f"{_ALIGNMENT}.peft.target_modules",
        "An adapter on a weight that is used twice",
        "The model has one weight for embedding and head (tie_word_embeddings, share_embeddings_and_output_weights). "
        "An adapter on one of them makes two of it: the merged model is larger, and its tie_word_embeddings False.",
        "No action needed, or remove embed_tokens and lm_head from target_modules.",
    ),
    (
        "2915",
        _E,
        f"{_ALIGNMENT}.peft.merge_lora",
        "One weight for two sums",
        "Embedding and head are one weight, to which a checkpoint of the run cannot add the adapter of one of them.",
        "Set merge_lora to False and merge with `checkpoint convert`, or leave embed_tokens and lm_head out.",
    ),
    (
        "2916",
        _E,
        f"{_ALIGNMENT}.peft.target_modules",
        "A pipeline block with nothing to train",
        "A stage without adapters has no optimizer, and may have no gradient to hand back.",
        "Add a target that every layer has, such as q_proj.",
    ),
    (
        "2913",
        _W,
        "exp_manager.resume_from_checkpoint",
        "Tuning of random weights",
        "Adapters train beside a frozen base, and dpo against the model that the job starts with; without "
        "resume_from_checkpoint both are random weights.",
        "Set exp_manager.resume_from_checkpoint to a model of transformers or a checkpoint.",
    ),
    (
        "2914",
        _W,
        "data.packing model.token_weighted_loss",
        "A key of sft beside dpo or orpo",
        "A sample is a pair of answers: it is padded, and every pair weighs the same.",
        "Remove the key.",
    ),
    (
        "2917",
        _W,
        f"{_ALIGNMENT}.sft.isolate_records",
        "Nothing to isolate",
        "Without packing each record has a row of its own.",
        "Set sft.packing to True, or remove isolate_records.",
    ),
)
