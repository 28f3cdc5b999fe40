"""`model_alignment_strategy`: one algorithm, its lengths, LoRA's targets and files."""

from collections.abc import Iterator
from typing import Final

from neuron_api.config import DpoConfig, OrpoConfig, PeftConfig, TrainingConfig
from neuron_api.derive import alignment
from neuron_api.findings.finding import Finding
from neuron_api.findings.registry import make_finding

_SECTION: Final = "model_alignment_strategy"
TARGETS: Final = (
    "qkv_proj", "q_proj", "k_proj", "v_proj", "o_proj", "gate_up_proj", "gate_proj", "up_proj", "down_proj",
    "embed_tokens", "lm_head",
)  # fmt: skip
"""Values of `peft.target_modules`."""


def check(config: TrainingConfig) -> Iterator[Finding]:
    """Yield the findings of fine-tuning; none for pre-training."""
    if alignment.strategy(config) == alignment.PRETRAIN:
        return
    if config.data.seq_length is None:
        yield make_finding(2905, "data.seq_length", "it is not set, and records are padded or packed to it.")
    sections = config.model_alignment_strategy
    if sections is None:
        return
    chosen = [name for name in ("dpo", "sft", "orpo") if getattr(sections, name) is not None]
    if len(chosen) > 1:
        yield make_finding(2901, _SECTION, f"{', '.join(chosen)} are alternatives: pick one of dpo, sft, orpo.")
    for name, section in (("dpo", sections.dpo), ("orpo", sections.orpo)):
        if section is not None:
            yield from _preferences(config, f"{_SECTION}.{name}", section)
    if sections.peft is not None:
        yield from _adapters(config, sections.peft)


def _preferences(config: TrainingConfig, section: str, algorithm: DpoConfig | OrpoConfig) -> Iterator[Finding]:
    prompt, length = algorithm.max_prompt_length, config.data.seq_length
    if prompt is None:
        yield make_finding(2902, f"{section}.max_prompt_length", "it is required.")
    elif length is not None and prompt >= length:
        yield make_finding(
            2903, f"{section}.max_prompt_length", f"{prompt} leaves no token of data.seq_length {length} to the answer."
        )
    if isinstance(algorithm, DpoConfig) and not algorithm.precompute_ref_log_probs:
        yield make_finding(2904, f"{section}.precompute_ref_log_probs", "False is not supported.")


def _adapters(config: TrainingConfig, peft: PeftConfig) -> Iterator[Finding]:
    section = f"{_SECTION}.peft"
    for name in peft.target_modules:
        if name.rpartition(".")[2] not in TARGETS:
            yield make_finding(
                2907, f"{section}.target_modules", f"no module's name ends with {name[:60]!r}.",
                f"Use {', '.join(TARGETS)}.",
            )  # fmt: skip
    if peft.merge_lora and not peft.save_lora_base:
        yield make_finding(2906, f"{section}.merge_lora", "it needs save_lora_base, which is False.")
    if peft.load_lora_from_ckpt and config.exp_manager.resume_from_checkpoint is None:
        yield make_finding(2908, f"{section}.load_lora_from_ckpt", "exp_manager.resume_from_checkpoint is not set.")
