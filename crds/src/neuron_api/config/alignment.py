"""`model_alignment_strategy`: fine-tuning by SFT, DPO or ORPO, and LoRA beside any of them."""

from typing import Literal

from pydantic import Field

from .section import Count, Flag, Number, Section, Share

Truncation = Literal["keep_start", "keep_end"]


class DpoConfig(Section):
    """Direct preference optimisation."""

    kl_beta: Number = Field(default=0.01, gt=0)
    """Strength of the pull towards the reference model: beta in -log sigmoid(beta * margin of the log-ratios). Default
    0.01, the document's."""

    loss_type: Literal["sigmoid", "hinge", "ipo"] = "sigmoid"
    """The loss of a pair with the margin h of its log-ratios: sigmoid is -log sigmoid(kl_beta * h), hinge
    max(0, 1 - kl_beta * h), ipo (h - 1 / (2 * kl_beta))^2. hinge and ipo are ours. Default sigmoid."""

    max_prompt_length: Count | None = Field(default=None, ge=1)
    """Tokens that a prompt is cut to where prompt and longer answer do not fit into data.seq_length; answers that still
    do not fit are cut to data.seq_length - max_prompt_length. Less than data.seq_length. Required."""

    precompute_ref_log_probs: Flag = True
    """Where the reference's log-probabilities come from. True: one pass over the training set before step 1, kept
    beside the checkpoints and used by every restart. False: from the frozen start weights in each step, with peft
    from the model without its adapters, else from a second model in memory. Default True."""

    truncation_mode: Truncation = "keep_start"
    """The part of a long prompt that stays: keep_start, its first tokens, or keep_end, its last. Default keep_start."""


class SftConfig(Section):
    """Supervised fine-tuning: the loss is on the output's tokens."""

    packing: Flag = False
    """Join records up to seq_length rather than pad each. Default False."""

    isolate_records: Flag = False
    """With packing: a record attends to no other record of its row, and its positions begin at 0, so that it counts as
    if it were alone. A key of ours. Default False: records of a row see those before them, as upstream."""

    token_weighted_loss: Flag = False
    """Each label of the global batch weighs the same, whatever the length of its record: the same as
    model.token_weighted_loss. A key of ours. Default False: micro-batches weigh the same, as upstream."""


class OrpoConfig(Section):
    """Odds-ratio preference optimisation."""

    beta: Number = Field(default=0.01, ge=0)
    """Weight of the odds-ratio term beside the answers' negative log-likelihood; with 0 it is that alone. Default
    0.01, the document's."""

    max_prompt_length: Count | None = Field(default=None, ge=1)
    """Tokens that a prompt is cut to where prompt and longer answer do not fit into data.seq_length; answers that still
    do not fit are cut to data.seq_length - max_prompt_length. Less than data.seq_length. Required."""

    truncation_mode: Truncation = "keep_start"
    """The part of a long prompt that stays: keep_start, its first tokens, or keep_end, its last. Default keep_start."""


class PeftConfig(Section):
    """LoRA: low-rank adapters are trained in place of the weights."""

    lora_rank: Count = Field(default=16, ge=1)
    """Rank of the adapters: A has lora_rank x inputs, B outputs x lora_rank elements. Default 16, the document's."""

    lora_alpha: Number = Field(default=32, gt=0)
    """The adapter's part is scaled by lora_alpha / lora_rank. Default 32, the document's."""

    lora_dropout: Share = 0.05
    """Dropout on the adapters' input in training. Default 0.05, the document's."""

    lora_bias: Literal["none", "all", "lora_only"] = "none"
    """Biases that are trained beside the adapters: none; all of the model; lora_only, those of linears with an adapter.
    Default none."""

    lora_verbose: Flag = False
    """Log each linear that has an adapter; the trained share of the parameters is always logged. Default False, the
    document's."""

    target_modules: tuple[str, ...] = ("qkv_proj",)
    """Linears that get adapters, by the end of their name: qkv_proj (one A for q, k and v), q_proj, k_proj, v_proj,
    o_proj, gate_up_proj (one A for both), gate_proj, up_proj, down_proj, embed_tokens, lm_head. Each must be in the
    model. Default [qkv_proj]."""

    load_lora_from_ckpt: Flag = False
    """Start from the adapter that exp_manager.resume_from_checkpoint points to: a checkpoint of a run with peft, or a
    directory of PEFT. Default False."""

    save_lora_base: Flag = False
    """Save the base weights in each checkpoint, too. Default False: the adapter alone, in megabytes."""

    merge_lora: Flag = False
    """Save the sum of weights and adapters, without the adapters; needs save_lora_base. Default False."""

    save_lora_config_adapter: Flag = True
    """Write adapter_config.json, the adapters' configuration in PEFT's form, into each checkpoint. Default True."""

    merge_sharded_lora: Flag = False
    """Write the whole adapter as one file in each checkpoint, beside the parts of the processes. Default False."""


class AlignmentConfig(Section):
    """One of sft, dpo and orpo, and peft beside it; peft alone is sft with its defaults."""

    dpo: DpoConfig | None = None
    """Direct preference optimisation: records of prompt, chosen, rejected. Default null."""

    sft: SftConfig | None = None
    """Supervised fine-tuning: records of input and output, or of messages. {} is enough. Default null."""

    orpo: OrpoConfig | None = None
    """Odds-ratio preference optimisation: records of prompt, chosen, rejected. Default null."""

    peft: PeftConfig | None = None
    """LoRA adapters; beside any of the others. Default null: all weights are trained."""
