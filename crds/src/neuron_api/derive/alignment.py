"""The training mode: pre-training or a fine-tuning algorithm, and the data module that follows from it."""

from typing import Final

from neuron_api.config import TrainingConfig

PRETRAIN: Final = "pretrain"


def strategy(config: TrainingConfig) -> str:
    """Return `pretrain`, or the algorithm of `model_alignment_strategy`, with `+peft` for LoRA (peft alone is sft).

    `data.use_sft_style_data_module` means sft.
    """
    sections = config.model_alignment_strategy
    has_peft = sections is not None and sections.peft is not None
    algorithm = "sft" if has_peft or config.data.use_sft_style_data_module else PRETRAIN
    if sections is not None:
        named = (("sft", sections.sft), ("dpo", sections.dpo), ("orpo", sections.orpo))
        algorithm = next((name for name, section in named if section is not None), algorithm)
    return f"{algorithm}+peft" if has_peft else algorithm


def reads_records(config: TrainingConfig) -> bool:
    """Return whether the samples are text records: with a strategy, unless the user's own data module is set."""
    return strategy(config) != PRETRAIN and config.data.data_module is None


def data_module(model_source: str, strategy_name: str) -> str:
    """Return the data module; with a strategy, either source uses the alignment module."""
    if strategy_name != PRETRAIN:
        return "ModelAlignmentDataModule"
    return "MegatronDataModule" if model_source == "megatron" else "HFDataModule"


def rows_per_sample(strategy_name: str) -> int:
    """Return the rows of a sample: two with chosen and rejected answers."""
    return 2 if strategy_name.startswith(("dpo", "orpo")) else 1


def sequence_length(config: TrainingConfig, strategy_name: str) -> int:
    """Return the tokens of a row: `encoder_seq_length`; with a strategy `data.seq_length` if it is set (A6)."""
    data_length = config.data.seq_length if strategy_name != PRETRAIN else None
    return data_length or config.model.encoder_seq_length
