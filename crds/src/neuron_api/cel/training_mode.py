"""The training mode as CEL: source of the architecture, pre-training or fine-tuning, data module, sample length (the
same rules as `derive.alignment`)."""

from collections.abc import Callable
from typing import Final

from .expressions import flag, is_set, numbers_of, raw, text

IS_HF: Final = f"{text('model_source')} == 'hf'"
IS_MEGATRON: Final = f"{text('model_source')} == 'megatron'"

_HAS_ALGORITHM: Final = " || ".join(f"has(s.{name})" for name in ("sft", "dpo", "orpo", "peft"))
IS_FINE_TUNING: Final = (
    f"({flag('data.use_sft_style_data_module')} || "
    f"self.?model_alignment_strategy.optMap(s, {_HAS_ALGORITHM}).orValue(false))"
)

READS_MEGATRON_DATA: Final = f"({IS_MEGATRON} && !{IS_FINE_TUNING})"

_LENGTH: Final = "data.seq_length"
_SAMPLE: Final = f"({IS_FINE_TUNING} && {is_set(_LENGTH)} ? {raw(_LENGTH)} : {raw('model.encoder_seq_length')})"


def for_sample_length(condition: Callable[[str], str]) -> str:
    """Return an expression that is true if the condition holds for the tokens of a sample."""
    return numbers_of([_SAMPLE], condition, "m")
