"""From the configuration to the samples of one part: tokenised once, and kept beside the file until that is another."""

import logging
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from neuron_api.config import DataConfig, TrainingConfig
from neuron_api.findings.finding import Finding, error
from neuron_trainer.data import tokenizer
from neuron_trainer.data.cache import Arrays, CacheEntry
from neuron_trainer.data.formats.detection import detect
from neuron_trainer.data.formats.errors import FormatError, reading
from neuron_trainer.data.paths import expanded, is_directory
from neuron_trainer.data.samples import FOLDER, Part
from neuron_trainer.errors import InputError

from . import packed, pieces, records

log = logging.getLogger(__name__)


def samples(config: TrainingConfig, part: Part, *, is_builder: bool) -> packed.SftSamples:
    """One process of all tokenises; raises `InputError`."""
    key, path = f"data.{FOLDER[part]}", getattr(config.data, FOLDER[part])
    if not path:
        raise InputError([error(key, "it is not set.", "Give a file of records.")])
    entry = _entry(config, part, key, expanded(path))
    arrays = entry.obtain(lambda: _tokenised(config, key, str(path)), is_builder=is_builder)
    return packed.SftSamples(arrays, config.model.encoder_seq_length)


def check(config: TrainingConfig, part: Part, vocabulary: int) -> list[Finding]:
    """What would go wrong later; the file is tokenised here, before any process waits for it."""
    try:
        found = samples(config, part, is_builder=True)
    except InputError as problem:
        return list(problem.findings)
    key, batch = f"data.{FOLDER[part]}", config.data.global_batch_size
    if found.note:
        log.warning("%s: %s", key, found.note)
    if len(found) < batch:
        return [error(key, f"its records are {len(found)} samples, fewer than one global batch of {batch}.",
                      "Use more records or a smaller data.global_batch_size.")]  # fmt: skip
    if (highest := found.highest()) >= vocabulary:
        return [error("data.tokenizer.type", f"it gave token id {highest}, the model's vocab_size is {vocabulary}.",
                      "Use the tokenizer that belongs to the model.")]  # fmt: skip
    return []


def _entry(config: TrainingConfig, part: Part, key: str, file: Path) -> CacheEntry:
    data = config.data
    try:
        detect(file, is_records=True)  # a pipe or a device would be read without an end
        with reading(file):
            contents = zlib.crc32(file.read_bytes())
    except FormatError as problem:
        raise records.fault(key, problem) from None
    facts = {
        "contents": contents,
        "tokenizer": _tokenizer_files(data),
        "length": config.model.encoder_seq_length,
        "packing": _packs(config),
        "records": data.dev_choose_samples,
        "format": 2,
    }
    mark = zlib.crc32(repr(sorted(facts.items())).encode())
    folder = expanded(data.index_mapping_dir) if data.index_mapping_dir else file.parent
    return CacheEntry(folder / f"{file.name}_{part}_{mark:08x}", facts)


def _tokenizer_files(data: DataConfig) -> dict[str, int] | str:
    """Checksums of the tokenizer's own files; its name, where it is none of a directory."""
    assert data.tokenizer is not None
    assert data.tokenizer.type is not None
    folder = expanded(data.tokenizer.type)
    if not is_directory(folder):
        return data.tokenizer.type
    return {file.name: zlib.crc32(file.read_bytes()) for file in sorted(folder.glob("*token*")) if file.is_file()}


def _packs(config: TrainingConfig) -> bool:
    given = config.model_alignment_strategy
    return given is not None and given.sft is not None and given.sft.packing


def _encoded(
    found: records.Records, made: Any, special: pieces.Special, config: TrainingConfig
) -> list[pieces.TokenizedRecord]:
    """The records as tokens; a tokenizer whose files are damaged may fail in any way. Raises `InputError`."""
    try:
        return list(pieces.tokenize(found.records, made, special))
    except Exception as problem:
        assert config.data.tokenizer is not None
        said = f"{config.data.tokenizer.type} fails on the records: {type(problem).__name__}: {problem}."
        raise InputError([error("data.tokenizer.type", said, "Save it with transformers again.")]) from None


def _tokenised(config: TrainingConfig, key: str, path: str) -> Arrays:
    made = tokenizer.hugging_face(config.data.tokenizer)
    special, length = pieces.Special.of(made), config.model.encoder_seq_length
    found = records.read(key, path, config.data.dev_choose_samples)
    each = _encoded(found, made, special, config)
    rows = packed.joined(each, length, special) if _packs(config) else packed.one_per_row(each, length)
    log.info("%s: %d records are %d samples of %d tokens; %d were cut, %d left out.", path, len(found.records),
             len(rows.arrays["row"]) - 1, length, rows.cut, rows.left_out)  # fmt: skip
    if len(rows.arrays["row"]) < 2:
        raise InputError([error(key, f"no record of {path} fits into {length} tokens with a part of its answer.",
                                "Use a larger data.seq_length.")])  # fmt: skip
    note = np.frombuffer(f"{found}\n".encode(), dtype=np.uint8)
    return {**rows.arrays, "padding": np.array([special.padding], dtype=np.int32), "note": note}
