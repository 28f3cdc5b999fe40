"""What the configuration is about, as CEL: where the architecture is written, pre-training or fine-tuning, which data
module, how long a sample (config-keys.md sections 1, 5 and 10; the same rules as `derive.alignment`)."""

from typing import Final

from .expressions import flag, given, number, text, whole

IS_HF: Final = f"{text('model_source')} == 'hf'"
IS_MEGATRON: Final = f"{text('model_source')} == 'megatron'"

_ASKED: Final = " || ".join(f"has(s.{name})" for name in ("sft", "dpo", "orpo", "peft"))
IS_FINE_TUNING: Final = (
    f"({flag('data.use_sft_style_data_module')} || self.?model_alignment_strategy.optMap(s, {_ASKED}).orValue(false))"
)

READS_MEGATRON_DATA: Final = f"({IS_MEGATRON} && !{IS_FINE_TUNING})"

SAMPLE: Final = (
    f"({IS_FINE_TUNING} && {given('data.seq_length')} ? {number('data.seq_length')} : "
    f"{number('model.encoder_seq_length')})"
)
"""Tokens of a sample, within `IS_SAMPLE_KNOWN`."""
IS_SAMPLE_KNOWN: Final = whole("model.encoder_seq_length", "data.seq_length", absent=1)
