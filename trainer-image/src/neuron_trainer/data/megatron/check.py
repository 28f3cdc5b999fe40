"""What would go wrong with Megatron data later, found before any process starts."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from neuron_api.config import TrainingConfig
from neuron_api.findings.finding import Finding, error
from neuron_trainer.data.paths import exists, expanded
from neuron_trainer.errors import InputError

from . import build, splits
from .indexed import IndexedTokens

_LOOKED_AT: Final = 64
"""Documents of which the preflight looks at the first tokens, spread over the part."""
_TOKENS: Final = 4096


def check(config: TrainingConfig, vocabulary: int, parts: Sequence[str]) -> list[Finding]:
    """Files, splits, token ids and the tokenizer; token files are read in a few places only."""
    findings = [finding for part in parts for finding in _part(config, part, vocabulary)]
    findings += _tokenizer(config)
    return list(dict.fromkeys(findings))


def _part(config: TrainingConfig, part: str, vocabulary: int) -> list[Finding]:
    try:
        source = build.source_of(config, part)
    except InputError as problem:
        return list(problem.findings)
    findings: list[Finding] = []
    for prefix in source.prefixes:
        try:
            tokens = IndexedTokens(prefix)
            documents = build.documents_of(config, part, source, tokens)
        except InputError as problem:
            findings += problem.findings
            continue
        findings += [
            *_ids(tokens, documents, vocabulary),
            *_batch(config, part, tokens, documents),
            *_folder(config, prefix),
        ]
    return findings


def _ids(tokens: IndexedTokens, documents: range, vocabulary: int) -> list[Finding]:
    for index in documents[:: max(1, len(documents) // _LOOKED_AT)]:
        head = tokens[index][:_TOKENS]
        if len(head) and (highest := int(head.max())) >= vocabulary:
            message = f"document {index} of {tokens.prefix} has token id {highest}, the vocabulary is {vocabulary}."
            return [error("data.data_prefix", message, "Use the tokenizer that belongs to the model.")]
    return []


def _batch(config: TrainingConfig, part: str, tokens: IndexedTokens, documents: range) -> list[Finding]:
    """Without a number of steps there is one pass over the documents, which must have a full batch."""
    batch, length = config.data.global_batch_size, config.model.encoder_seq_length
    if splits.samples_needed(config, part) is not None:
        return []
    count = int(tokens.lengths[documents.start : documents.stop].sum(dtype=np.int64)) // length
    if count >= batch:
        return []
    return [
        error(
            "data.data_prefix",
            f"{tokens.prefix} has {count} samples for {part}, fewer than one global batch of {batch}.",
            "Use more text or a smaller data.global_batch_size.",
        )
    ]


def _folder(config: TrainingConfig, prefix: Path) -> list[Finding]:
    """Return where index files go; the worker that writes them tells what the file system says beyond the
    permissions."""
    configured = config.data.index_mapping_dir
    folder = expanded(configured) if configured else prefix.parent
    existing = next(path for path in (folder, *folder.parents) if exists(path))
    if existing.is_dir() and os.access(existing, os.W_OK):
        return []
    return [
        error(
            "data.index_mapping_dir",
            f"index files cannot be written to {folder}.",
            "Give a directory that is writable and that all nodes share.",
        )
    ]


def _tokenizer(config: TrainingConfig) -> list[Finding]:
    try:
        build.form(config)
    except InputError as problem:
        return list(problem.findings)
    return []
