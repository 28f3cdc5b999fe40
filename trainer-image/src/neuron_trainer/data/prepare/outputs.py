"""From parts to a data set: rows of equal length (`datasets`), or documents (Megatron)."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuron_api.findings.finding import error
from neuron_trainer.data.megatron.indexed import IndexedTokens
from neuron_trainer.data.megatron.writer import IndexedWriter
from neuron_trainer.errors import InputError

from .parts import TokenFile

log = logging.getLogger(__name__)


def write_rows(parts: Sequence[TokenFile], folder: Path, length: int, name: str) -> int:
    """Cut rows of `length` tokens from all documents one after the other; the labels are the tokens. Return their
    number; raise `InputError` when there is none."""
    with IndexedWriter(folder / "tokens", np.dtype(np.int32)) as writer:
        for part in parts:
            writer.append(IndexedTokens(part.prefix))
    tokens = IndexedTokens(folder / "tokens").tokens
    if len(tokens) < length:
        message = f"the text has {len(tokens)} tokens, fewer than one row of {length}."
        raise InputError([error("--seq-length", message, "Use more text or shorter rows.")])
    pack(tokens, length, folder / "rows", name)
    return len(tokens) // length


def pack(tokens: NDArray[np.int32], length: int, folder: Path, name: str) -> None:
    """Save as `datasets` does, under a name that other content does not have.

    Columns are views of the tokens, so that a memory-mapped file is copied once.
    """
    import pyarrow as pa
    from datasets import Dataset, DatasetInfo, Features, List, Value, disable_progress_bars

    disable_progress_bars()  # its carriage returns would be one long line of a log
    count = len(tokens) // length
    kinds = {"input_ids": "int32", "attention_mask": "int8", "labels": "int32"}
    features = Features({name: List(Value(kind), length=length) for name, kind in kinds.items()})
    ids = pa.FixedSizeListArray.from_arrays(pa.array(tokens[: count * length]), length)
    ones = pa.FixedSizeListArray.from_arrays(pa.array(np.ones(count * length, np.int8)), length)
    table = pa.table({"input_ids": ids, "attention_mask": ones, "labels": ids})
    # With a name: the library would pickle the whole table for one, which took 4/5 of the time.
    Dataset(table, info=DatasetInfo(features=features), fingerprint=name).save_to_disk(str(folder))


def write_documents(parts: Sequence[TokenFile], prefix: Path, dtype: np.dtype[Any]) -> int:
    """Write `<prefix>.bin` and `.idx`, pieces of one text joined; return the number of documents."""
    count, open_tokens = 0, 0
    with IndexedWriter(prefix, dtype) as writer:
        for part in parts:
            data = IndexedTokens(part.prefix)
            lengths = data.lengths.astype(np.int64)
            if len(lengths):
                lengths[0] += open_tokens
                open_tokens = 0
            if len(lengths) and not part.piece.ends_document:
                open_tokens = int(lengths[-1])
                lengths = lengths[:-1]
            lengths = lengths[lengths > 0]
            writer.extend(data.tokens, lengths.astype(np.int32))
            count += len(lengths)
        if not count:
            raise InputError([error("--input", "it has no text.", "Give files with text.")])
    return count


def write_request(path: Path, fingerprint: dict[str, Any]) -> None:
    """Write the file atomically: it is what makes the result count."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    unfinished.write_text(json.dumps(fingerprint, indent=1))
    unfinished.replace(path)
