"""`model_alignment_strategy`; and the training mode as CEL: source of the architecture, pre-training or fine-tuning,
data module, sample length (the same rules as `derive.alignment`)."""

from collections.abc import Callable, Iterator
from typing import Final

from neuron_api.derive import adapters

from .expressions import flag, is_set, numbers, numbers_of, raw, text, value_of
from .rule import Rule, RuleReason

_SECTION: Final = "model_alignment_strategy"
_LENGTH: Final = "data.seq_length"
_JOINED: Final = {
    path.rpartition(".")[2]: [part.rpartition(".")[2] for part in parts] for path, parts in adapters.JOINED.items()
}


def rules() -> Iterator[Rule]:
    """Yield the rules of algorithm, prompts and adapters."""
    chosen = " + ".join(f"({is_set(f'{_SECTION}.{name}')} ? 1 : 0)" for name in ("dpo", "sft", "orpo"))
    yield Rule(2901, _SECTION, f"{chosen} > 1")
    for name in ("dpo", "orpo"):
        section, key = f"{_SECTION}.{name}", f"{_SECTION}.{name}.max_prompt_length"
        yield Rule(2902, key, f"{is_set(section)} && !{is_set(key)}", reason=RuleReason.REQUIRED)
        too_long = numbers(key, _LENGTH, condition=lambda prompt, length: f"{prompt} >= {length}")
        yield Rule(2903, key, f"{is_set(key)} && {too_long}")
    merge, base = f"{_SECTION}.peft.merge_lora", f"{_SECTION}.peft.save_lora_base"
    yield Rule(2906, merge, f"{flag(merge)} && !{flag(base)}")
    targets = f"{_SECTION}.peft.target_modules"
    twice = " || ".join(
        f"('{joined}' in t && [{', '.join(map(repr, parts))}].exists(x, x in t))" for joined, parts in _JOINED.items()
    )
    yield Rule(2910, targets, f"{is_set(targets)} && [{value_of(targets)}].exists(t, {twice})")


IS_HF: Final = f"{text('model_source')} == 'hf'"
IS_MEGATRON: Final = f"{text('model_source')} == 'megatron'"

_HAS_ALGORITHM: Final = " || ".join(f"has(s.{name})" for name in ("sft", "dpo", "orpo", "peft"))
IS_FINE_TUNING: Final = (
    f"({flag('data.use_sft_style_data_module')} || "
    f"self.?model_alignment_strategy.optMap(s, {_HAS_ALGORITHM}).orValue(false))"
)

READS_MEGATRON_DATA: Final = f"({IS_MEGATRON} && !{IS_FINE_TUNING})"

_ROW_LENGTH: Final = "data.seq_length"
_SAMPLE_LENGTH: Final = (
    f"({IS_FINE_TUNING} && {is_set(_ROW_LENGTH)} ? {raw(_ROW_LENGTH)} : {raw('model.encoder_seq_length')})"
)


def for_sample_length(condition: Callable[[str], str]) -> str:
    """Return an expression that is true if the condition holds for the tokens of a sample."""
    return numbers_of([_SAMPLE_LENGTH], condition, "m")
