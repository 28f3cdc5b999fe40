"""What the training is for: pre-training or a fine-tuning algorithm, and the data module that follows from it."""

from typing import Final

from neuron_api.config import TrainingConfig

PRETRAIN: Final = "pretrain"


def strategy(config: TrainingConfig) -> str:
    """`pretrain`, or the algorithm of `model_alignment_strategy`, `+peft` with LoRA (section 10: peft alone is sft).

    `data.use_sft_style_data_module` means sft (section 5.4).
    """
    given = config.model_alignment_strategy
    has_peft = given is not None and given.peft is not None
    algorithm = "sft" if has_peft or config.data.use_sft_style_data_module else PRETRAIN
    if given is not None:
        named = (("sft", given.sft), ("dpo", given.dpo), ("orpo", given.orpo))
        algorithm = next((name for name, section in named if section is not None), algorithm)
    return f"{algorithm}+peft" if has_peft else algorithm


def reads_records(config: TrainingConfig) -> bool:
    """Whether the samples are made of records of text: with a strategy, unless a class of one's own gives them."""
    return strategy(config) != PRETRAIN and config.data.data_module is None


def data_module(model_source: str, chosen: str) -> str:
    """Section 1, `model_source`: either source with a strategy uses the alignment module."""
    if chosen != PRETRAIN:
        return "ModelAlignmentDataModule"
    return "MegatronDataModule" if model_source == "megatron" else "HFDataModule"


def rows_per_sample(chosen: str) -> int:
    """Chosen and rejected answers are two rows of one sample (B-13)."""
    return 2 if chosen.startswith(("dpo", "orpo")) else 1


def sequence_length(config: TrainingConfig, chosen: str) -> int:
    """Tokens of a row: `encoder_seq_length`; with a strategy `data.seq_length`, where it is set (A6)."""
    own = config.data.seq_length if chosen != PRETRAIN else None
    return own or config.model.encoder_seq_length
