"""`model_alignment_strategy`: fine-tuning by SFT, DPO or ORPO, and LoRA beside any of them."""

from typing import Annotated, Final, Literal

from pydantic import Field

from .markers import NotSupported
from .section import Count, Flag, Number, Section, Share

_PREFERENCES: Final = "Without this section the run would not train on preferences."
_ALL_WEIGHTS: Final = "Without this section the run would train all weights."

Truncation = Literal["keep_start", "keep_end"]


class DpoConfig(Section):
    """Direct preference optimisation."""

    kl_beta: Number = Field(default=0.01, gt=0)
    """Strength of the pull towards the reference model. Default 0.01, the document's."""

    loss_type: Literal["sigmoid", "hinge", "ipo"] = "sigmoid"
    """The loss. Default sigmoid."""

    max_prompt_length: Count | None = Field(default=None, ge=1)
    """Tokens that a prompt is cut to; less than data.seq_length. Required."""

    precompute_ref_log_probs: Flag = True
    """Compute the reference model's log-probabilities before the first step; only True. Default True."""

    truncation_mode: Truncation = "keep_start"
    """Which part of a long prompt stays. Default keep_start."""


class SftConfig(Section):
    """Supervised fine-tuning: the loss is on the output's tokens."""

    packing: Flag = False
    """Join records up to seq_length rather than pad each. Default False."""


class OrpoConfig(Section):
    """Odds-ratio preference optimisation."""

    beta: Number = Field(default=0.01, ge=0)
    """Weight of the odds-ratio term. Default 0.01, the document's."""

    max_prompt_length: Count | None = Field(default=None, ge=1)
    """Tokens that a prompt is cut to; less than data.seq_length. Required."""

    truncation_mode: Truncation = "keep_start"
    """Which part of a long prompt stays. Default keep_start."""


class PeftConfig(Section):
    """LoRA: low-rank adapters are trained in place of the weights."""

    lora_rank: Count = Field(default=16, ge=1)
    """Rank of the adapters. Default 16, the document's."""

    lora_alpha: Number = Field(default=32, gt=0)
    """The adapter's part is scaled by lora_alpha / lora_rank. Default 32, the document's."""

    lora_dropout: Share = 0.05
    """Dropout on the adapters' input. Default 0.05, the document's."""

    lora_bias: Literal["none", "all", "lora_only"] = "none"
    """Which biases are trained. Default none."""

    lora_verbose: Flag = False
    """Log the wrapped modules and the number of trained weights. Default False, the document's."""

    target_modules: tuple[str, ...] = ("qkv_proj",)
    """Modules that get adapters, by the end of their name. Default [qkv_proj]."""

    load_lora_from_ckpt: Flag = False
    """Start from the adapters of resume_from_checkpoint. Default False."""

    save_lora_base: Flag = False
    """Save the base weights, too. Default False."""

    merge_lora: Flag = False
    """Save the sum of weights and adapters; needs save_lora_base. Default False."""

    save_lora_config_adapter: Flag = True
    """Save the adapters' configuration beside them. Default True."""

    merge_sharded_lora: Flag = False
    """Join the adapters' shards into one file. Default False."""


class AlignmentConfig(Section):
    """One of sft, dpo and orpo, and peft beside it; peft alone is sft with its defaults."""

    dpo: Annotated[DpoConfig | None, NotSupported(_PREFERENCES, "DPO")] = None
    """Direct preference optimisation: records of prompt, chosen, rejected. Default null."""

    sft: SftConfig | None = None
    """Supervised fine-tuning: records of input, output. {} is enough. Default null."""

    orpo: Annotated[OrpoConfig | None, NotSupported(_PREFERENCES, "ORPO")] = None
    """Odds-ratio preference optimisation: records of prompt, chosen, rejected. Default null."""

    peft: Annotated[PeftConfig | None, NotSupported(_ALL_WEIGHTS, "LoRA")] = None
    """LoRA adapters; beside any of the others. Default null: all weights are trained."""
