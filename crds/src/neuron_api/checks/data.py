"""`data`: keys that each of the three data modules requires, keys that none of them has, and the tokenizer."""

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from neuron_api.config import TokenizerConfig, TrainingConfig
from neuron_api.derive import alignment
from neuron_api.findings.finding import Finding
from neuron_api.findings.registry import make_finding
from neuron_api.platform import inputs

_NEMO: Final = ("dataset_name", "subset_name", "prompt_name", "train_ds", "fine_tuning")
_PARTS: Final = ("train", "validation", "test")
_CLASS: Final = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", re.ASCII)
_SPLITS: Final = re.compile(r"\d+(\.\d+)?([,/]\s*\d+(\.\d+)?){0,2}")


def check(config: TrainingConfig) -> Iterator[Finding]:
    """Yield the findings by the data module that the configuration selects, and about the tokenizer."""
    yield from _tokenizer(config)
    module = alignment.data_module(config.model_source, alignment.strategy(config))
    data = config.data
    for key in _NEMO:
        if getattr(data, key) not in (None, False):
            yield make_finding(2410, f"data.{key}", "there is nothing behind this key of NeMo's here.")
    if data.data_module is not None and "${" not in data.data_module and not _CLASS.fullmatch(data.data_module):
        yield make_finding(2417, "data.data_module", f"{data.data_module[:60]!r} is no class.")
    if data.dev_choose_samples is not None and module != "ModelAlignmentDataModule":
        yield make_finding(2414, "data.dev_choose_samples", f"{module} does not read it.")
    if data.shuffle_rows and module != "HFDataModule" and data.data_module is None:
        yield make_finding(2414, "data.shuffle_rows", f"{module} does not read it.")
    if module == "MegatronDataModule":
        yield from _megatron(config)
        return
    if data.data_prefix is not None:
        yield make_finding(2414, "data.data_prefix", f"{module} does not read it.")
    yield from _directories(config)
    if module == "ModelAlignmentDataModule":
        yield from _records(config)


def _directories(config: TrainingConfig) -> Iterator[Finding]:
    data = config.data
    if data.data_module is not None:
        return
    if not data.train_dir:
        yield make_finding(2401, "data.train_dir", "it is not set: there is nothing to train on.")
    if config.trainer.limit_val_batches and not data.val_dir:
        yield make_finding(
            2402, "data.val_dir", f"it is not set, but trainer.limit_val_batches is {config.trainer.limit_val_batches}."
        )


def _records(config: TrainingConfig) -> Iterator[Finding]:
    data, model_length = config.data, config.model.encoder_seq_length
    for key in ("train_dir", "val_dir"):
        path = getattr(data, key)
        if not path or "$" in path or not re.search(inputs.SUFFIX, path):
            continue
        if not re.search(inputs.RECORDS, path):
            yield make_finding(2415, f"data.{key}", f"{path!r} has no suffix of a file of records.")
    if data.seq_length is None:
        return
    if data.seq_length > model_length:
        yield make_finding(
            2407, "data.seq_length", f"{data.seq_length} is more than model.encoder_seq_length {model_length}."
        )
    elif data.seq_length < model_length:
        yield make_finding(
            2408,
            "data.seq_length",
            f"{data.seq_length} is less than model.encoder_seq_length {model_length}; the model runs at "
            f"{data.seq_length}.",
        )


def _megatron(config: TrainingConfig) -> Iterator[Finding]:
    data, length = config.data, config.model.encoder_seq_length
    if not data.data_prefix and data.data_module is None:
        yield make_finding(2403, "data.data_prefix", "it is not set: there is nothing to train on.")
    elif data.data_prefix and (problem := _blend_problem(data.data_prefix)):
        yield make_finding(2404, "data.data_prefix", problem)
    if data.data_impl != "mmap":
        yield make_finding(2405, "data.data_impl", f"{data.data_impl!r} does not exist here.")
    if "${" not in data.splits_string and not _is_splits(data.splits_string):
        yield make_finding(2406, "data.splits_string", f"{data.splits_string[:60]!r} are not proportions of documents.")
    elif not isinstance(data.data_prefix, dict) and "${" not in data.splits_string and data.data_module is None:
        yield from _empty_splits(config)
    if data.seq_length is not None and data.seq_length != length:
        yield make_finding(
            2407,
            "data.seq_length",
            f"Megatron samples are as long as the model's: {data.seq_length} is not model.encoder_seq_length {length}.",
        )
    if not data.validation_drop_last and not data.pad_samples_to_global_batch_size:
        yield make_finding(2409, "data.validation_drop_last", "False needs pad_samples_to_global_batch_size True.")


def _empty_splits(config: TrainingConfig) -> Iterator[Finding]:
    text = config.data.splits_string.strip()
    train, validation, *_ = [*(float(number) for number in re.split(r"[,/]", text)), 0.0, 0.0]
    if not train:
        yield make_finding(
            2418, "data.splits_string", f"'{text}' gives no documents to train.", "Give train a proportion."
        )
    if not validation and config.trainer.limit_val_batches:
        message = f"'{text}' gives no documents to validation, and trainer.limit_val_batches is not 0."
        yield make_finding(2418, "data.splits_string", message)


def _is_splits(text: str) -> bool:
    return _SPLITS.fullmatch(text.strip()) is not None and any(float(n) > 0 for n in re.split(r"[,/]", text))


def _blend_problem(prefix: Any) -> str:
    """Return what is wrong with a `data_prefix`; empty if nothing is."""
    if isinstance(prefix, dict):
        if extra := [str(key) for key in prefix if key not in _PARTS]:
            return f"it has {extra[0][:60]!r} beside {', '.join(_PARTS)}."
        if not prefix.get("train"):
            return "it has no train."
        return next((problem for part in prefix.values() if part and (problem := _blend_problem(part))), "")
    if isinstance(prefix, str):
        return ""
    if not isinstance(prefix, Sequence):
        return f"{prefix!r} is neither a path, a list nor a mapping."
    return _list_problem(prefix)


def _list_problem(items: Sequence[Any]) -> str:
    if len(items) == 1:
        return "" if isinstance(items[0], str) else f"{items[0]!r} is not a path."
    if len(items) % 2:
        return f"a list of {len(items)} does not alternate weights and prefixes."
    for weight, path in zip(items[::2], items[1::2], strict=True):
        if not _is_weight(weight):
            return f"{weight!r} stands where a weight is expected."
        if not isinstance(path, str):
            return f"{path!r} stands where a prefix is expected."
    return ""


def _is_weight(value: Any) -> bool:
    try:
        return float(value) >= 0
    except (TypeError, ValueError):
        return isinstance(value, str) and "${" in value


def _tokenizer(config: TrainingConfig) -> Iterator[Finding]:
    """Yield the findings about a missing or incomplete tokenizer."""
    module = alignment.data_module(config.model_source, alignment.strategy(config))
    tokenizer = config.data.tokenizer
    if module != "HFDataModule" and tokenizer is None:
        yield make_finding(2411, "data.tokenizer", f"it is not set, and {module} needs it.")
    if tokenizer is None:
        return
    if module != "HFDataModule" and not (tokenizer.type or tokenizer.model or tokenizer.vocab_file):
        yield make_finding(2411, "data.tokenizer.type", f"it is not set, and {module} needs the tokenizer.")
    yield from _tokenizer_parts(tokenizer)


def _tokenizer_parts(tokenizer: TokenizerConfig) -> Iterator[Finding]:
    if (tokenizer.vocab_file is None) != (tokenizer.merge_file is None):
        missing = "merge_file" if tokenizer.merge_file is None else "vocab_file"
        yield make_finding(
            2412, f"data.tokenizer.{missing}", "it is not set, but the other of vocab_file and merge_file is."
        )
    if tokenizer.library == "sentencepiece" and tokenizer.model is None:
        yield make_finding(2413, "data.tokenizer.model", "it is not set, and library is sentencepiece.")
    if tokenizer.delimiter is not None:
        yield make_finding(2410, "data.tokenizer.delimiter", "tokenizers of tables are not supported.")
    if tokenizer.library == "megatron" and "/" in (tokenizer.type or ""):
        yield make_finding(2416, "data.tokenizer.library", "type is a directory: it is read as huggingface.")
