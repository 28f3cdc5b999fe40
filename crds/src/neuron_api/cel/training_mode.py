"""What the configuration is about, as CEL: where the architecture is written, pre-training or fine-tuning, which data
module, how long a sample (the same rules as `derive.alignment`)."""

from collections.abc import Callable
from typing import Final

from .expressions import flag, given, numbers_of, raw, text

IS_HF: Final = f"{text('model_source')} == 'hf'"
IS_MEGATRON: Final = f"{text('model_source')} == 'megatron'"

_ASKED: Final = " || ".join(f"has(s.{name})" for name in ("sft", "dpo", "orpo", "peft"))
IS_FINE_TUNING: Final = (
    f"({flag('data.use_sft_style_data_module')} || self.?model_alignment_strategy.optMap(s, {_ASKED}).orValue(false))"
)

READS_MEGATRON_DATA: Final = f"({IS_MEGATRON} && !{IS_FINE_TUNING})"

_LENGTH: Final = "data.seq_length"
_SAMPLE: Final = f"({IS_FINE_TUNING} && {given(_LENGTH)} ? {raw(_LENGTH)} : {raw('model.encoder_seq_length')})"


def sample(that: Callable[[str], str]) -> str:
    """Whether something holds for the tokens of a sample, where they are known."""
    return numbers_of([_SAMPLE], that, "m")
