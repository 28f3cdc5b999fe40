"""The data path against its peers and its limits, in one run and in turns. `make bench-data`.

Index build against megatron-core's compiled helper, writing against its builder, packing against `datasets.map`, random
reads against a bare memmap. megatron-core is no dependency: put it on the path to have its rows,

    pip install --no-deps --target /tmp/megatron megatron-core==0.16.1
    PYTHONPATH=/tmp/megatron make bench-data

One JSON line per case with ours and the other's median, their ratio (ours / other's time), the smallest and largest
ratio of a round, and the bar. A run on a busy machine shows in that band.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

warnings.simplefilter("ignore")

import datasets  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402

from neuron_trainer.data.megatron import blend, indices  # noqa: E402
from neuron_trainer.data.megatron.indexed import IndexedTokens  # noqa: E402
from neuron_trainer.data.megatron.items import MegatronSamples, SampleForm  # noqa: E402
from neuron_trainer.data.megatron.sets import WindowSet  # noqa: E402
from neuron_trainer.data.megatron.writer import IndexedWriter  # noqa: E402
from neuron_trainer.data.prepare import outputs  # noqa: E402

LENGTH, READS = 2048, 2048


@dataclass(frozen=True)
class Case:
    """Two ways to do one thing."""

    name: str
    ours: Callable[[], object]
    other: Callable[[], object]
    bar: float | None
    """Our time may be so many times the other's; None: for information."""


def main() -> int:
    """0 when every median ratio is within its bar."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=200_000, help="of 500 tokens on average; default 200000")
    parser.add_argument("--rounds", type=int, default=7, help="default 7")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    datasets.disable_progress_bars()
    datasets.disable_caching()
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as folder:
        results = [measure(case, chosen.rounds) for case in cases(Path(folder), chosen.documents)]
    if not find_spec("megatron"):
        print("megatron-core is not on the path: its rows are left out", file=sys.stderr)
    return 0 if all(results) else 1


def measure(case: Case, rounds: int) -> bool:
    """In turns, after one of each that does not count."""
    case.ours(), case.other()
    pairs = [(timed(case.ours), timed(case.other)) for _ in range(rounds)]
    ours, other = (statistics.median(times) for times in zip(*pairs, strict=True))
    ratios = [one / two for one, two in pairs]
    ratio = statistics.median(ratios)
    result: dict[str, Any] = {
        "case": case.name, "ours_ms": round(ours * 1e3, 3), "other_ms": round(other * 1e3, 3), "ratio": round(ratio, 3),
        "band": [round(min(ratios), 3), round(max(ratios), 3)],
        "bar": case.bar and round(case.bar, 3), "met": case.bar is None or ratio <= case.bar,
        "load": round(os.getloadavg()[0], 1),
    }  # fmt: skip
    print(json.dumps(result), flush=True)
    return bool(result["met"])


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def cases(folder: Path, count: int) -> list[Case]:
    """On one text of so many documents."""
    random = np.random.default_rng(0)
    lengths = random.integers(1, 1000, count).astype(np.int32)
    tokens = random.integers(0, 50_000, int(lengths.sum()), dtype=np.int64).astype(np.uint16)
    with IndexedWriter(folder / "text", np.dtype(np.uint16)) as writer:
        writer.extend(tokens, lengths)
    split = np.split(tokens, np.cumsum(lengths)[:-1])
    found = [*_reads(folder, lengths), _packing(folder, tokens), *_bare_writes(folder, lengths, split, tokens)]
    return [*_peer(folder, lengths, tokens, split), *found] if find_spec("megatron") else found


def _peer(folder: Path, lengths: np.ndarray, tokens: np.ndarray, split: list[np.ndarray]) -> list[Case]:
    """What needs megatron-core."""
    from megatron.core.datasets import gpt_dataset, helpers
    from megatron.core.datasets.indexed_dataset import IndexedDatasetBuilder

    count, per_epoch = len(lengths), int(lengths.sum())
    wish = indices.IndexSpec(LENGTH, (per_epoch - 1) // LENGTH, 1)
    order = np.arange(count, dtype=np.int32)
    np.random.RandomState(1).shuffle(order)

    def their_index() -> None:
        state = np.random.RandomState(1)
        document = gpt_dataset._build_document_index(np.arange(count, dtype=np.int32), 1, state, False)
        sample = helpers.build_sample_idx(lengths, document, LENGTH, 1, per_epoch)
        gpt_dataset._build_shuffle_index(len(sample) - 1, len(sample) - 1, state)

    def their_file() -> None:
        builder = IndexedDatasetBuilder(str(folder / "theirs.bin"), dtype=np.uint16)
        for document in split:
            builder.add_document(document, [len(document)])
        builder.finalize(str(folder / "theirs.idx"))

    weights, samples = np.array([0.5, 0.3, 0.15, 0.05]), 2_000_000
    chosen, place = np.zeros(samples, np.int16), np.zeros(samples, np.int64)
    return [
        Case("index build (all three arrays) / theirs", lambda: indices.build(lengths, range(count), wish),
             their_index, 2.0),
        Case("sample index alone / compiled helper", lambda: indices._samples(lengths, order, per_epoch, wish),
             lambda: helpers.build_sample_idx(lengths, order, LENGTH, 1, per_epoch), 2.0),
        # Built once, and cached.
        Case("blend of 4, 2M samples / compiled helper", lambda: blend.order(weights, samples),
             lambda: helpers.build_blending_indices(chosen, place, weights, 4, samples, False), None),
        Case("writing, arrays one by one / their builder", lambda: _write(folder, split), their_file, None),
        Case("writing, all at once / their builder", lambda: _write_all(folder, tokens, lengths), their_file, None),
    ]  # fmt: skip


def _write(folder: Path, split: list[np.ndarray]) -> None:
    with IndexedWriter(folder / "ours", np.dtype(np.uint16)) as writer:
        for document in split:
            writer.add(document)


def _write_all(folder: Path, tokens: np.ndarray, lengths: np.ndarray) -> None:
    with IndexedWriter(folder / "ours", np.dtype(np.uint16)) as writer:
        writer.extend(tokens, lengths)


def _bare_writes(folder: Path, lengths: np.ndarray, split: list[np.ndarray], tokens: np.ndarray) -> list[Case]:
    """The limit: nothing writes faster than the bytes."""

    def bare() -> None:
        tokens.tofile(folder / "bare.bin")

    return [
        Case("writing, arrays one by one / one tofile", lambda: _write(folder, split), bare, None),
        Case("writing, all at once / one tofile", lambda: _write_all(folder, tokens, lengths), bare, 1.15),
    ]


def _reads(folder: Path, lengths: np.ndarray) -> list[Case]:
    """Samples at random places; the bare reader takes windows of the file, ours those of shuffled documents."""
    data = IndexedTokens(folder / "text")
    built = indices.build(
        data.lengths, range(len(data)), indices.IndexSpec(LENGTH, int(lengths.sum()) // LENGTH - 1, 1)
    )
    samples = MegatronSamples(WindowSet(data, built, LENGTH + 1, 1), SampleForm(LENGTH))
    places = np.random.default_rng(1).integers(0, len(samples), READS).tolist()
    raw = np.memmap(folder / "text.bin", np.uint16, mode="r")
    starts = np.random.default_rng(2).integers(0, len(raw) - LENGTH - 1, READS).tolist()

    def ours(batch: int) -> None:
        for start in range(0, READS, batch):
            samples.take(places[start : start + batch])

    def bare() -> None:
        for start in starts:
            torch.from_numpy(raw[start : start + LENGTH + 1].astype(np.int64))

    return [
        Case(f"{READS} random samples, {batch} at once / bare memmap", partial(ours, batch), bare, bar)
        for batch, bar in ((8, None), (16, 1 / 0.7), (64, 1 / 0.7))
    ]


def _packing(folder: Path, tokens: np.ndarray) -> Case:
    """10 M tokens in documents of 500, to rows on disk."""
    some = tokens[: min(10_000_000, len(tokens)) // 500 * 500].astype(np.int32)
    text = datasets.Dataset.from_dict({"input_ids": list(some.reshape(-1, 500))})

    def group(batch: dict[str, list[list[int]]]) -> dict[str, list[list[int]]]:
        joined = [token for ids in batch["input_ids"] for token in ids]
        rows = [joined[at : at + LENGTH] for at in range(0, len(joined) // LENGTH * LENGTH, LENGTH)]
        return {"input_ids": rows, "labels": rows}

    def map_them() -> None:
        text.map(group, batched=True, remove_columns=["input_ids"]).save_to_disk(str(folder / "mapped"))

    return Case(
        "packing 10M tokens / datasets.map",
        lambda: outputs.pack(some, LENGTH, folder / "packed", "0" * 16),
        map_them,
        1 / 20,
    )


if __name__ == "__main__":
    sys.exit(main())
