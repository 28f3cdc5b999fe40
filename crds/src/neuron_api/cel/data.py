"""`data` and `data.tokenizer`: what each of the three data modules needs, and what none of them does."""

from collections.abc import Iterator
from typing import Final

from neuron_api.platform import suffixes

from .expressions import above, flag, given, is_interpolated, is_other, loose, numbers, plain, text
from .rule import Rule, RuleReason
from .training_mode import IS_FINE_TUNING, READS_MEGATRON_DATA

_NAMES: Final = ("data.dataset_name", "data.subset_name", "data.prompt_name", "data.tokenizer.delimiter")
_SECTIONS: Final = ("data.train_ds", "data.fine_tuning")
_LENGTH, _LONGEST = "data.seq_length", "model.encoder_seq_length"


_OWN: Final = "data.data_module"
_CLASS: Final = r"^[A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_]*$"


def rules() -> Iterator[Rule]:
    """Directories, files, lengths, tokenizer."""
    name = plain(_OWN)
    yield Rule(2417, _OWN, f'{given(_OWN)} && !{is_interpolated(_OWN)} && !{name}.matches(r"{_CLASS}")')
    yield from _directories()
    yield from _megatron()
    yield from _records()
    yield from _tokenizer()
    for key in _NAMES:
        yield Rule(2410, key, f"{given(key)} && !{is_interpolated(key)}", reason=RuleReason.FORBIDDEN)
    for key in _SECTIONS:
        yield Rule(
            2410, key, f"{loose(key)}.hasValue() && {loose(key)}.orValue(false) != false", reason=RuleReason.FORBIDDEN
        )


def _directories() -> Iterator[Rule]:
    train, val = "data.train_dir", "data.val_dir"
    yield Rule(
        2401, train, f"{text(train)} == '' && !{given(_OWN)} && !{READS_MEGATRON_DATA}", reason=RuleReason.REQUIRED
    )
    missing = f"{text(val)} == '' && {above('trainer.limit_val_batches', 0)}"
    yield Rule(2402, val, f"{missing} && !{given(_OWN)} && !{READS_MEGATRON_DATA}", reason=RuleReason.REQUIRED)


def _megatron() -> Iterator[Rule]:
    prefix = "data.data_prefix"
    missing = f"(!{loose(prefix)}.hasValue() || {loose(prefix)}.orValue('') == '')"
    yield Rule(2403, prefix, f"{READS_MEGATRON_DATA} && !{given(_OWN)} && {missing}", reason=RuleReason.REQUIRED)
    yield Rule(2405, "data.data_impl", f"{READS_MEGATRON_DATA} && {is_other('data.data_impl', 'mmap')}")
    pads, drops = flag("data.pad_samples_to_global_batch_size"), flag("data.validation_drop_last")
    yield Rule(2409, "data.validation_drop_last", f"{READS_MEGATRON_DATA} && !{drops} && !{pads}")


def _records() -> Iterator[Rule]:
    yield Rule(2905, _LENGTH, f"!{given(_LENGTH)} && {IS_FINE_TUNING}", reason=RuleReason.REQUIRED)
    yield Rule(2407, _LENGTH, f"{given(_LENGTH)} && {numbers(_LENGTH, _LONGEST, that=_does_not_fit)}")
    for key in ("data.train_dir", "data.val_dir"):
        path = plain(key)
        is_file = f'{path}.matches(r"{suffixes.RECORDS}")'
        yield Rule(
            2415, key, f"{IS_FINE_TUNING} && {given(key)} && {path} != '' && !{path}.contains('$') && !{is_file}"
        )


def _does_not_fit(own: str, longest: str) -> str:
    return f"{own} != {longest} && ({IS_FINE_TUNING} ? {own} > {longest} : {READS_MEGATRON_DATA})"


def _tokenizer() -> Iterator[Rule]:
    section, kind, model = "data.tokenizer", "data.tokenizer.type", "data.tokenizer.model"
    vocabulary, merges = "data.tokenizer.vocab_file", "data.tokenizer.merge_file"
    is_needed = f"({IS_FINE_TUNING} || {READS_MEGATRON_DATA})"
    yield Rule(2411, section, f"!{given(section)} && {is_needed}", reason=RuleReason.REQUIRED)
    is_empty = " && ".join(f"{text(key)} == ''" for key in (kind, model, vocabulary))
    yield Rule(2411, kind, f"{given(section)} && {is_empty} && {is_needed}", reason=RuleReason.REQUIRED)
    for missing, other in ((merges, vocabulary), (vocabulary, merges)):
        one = f"{given(other)} && !{is_interpolated(other)}"
        yield Rule(2412, missing, f"{one} && !{given(missing)}", reason=RuleReason.REQUIRED)
    is_sentencepiece = f"{text('data.tokenizer.library')} == 'sentencepiece'"
    yield Rule(2413, model, f"{is_sentencepiece} && !{given(model)}", reason=RuleReason.REQUIRED)
