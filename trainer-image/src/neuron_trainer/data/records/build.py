"""From the configuration to the samples of one part: tokenised once, and kept beside the file until that is another."""

import logging
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuron_api.config import DataConfig, TrainingConfig
from neuron_api.findings.finding import Finding, error
from neuron_trainer.data import tokenizer
from neuron_trainer.data.cache import Arrays, CacheEntry
from neuron_trainer.data.formats.errors import FormatError
from neuron_trainer.data.paths import expanded, is_directory
from neuron_trainer.data.samples import FOLDER, Part
from neuron_trainer.errors import InputError

from . import packing, reader
from .encoder import Encoder
from .files import RecordFiles
from .recipe import Recipe
from .report import Report
from .samples import PairSamples, RecordSamples

log = logging.getLogger(__name__)

_FORMAT: Final = 3
"""Of the arrays on disk."""
_NOTHING_FITS: Final = "no record of {} fits into {} tokens with a part of its answer."


def samples(config: TrainingConfig, part: Part, *, is_builder: bool) -> RecordSamples:
    """Return the samples of a part; one process of all tokenises. Raises `InputError`."""
    key, path, recipe = f"data.{FOLDER[part]}", getattr(config.data, FOLDER[part]), Recipe.from_config(config)
    if not path:
        raise InputError([error(key, "it is not set.", "Give a file of records.")])
    files = RecordFiles(expanded(path), part)
    try:
        entry = _entry(config, part, files, recipe)
        arrays = entry.obtain(lambda: _tokenised(config, key, files, recipe), is_builder=is_builder)
    except FormatError as problem:
        raise reader.fault(key, problem, recipe) from None
    return (PairSamples if recipe.is_pair else RecordSamples)(arrays, recipe)


def check(config: TrainingConfig, part: Part, vocabulary: int) -> list[Finding]:
    """Return what would go wrong later; the file is tokenised here, before any process waits for it."""
    try:
        built = samples(config, part, is_builder=True)
    except InputError as problem:
        return list(problem.findings)
    key = f"data.{FOLDER[part]}"
    log.info("%s: %s.", key, built.report.summary())
    for warning in built.report.warnings():
        log.warning("%s: %s.", key, warning)
    return list(_faults(config, key, built, vocabulary))


def _faults(config: TrainingConfig, key: str, built: RecordSamples, vocabulary: int) -> Iterator[Finding]:
    batch, report = config.data.global_batch_size, built.report
    if report.has_all("empty_answers"):
        yield error(
            key,
            "every record has an empty answer.",
            f"Nothing would be learned. First: {report.first['empty_answers']}.",
        )
    if built.recipe.method == "dpo" and report.counts.get("identical_pairs", 0) == len(built):
        yield error(
            key,
            "in every pair the chosen and the rejected answer have the same tokens.",
            f"Nothing would be learned. First: {report.first['identical_pairs']}.",
        )
    if len(built) < batch:
        yield error(
            key,
            f"its records are {len(built)} samples, fewer than one global batch of {batch}.",
            "Use more records or a smaller data.global_batch_size.",
        )
    if (highest := built.highest()) >= vocabulary:
        yield error(
            "data.tokenizer.type",
            f"it gave token id {highest}, the model's vocab_size is {vocabulary}.",
            "Use the tokenizer that belongs to the model.",
        )


def _entry(config: TrainingConfig, part: Part, files: RecordFiles, recipe: Recipe) -> CacheEntry:
    """Return the place on disk of what is made of these records with this tokenizer."""
    data = config.data
    facts = {
        "contents": files.checksum(),
        "tokenizer": _tokenizer_files(data),
        **recipe.facts(),
        "records": data.dev_choose_samples,
        "format": _FORMAT,
    }
    mark = zlib.crc32(repr(sorted(facts.items())).encode())
    folder = expanded(data.index_mapping_dir) if data.index_mapping_dir else files.path.parent
    return CacheEntry(folder / f"{files.path.name}_{part}_{mark:08x}", facts)


def _tokenizer_files(data: DataConfig) -> dict[str, int] | str:
    """Return checksums of the tokenizer's own files, its chat template among them; its name, where it is none of a
    directory."""
    assert data.tokenizer is not None
    assert data.tokenizer.type is not None
    folder = expanded(data.tokenizer.type)
    if not is_directory(folder):
        return data.tokenizer.type
    others = (path for pattern in ("*token*", "**/*.jinja") for path in folder.glob(pattern) if path.is_file())
    files = sorted({*tokenizer.in_directory(folder), *others})
    return {str(file.relative_to(folder)): zlib.crc32(file.read_bytes()) for file in files}


def _tokenised(config: TrainingConfig, key: str, files: RecordFiles, recipe: Recipe) -> Arrays:
    tokenizer_config, report = config.data.tokenizer, Report(recipe.length)
    encoder = Encoder(tokenizer.hugging_face(tokenizer_config), str(tokenizer_config and tokenizer_config.type))
    records = reader.read(files, key, config.data.dev_choose_samples, recipe, report)
    arrays = _rows(records, encoder, recipe, report)
    report.counts["samples"] = (len(arrays["row"]) - 1) // recipe.rows_per_sample
    if not report.counts["samples"]:
        raise InputError([error(key, _NOTHING_FITS.format(files.path, recipe.length), "Use a larger data.seq_length.")])
    report.notes += _notes(arrays, encoder)
    padding = np.array([encoder.special.padding], dtype=np.int32)
    return {**arrays, "padding": padding, "report": report.to_array()}


def _rows(records: list[Any], encoder: Encoder, recipe: Recipe, report: Report) -> Mapping[str, NDArray[Any]]:
    """Return the rows of all records."""
    places = [record.place for record in records]
    if recipe.is_pair:
        return packing.pairs(zip(places, encoder.pairs(records), strict=True), recipe, report)
    rows = zip(places, encoder.rows(records), strict=True)
    if recipe.packing:
        return packing.packed(rows, recipe.length, encoder.special.end, report)
    return packing.one_per_row(rows, recipe.length, report)


def _notes(arrays: Mapping[str, NDArray[Any]], encoder: Encoder) -> Iterator[str]:
    """Yield what the tokens show: a template that ends an answer without the end of the text."""
    if encoder.has_written_messages and not (arrays["tokens"][arrays["is_label"]] == encoder.special.end).any():
        yield (
            "no answer ends with the tokenizer's eos_token: the model does not learn to stop there. Compare the chat "
            "template with eos_token in tokenizer_config.json"
        )
