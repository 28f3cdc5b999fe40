"""From the configuration to the data set of one part.

`data.data_prefix` says which token files, with which weights, for which part.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from neuron_api.config import TrainingConfig
from neuron_api.findings.finding import error
from neuron_trainer.data import tokenizer
from neuron_trainer.data.cache import Arrays, CacheEntry
from neuron_trainer.data.paths import expanded
from neuron_trainer.errors import InputError

from . import blend, indices, splits
from .indexed import IndexedTokens
from .items import MegatronSamples, SampleForm
from .sets import BlendSet, TokenSet, WindowSet
from .splits import PARTS


@dataclass(frozen=True, slots=True)
class BlendSource:
    """The data sets of one part."""

    prefixes: tuple[Path, ...]
    weights: tuple[float, ...] | None
    """As given; None for a prefix alone. One prefix with a weight is a blend of one."""
    is_split: bool
    """The part has some of the documents (`splits_string`), not all."""

    @property
    def normalised(self) -> NDArray[np.float64]:
        """Weights that add up to 1, float64."""
        weights = np.array(self.weights or (1.0,), np.float64)
        return np.asarray(weights / np.sum(weights))


def sources(data_prefix: Any) -> dict[str, BlendSource]:
    """Return the sources by part; a part that a mapping leaves out has none. Raises `InputError`."""
    if isinstance(data_prefix, Mapping):
        return {part: _source(data_prefix[part], is_split=False) for part in PARTS if data_prefix.get(part)}
    return dict.fromkeys(PARTS, _source(data_prefix, is_split=True))


def _source(value: Any, *, is_split: bool) -> BlendSource:
    if isinstance(value, str):
        return BlendSource((_path(value),), None, is_split)
    items = list(value) if isinstance(value, Sequence) else []
    if len(items) == 1 and isinstance(items[0], str):
        return BlendSource((_path(items[0]),), None, is_split)
    try:
        pairs = [(float(weight), _path(str(path))) for weight, path in zip(items[::2], items[1::2], strict=True)]
    except ValueError:
        pairs = []
    # A set of weight 0 gives nothing; Megatron may take a sample of it when others are exactly on their share.
    used = [(weight, path) for weight, path in pairs if weight > 0]
    if not used:
        message = f"{value!r} is not a prefix and not a list of weights and prefixes."
        raise InputError([error("data.data_prefix", message, "Write [weight, prefix, weight, prefix].")])
    return BlendSource(tuple(path for _, path in used), tuple(weight for weight, _ in used), is_split)


def _path(text: str) -> Path:
    return expanded(text)


_FILE_PART = {"train": "train", "validation": "valid", "test": "test"}


def samples(config: TrainingConfig, part: str, *, is_builder: bool) -> MegatronSamples:
    """Return the samples of `train`, `validation` or `test`. One process is the builder of the index files; raises
    `InputError`."""
    return MegatronSamples(_PartBuilder(config, part, is_builder).open(), form(config))


def form(config: TrainingConfig) -> SampleForm:
    """Return what the configuration wants to see of the documents' ends; reads the tokenizer only for that."""
    data = config.data
    switches = (data.eod_mask_loss, data.reset_position_ids, data.reset_attention_mask)
    end = tokenizer.load(data.tokenizer).end_of_document if any(switches) else None
    return SampleForm(config.model.encoder_seq_length, end, *switches)


def source_of(config: TrainingConfig, part: str) -> BlendSource:
    """The prefixes and weights of a part; raises `InputError`."""
    by_part = sources(config.data.data_prefix)
    if part not in by_part:
        raise InputError([error("data.data_prefix", f"it has no {part}.", f"Add {part}, or switch it off.")])
    return by_part[part]


def documents_of(config: TrainingConfig, part: str, source: BlendSource, tokens: IndexedTokens) -> range:
    """Documents of a prefix that belong to a part; raises `InputError` when there is nothing to cut samples from."""
    documents = splits.bounds(config.data.splits_string, len(tokens))[part] if source.is_split else range(len(tokens))
    if int(tokens.lengths[documents.start : documents.stop].sum()) < 2:
        raise InputError(
            [
                error(
                    "data.splits_string" if source.is_split else "data.data_prefix",
                    f"{len(documents)} of the {len(tokens)} documents of {tokens.prefix} are for {part}: no text.",
                    f"Give {part} a larger part, or use more text.",
                )
            ]
        )
    return documents


class _PartBuilder:
    """One part while it is opened."""

    def __init__(self, config: TrainingConfig, part: str, is_builder: bool) -> None:
        self._config, self._part, self._is_builder = config, part, is_builder
        self._source = source_of(config, part)
        self._needed = splits.samples_needed(config, part)

    def open(self) -> TokenSet:
        """Each prefix by itself, and their blend."""
        prefixes, weights = self._source.prefixes, self._source.normalised
        if self._source.weights is None or (self._needed is None and len(prefixes) == 1):
            return self._windows(prefixes[0], self._needed)
        if self._needed is None:
            raise InputError(
                [
                    error(
                        "trainer.max_steps",
                        f"a blend needs the number of {self._part} samples.",
                        "Give max_steps, val_check_interval and limit_*_batches as numbers.",
                    )
                ]
            )
        sizes = blend.sizes(weights, self._needed)
        sets = [self._windows(prefix, count) for prefix, count in zip(prefixes, sizes, strict=True)]
        total = sum(blend.shares(weights, self._needed))
        entry = CacheEntry(
            self._stem(prefixes[0], f"blend_{total}ns"), {"weights": weights.tolist(), "samples": total, "format": 1}
        )
        arrays = entry.obtain(
            lambda: dict(zip(("set", "place"), blend.order(weights, total), strict=True)), is_builder=self._is_builder
        )
        return BlendSet(sets, arrays["set"], arrays["place"])

    def _windows(self, prefix: Path, needed: int | None) -> WindowSet:
        tokens = IndexedTokens(prefix)
        if not self._config.data.skip_warmup and self._is_builder:
            tokens.warm_up()
        documents = documents_of(self._config, self._part, self._source, tokens)
        data, seed = self._config.data, self._config.seed
        wish = indices.IndexSpec(
            length=self._config.model.encoder_seq_length,
            samples=needed,
            seed=seed,
            extra=0 if data.no_seqlen_plus_one_input_tokens else 1,
            keeps_rest=self._part == "validation" and not data.validation_drop_last,
        )
        entry = CacheEntry(self._index_stem(prefix, wish, tokens, documents), _facts(tokens, documents, wish))
        arrays = entry.obtain(lambda: _arrays(tokens, documents, wish), is_builder=self._is_builder)
        built = indices.Indices(arrays["doc"], arrays["sample"], arrays["shuffle"])
        return WindowSet(tokens, built, wish.length + wish.extra, wish.extra, wish.keeps_rest)

    def _index_stem(self, prefix: Path, wish: indices.IndexSpec, tokens: IndexedTokens, documents: range) -> Path:
        count = wish.samples if wish.samples is not None else _of_one_epoch(tokens, documents, wish)
        return self._stem(prefix, f"indexmap_{count}ns_{wish.length}sl_{wish.seed}s")

    def _stem(self, prefix: Path, rest: str) -> Path:
        """Beside the prefix, or in index_mapping_dir, where prefixes of one name in two directories must not meet."""
        folder = self._config.data.index_mapping_dir
        name = prefix.name
        if folder and _has_namesake(prefix, self._source.prefixes):
            name = f"{name}-{crc32(str(prefix).encode()):08x}"
        parent = expanded(folder) if folder else prefix.parent
        return parent / f"{name}_{_FILE_PART[self._part]}_{rest}"


def _arrays(tokens: IndexedTokens, documents: range, wish: indices.IndexSpec) -> Arrays:
    built = indices.build(tokens.lengths, documents, wish)
    return {"doc": built.document, "sample": built.sample, "shuffle": built.shuffle}


def _facts(tokens: IndexedTokens, documents: range, wish: indices.IndexSpec) -> dict[str, object]:
    """All that the arrays depend on."""
    return {
        "format": 1,
        "lengths": crc32(tokens.lengths.data),
        "documents": [documents.start, documents.stop],
        "samples": wish.samples,
        "length": wish.length,
        "seed": wish.seed,
        "extra": wish.extra,
        "keeps_rest": wish.keeps_rest,
    }


def _of_one_epoch(tokens: IndexedTokens, documents: range, wish: indices.IndexSpec) -> int:
    count = int(tokens.lengths[documents.start : documents.stop].sum())
    exact = (count - wish.extra) / wish.length
    return ceil(exact) if wish.keeps_rest else int(exact)


def _has_namesake(prefix: Path, others: Sequence[Path]) -> bool:
    return any(other.name == prefix.name and other != prefix for other in others)
