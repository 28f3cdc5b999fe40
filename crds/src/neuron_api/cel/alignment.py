"""`model_alignment_strategy`."""

from collections.abc import Iterator
from typing import Final

from .expressions import flag, is_set, numbers
from .rule import Rule, RuleReason

_SECTION: Final = "model_alignment_strategy"
_LENGTH: Final = "data.seq_length"


def rules() -> Iterator[Rule]:
    """Yield the rules of algorithm, prompts and adapters."""
    chosen = " + ".join(f"({is_set(f'{_SECTION}.{name}')} ? 1 : 0)" for name in ("dpo", "sft", "orpo"))
    yield Rule(2901, _SECTION, f"{chosen} > 1")
    for name in ("dpo", "orpo"):
        section, key = f"{_SECTION}.{name}", f"{_SECTION}.{name}.max_prompt_length"
        yield Rule(2902, key, f"{is_set(section)} && !{is_set(key)}", reason=RuleReason.REQUIRED)
        too_long = numbers(key, _LENGTH, condition=lambda prompt, length: f"{prompt} >= {length}")
        yield Rule(2903, key, f"{is_set(key)} && {too_long}")
    precomputed = f"{_SECTION}.dpo.precompute_ref_log_probs"
    yield Rule(2904, precomputed, f"!{flag(precomputed)}")
    merge, base = f"{_SECTION}.peft.merge_lora", f"{_SECTION}.peft.save_lora_base"
    yield Rule(2906, merge, f"{flag(merge)} && !{flag(base)}")
