"""`data` and `data.tokenizer`: keys that each of the three data modules requires, and keys that none of them has."""

from collections.abc import Iterator
from typing import Final

from neuron_api.platform import inputs

from .alignment import IS_FINE_TUNING, READS_MEGATRON_DATA
from .expressions import flag, is_above, is_interpolated, is_other, is_set, numbers, text, untyped, value_of
from .rule import Rule, RuleReason

_TEMPLATE_NAMES: Final = ("data.dataset_name", "data.subset_name", "data.prompt_name", "data.tokenizer.delimiter")
_NEMO_SECTIONS: Final = ("data.train_ds", "data.fine_tuning")
_LENGTH, _MODEL_LENGTH = "data.seq_length", "model.encoder_seq_length"
_USER_MODULE: Final = "data.data_module"
_CLASS: Final = r"^[A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_]*$"


def rules() -> Iterator[Rule]:
    """Yield the rules of directories, files, lengths and tokenizer."""
    name = value_of(_USER_MODULE)
    yield Rule(
        2417,
        _USER_MODULE,
        f'{is_set(_USER_MODULE)} && !{is_interpolated(_USER_MODULE)} && !{name}.matches(r"{_CLASS}")',
    )
    yield from _directories()
    yield from _megatron()
    yield from _records()
    yield from _tokenizer()
    for key in _TEMPLATE_NAMES:
        yield Rule(2410, key, f"{is_set(key)} && !{is_interpolated(key)}", reason=RuleReason.FORBIDDEN)
    for key in _NEMO_SECTIONS:
        yield Rule(
            2410,
            key,
            f"{untyped(key)}.hasValue() && {untyped(key)}.orValue(false) != false",
            reason=RuleReason.FORBIDDEN,
        )


def _directories() -> Iterator[Rule]:
    train, val = "data.train_dir", "data.val_dir"
    yield Rule(
        2401,
        train,
        f"{text(train)} == '' && !{is_set(_USER_MODULE)} && !{READS_MEGATRON_DATA}",
        reason=RuleReason.REQUIRED,
    )
    missing = f"{text(val)} == '' && {is_above('trainer.limit_val_batches', 0)}"
    yield Rule(2402, val, f"{missing} && !{is_set(_USER_MODULE)} && !{READS_MEGATRON_DATA}", reason=RuleReason.REQUIRED)


def _megatron() -> Iterator[Rule]:
    prefix = "data.data_prefix"
    missing = f"(!{untyped(prefix)}.hasValue() || {untyped(prefix)}.orValue('') == '')"
    yield Rule(
        2403, prefix, f"{READS_MEGATRON_DATA} && !{is_set(_USER_MODULE)} && {missing}", reason=RuleReason.REQUIRED
    )
    yield Rule(2405, "data.data_impl", f"{READS_MEGATRON_DATA} && {is_other('data.data_impl', 'mmap')}")
    pads, drops = flag("data.pad_samples_to_global_batch_size"), flag("data.validation_drop_last")
    yield Rule(2409, "data.validation_drop_last", f"{READS_MEGATRON_DATA} && !{drops} && !{pads}")


def _records() -> Iterator[Rule]:
    yield Rule(2905, _LENGTH, f"!{is_set(_LENGTH)} && {IS_FINE_TUNING}", reason=RuleReason.REQUIRED)
    yield Rule(2407, _LENGTH, f"{is_set(_LENGTH)} && {numbers(_LENGTH, _MODEL_LENGTH, condition=_does_not_fit)}")
    for key in ("data.train_dir", "data.val_dir"):
        path = value_of(key)
        has_other_suffix = f'{path}.matches(r"{inputs.SUFFIX}") && !{path}.matches(r"{inputs.RECORDS}")'
        yield Rule(2415, key, f"{IS_FINE_TUNING} && {is_set(key)} && !{path}.contains('$') && {has_other_suffix}")


def _does_not_fit(length: str, model_length: str) -> str:
    return f"{length} != {model_length} && ({IS_FINE_TUNING} ? {length} > {model_length} : {READS_MEGATRON_DATA})"


def _tokenizer() -> Iterator[Rule]:
    section, kind, model = "data.tokenizer", "data.tokenizer.type", "data.tokenizer.model"
    vocabulary, merges = "data.tokenizer.vocab_file", "data.tokenizer.merge_file"
    is_needed = f"({IS_FINE_TUNING} || {READS_MEGATRON_DATA})"
    yield Rule(2411, section, f"!{is_set(section)} && {is_needed}", reason=RuleReason.REQUIRED)
    is_empty = " && ".join(f"{text(key)} == ''" for key in (kind, model, vocabulary))
    yield Rule(2411, kind, f"{is_set(section)} && {is_empty} && {is_needed}", reason=RuleReason.REQUIRED)
    for missing, other in ((merges, vocabulary), (vocabulary, merges)):
        has_other = f"{is_set(other)} && !{is_interpolated(other)}"
        yield Rule(2412, missing, f"{has_other} && !{is_set(missing)}", reason=RuleReason.REQUIRED)
    is_sentencepiece = f"{text('data.tokenizer.library')} == 'sentencepiece'"
    yield Rule(2413, model, f"{is_sentencepiece} && !{is_set(model)}", reason=RuleReason.REQUIRED)
