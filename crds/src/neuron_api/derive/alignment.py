"""The training mode: pre-training or a fine-tuning algorithm with or without adapters, and what follows from it."""

from enum import StrEnum
from typing import Final

from neuron_api.config import DpoConfig, OrpoConfig, PeftConfig, TrainingConfig

PRETRAIN: Final = "pretrain"


class Reference(StrEnum):
    """Where the log-probabilities of the model that the job started with come from."""

    PRECOMPUTED = "precomputed"
    """One pass over the training set before step 1."""
    WITHOUT_ADAPTERS = "without adapters"
    """The model itself in each step, with its adapters switched off; trained biases are kept as they began."""
    SECOND_MODEL = "second model"
    """A frozen copy in each step."""


def algorithm(config: TrainingConfig) -> str:
    """Return `pretrain`, `sft`, `dpo` or `orpo`; peft alone is sft, and so is `data.use_sft_style_data_module`."""
    sections = config.model_alignment_strategy
    if sections is not None:
        named = (("sft", sections.sft), ("dpo", sections.dpo), ("orpo", sections.orpo))
        for name, section in named:
            if section is not None:
                return name
    return "sft" if adapters(config) is not None or config.data.use_sft_style_data_module else PRETRAIN


def strategy(config: TrainingConfig) -> str:
    """Return the algorithm, with `+peft` for LoRA."""
    return f"{algorithm(config)}+peft" if adapters(config) is not None else algorithm(config)


def adapters(config: TrainingConfig) -> PeftConfig | None:
    """Return the section of LoRA; None if all weights are trained."""
    return config.model_alignment_strategy.peft if config.model_alignment_strategy else None


def preferences(config: TrainingConfig) -> DpoConfig | OrpoConfig | None:
    """Return the section of the algorithm that trains on pairs; None for the others."""
    sections = config.model_alignment_strategy
    return (sections.dpo or sections.orpo) if sections and algorithm(config) in ("dpo", "orpo") else None


def packs(config: TrainingConfig) -> bool:
    """Return whether records are joined up to the length of a row."""
    sections = config.model_alignment_strategy
    return sections is not None and sections.sft is not None and sections.sft.packing


def isolates_records(config: TrainingConfig) -> bool:
    """Return whether the records of a packed row do not see each other."""
    sections = config.model_alignment_strategy
    return packs(config) and sections is not None and sections.sft is not None and sections.sft.isolate_records


def weighs_tokens(config: TrainingConfig) -> bool:
    """Return whether each label of a global batch weighs the same; a pair always weighs as much as another."""
    if preferences(config) is not None:
        return False
    sections = config.model_alignment_strategy
    sft = sections.sft if sections else None
    return config.model.token_weighted_loss or (sft is not None and sft.token_weighted_loss)


def reference(config: TrainingConfig) -> Reference | None:
    """Return where the reference's log-probabilities of DPO come from; None for other algorithms."""
    section = preferences(config)
    if not isinstance(section, DpoConfig):
        return None
    if section.precompute_ref_log_probs:
        return Reference.PRECOMPUTED
    return Reference.SECOND_MODEL if adapters(config) is None else Reference.WITHOUT_ADAPTERS


def reads_records(config: TrainingConfig) -> bool:
    """Return whether the samples are text records: with a strategy, unless the user's own data module is set."""
    return algorithm(config) != PRETRAIN and config.data.data_module is None


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
