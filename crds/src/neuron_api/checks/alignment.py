"""`model_alignment_strategy`: one algorithm, its lengths, what it starts from, LoRA's files."""

from collections.abc import Iterator
from typing import Final

from neuron_api.config import DpoConfig, OrpoConfig, PeftConfig, TrainingConfig
from neuron_api.derive import alignment
from neuron_api.findings.finding import Finding
from neuron_api.findings.registry import make_finding

from . import adapters

_SECTION: Final = "model_alignment_strategy"
_START: Final = "exp_manager.resume_from_checkpoint"


def check(config: TrainingConfig) -> Iterator[Finding]:
    """Yield the findings of fine-tuning; none for pre-training."""
    if alignment.algorithm(config) == alignment.PRETRAIN:
        return
    if config.data.seq_length is None:
        yield make_finding(2905, "data.seq_length", "it is not set, and records are padded or packed to it.")
    sections = config.model_alignment_strategy
    if sections is None:
        return
    chosen = [name for name in ("dpo", "sft", "orpo") if getattr(sections, name) is not None]
    if len(chosen) > 1:
        yield make_finding(2901, _SECTION, f"{' and '.join(chosen)} are alternatives.")
    for name, section in (("dpo", sections.dpo), ("orpo", sections.orpo)):
        if section is not None:
            yield from _preferences(config, f"{_SECTION}.{name}", section)
    if sections.peft is not None:
        yield from _adapters(config, sections.peft, is_alone=not chosen)
    sft = sections.sft
    if sft is not None and sft.isolate_records and not sft.packing:
        yield make_finding(2917, f"{_SECTION}.sft.isolate_records", "a row has one record: packing is False.")
    yield from _start(config)


def _preferences(config: TrainingConfig, section: str, algorithm: DpoConfig | OrpoConfig) -> Iterator[Finding]:
    prompt, length = algorithm.max_prompt_length, config.data.seq_length
    if prompt is None:
        yield make_finding(2902, f"{section}.max_prompt_length", "it is required.")
    elif length is not None and prompt >= length:
        yield make_finding(
            2903, f"{section}.max_prompt_length", f"{prompt} leaves no token of data.seq_length {length} to the answer."
        )
    if config.data.packing:
        yield make_finding(2914, "data.packing", "pairs are padded, not packed.")
    if config.model.token_weighted_loss:
        yield make_finding(2914, "model.token_weighted_loss", "every pair weighs the same.")


def _adapters(config: TrainingConfig, peft: PeftConfig, *, is_alone: bool) -> Iterator[Finding]:
    section = adapters.SECTION
    if is_alone:
        yield make_finding(2909, section, "without sft, dpo or orpo it is sft with its defaults.")
    yield from adapters.check_names(peft)
    if peft.merge_lora and not peft.save_lora_base:
        yield make_finding(2906, f"{section}.merge_lora", "it needs save_lora_base, which is False.")
    if peft.load_lora_from_ckpt and config.exp_manager.resume_from_checkpoint is None:
        yield make_finding(2908, f"{section}.load_lora_from_ckpt", f"{_START} is not set.")


def _start(config: TrainingConfig) -> Iterator[Finding]:
    """Yield a finding where what is tuned, or the reference, would be random weights."""
    if config.exp_manager.resume_from_checkpoint is not None:
        return
    if alignment.adapters(config) is not None:
        yield make_finding(2913, _START, "it is not set: the frozen base of the adapters is random weights.")
    elif alignment.algorithm(config) == "dpo":
        yield make_finding(2913, _START, "it is not set: policy and reference of dpo are random weights.")
