"""From a configuration to batches of Megatron data: what a sample holds, in which order, however it is shared."""

import json
import multiprocessing
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bounds import BOUND
from neuron_api.config import TrainingConfig
from neuron_trainer.data import cache, source
from neuron_trainer.data.loader import StepLoader
from neuron_trainer.data.megatron import build, splits
from neuron_trainer.data.megatron.indexed import IndexedTokens
from neuron_trainer.data.megatron.items import SampleForm, fields
from neuron_trainer.data.megatron.writer import IndexedWriter
from neuron_trainer.errors import InputError
from neuron_trainer.models.blocks.attention import document_mask
from neuron_trainer.parallel import Share

from .conftest import alone, typed

pytestmark = pytest.mark.slow

S, BATCH, MICRO, END = 16, 8, 2, 0
WHOLE = Share(0, 1)


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    """120 documents of 1 to 60 tokens, all tokens different, 0 at the end of each."""
    lengths = np.random.default_rng(5).integers(1, 60, 120)
    with IndexedWriter(tmp_path / "data" / "text", np.dtype(np.int32)) as writer:
        for end, length in zip(np.cumsum(lengths), lengths, strict=True):
            writer.add(np.append(np.arange(end - length + 1, end), END))
    return tmp_path / "data" / "text"


def configuration(tmp_path: Path, prefix: Any, **changes: Any) -> TrainingConfig:
    """The tiny job with Megatron data; keys of `data` and `trainer` by their last name."""
    values = alone(tmp_path, tmp_path / "log", model_source="megatron", model__encoder_seq_length=S)
    values["data"] = {"micro_batch_size": MICRO, "global_batch_size": BATCH, "data_prefix": prefix}
    values["model"].pop("model_config")
    values["trainer"].update(max_steps=20)
    values["data"]["tokenizer"] = {"library": "huggingface", "type": "/tokenizer"}
    for key, value in changes.items():
        section = "trainer" if key in TrainingConfig.model_fields["trainer"].annotation.model_fields else "data"
        values[section][key] = value
    from neuron_api.loading.loader import load_text

    try:
        return typed(values)
    except AssertionError:
        loaded = load_text(json.dumps(values))
        raise AssertionError([str(finding) for finding in loaded.findings]) from None


def loader(config: TrainingConfig, consumed: int = 0, share: Share = WHOLE, workers: int = 0) -> StepLoader:
    found = source.samples(config, "train", is_builder=True)
    return StepLoader(source.steps(config, "train", found, share), BATCH, lambda: consumed, workers)


def batches(config: TrainingConfig, *given: Any, **more: Any) -> list[list[list[int]]]:
    return [batch["input_ids"].tolist() for batch in loader(config, *given, **more)]


def test_a_sample_is_a_window_of_the_shuffled_documents(tmp_path: Path, prefix: Path) -> None:
    config = configuration(tmp_path, str(prefix))
    tokens, samples = IndexedTokens(prefix), build.samples(config, "train", is_builder=True)
    indices = samples.tokens.indices  # type: ignore[attr-defined]
    stream = np.concatenate([tokens[document] for document in indices.document])
    assert len(samples) >= 20 * BATCH
    for place in range(len(samples)):
        window = int(indices.shuffle[place])
        wanted = stream[window * S : window * S + S + 1]
        (found,) = samples.take([place])["input_ids"]
        assert found.tolist() == wanted[:S].tolist()
        assert samples.take([place])["labels"][0].tolist() == wanted[1:].tolist()


def test_many_samples_at_once_are_the_samples_one_by_one(tmp_path: Path, prefix: Path) -> None:
    samples = build.samples(configuration(tmp_path, str(prefix)), "train", is_builder=True)
    together = samples.take(range(3, 60, 7))
    assert together["input_ids"].dtype == torch.int64
    for row, index in enumerate(range(3, 60, 7)):
        alone_ = samples.take([index])
        assert all(torch.equal(together[name][row], alone_[name][0]) for name in ("input_ids", "labels"))


@pytest.mark.parametrize("kind", ["single", "cyclic"])
@pytest.mark.parametrize("size", [2, 4])
def test_a_step_has_the_same_micro_batches_for_every_number_of_processes(
    kind: str, size: int, tmp_path: Path, prefix: Path
) -> None:
    config = configuration(tmp_path, str(prefix), dataloader_type=kind, micro_batch_size=1)
    whole = batches(config)
    parts = [batches(config, share=Share(rank, size)) for rank in range(size)]
    for step, wanted in enumerate(whole):
        for micro in range(BATCH // size):
            block = [parts[rank][step][micro] for rank in range(size)]
            assert block == wanted[micro * size : (micro + 1) * size]


@pytest.mark.parametrize("kind", ["single", "cyclic"])
def test_a_position_continues_where_it_was(kind: str, tmp_path: Path, prefix: Path) -> None:
    config = configuration(tmp_path, str(prefix), dataloader_type=kind)
    count = len(loader(config))
    whole = batches(config) + batches(config, consumed=count * BATCH)
    for step in (0, 1, count - 1, count, count + 3):
        rest = batches(config, consumed=step * BATCH)
        assert rest == whole[step : step + len(rest)]
        assert len(rest) == count - step % count


def test_single_goes_on_and_cyclic_shuffles_each_epoch(tmp_path: Path, prefix: Path) -> None:
    config = configuration(tmp_path, str(prefix))
    count = len(loader(config))
    assert batches(config) == batches(config, consumed=count * BATCH)
    cyclic = configuration(tmp_path, str(prefix), dataloader_type="cyclic")
    first, second = batches(cyclic), batches(cyclic, consumed=count * BATCH)
    assert first != second
    assert first != batches(config)
    samples = source.samples(cyclic, "train", is_builder=True)
    drawn = torch.randperm(len(samples), generator=torch.Generator().manual_seed(cyclic.seed + 1)).tolist()
    assert second[0] == samples.take(drawn[:BATCH])["input_ids"].tolist()


def test_workers_change_nothing(tmp_path: Path, prefix: Path) -> None:
    config = configuration(tmp_path, str(prefix))
    assert list(islice(loader(config, workers=2), 3))[2]["input_ids"].tolist() == batches(config)[2]


def test_reading_the_file_first_changes_no_sample(tmp_path: Path, prefix: Path) -> None:
    assert batches(configuration(tmp_path, str(prefix), skip_warmup=False)) == batches(
        configuration(tmp_path, str(prefix))
    )


@pytest.mark.parametrize("keys", [{"drop_last": False}, {"pad_samples_to_global_batch_size": True}])
def test_the_last_batch_is_filled_with_samples_that_do_not_count(
    keys: dict[str, bool], tmp_path: Path, prefix: Path
) -> None:
    dropped, kept = configuration(tmp_path, str(prefix)), configuration(tmp_path, str(prefix), **keys)
    count = len(source.samples(kept, "train", is_builder=True))
    assert count % BATCH
    assert (len(loader(dropped)), len(loader(kept))) == (count // BATCH, count // BATCH + 1)
    for size in (1, 4):
        last = [list(loader(kept, share=Share(rank, size)))[-1] for rank in range(size)]
        counting = [(batch["labels"] != -100).any(dim=1).tolist() for batch in last]
        assert all(len(one) == BATCH // size for one in counting)
        assert [one for row in zip(*counting, strict=True) for one in row] == [
            place < count % BATCH for place in range(BATCH)
        ]


def test_samples_of_seq_length_tokens_have_no_last_label(tmp_path: Path, prefix: Path) -> None:
    config = configuration(tmp_path, str(prefix), no_seqlen_plus_one_input_tokens=True)
    batch = next(iter(loader(config)))
    assert batch["input_ids"].shape == (BATCH, S)
    assert batch["labels"][:, :-1].tolist() == batch["input_ids"][:, 1:].tolist()
    assert set(batch["labels"][:, -1].tolist()) == {-100}


def test_the_end_of_documents_is_seen_where_it_is_asked_for() -> None:
    rows = np.array([[5, 6, 0, 7, 0, 0, 8, 9, 4], [1, 2, 3, 4, 5, 6, 7, 8, 0]])
    every = SampleForm(8, 0, masks_loss_at_end=True, resets_positions=True, resets_attention=True)
    found = {name: values.tolist() for name, values in fields(rows.copy(), every).items()}
    assert found["labels"][0] == [6, 0, -100, 0, -100, -100, 9, 4]
    assert found["position_ids"] == [[0, 1, 2, 0, 1, 0, 0, 1], list(range(8))]
    assert found["document_ids"] == [[0, 0, 0, 1, 1, 2, 3, 3], [0] * 8]
    assert set(fields(rows.copy(), SampleForm(8))) == {"input_ids", "labels"}


DOCUMENTS = json.loads((Path(__file__).parents[2] / "data" / "oracles" / "megatron_documents.json").read_text())


@pytest.mark.parametrize("case", DOCUMENTS, ids=range(len(DOCUMENTS)))
def test_positions_masks_and_what_counts_are_megatrons(case: dict[str, Any]) -> None:
    length = len(case["tokens"])
    switches = (case["eod_mask_loss"], case["reset_position_ids"], case["reset_attention_mask"])
    rows = np.array([[*case["tokens"], 1]])
    found = {name: torch.from_numpy(values) for name, values in fields(rows, SampleForm(length, 0, *switches)).items()}
    assert (found["labels"][0] != -100).tolist() == case["counts"]
    assert found.get("position_ids", torch.arange(length)[None])[0].tolist() == case["positions"]
    mask = document_mask(found.get("document_ids", torch.zeros(1, length, dtype=torch.int64)), None)
    assert mask is not None
    assert [row.nonzero().flatten().tolist() for row in mask[0, 0]] == case["seen"]


def test_the_recorded_documents_have_every_combination_of_the_switches() -> None:
    switches = ("eod_mask_loss", "reset_position_ids", "reset_attention_mask")
    assert len({tuple(case[one] for one in switches) for case in DOCUMENTS}) == 8
    assert sum(case["tokens"].count(0) > 1 for case in DOCUMENTS) > 10


def test_a_window_that_is_not_full_is_padded_and_does_not_count() -> None:
    found = fields(np.array([[5, 6, 7, -1, -1]]), SampleForm(4), has_padding=True)
    assert found["input_ids"].tolist() == [[5, 6, 7, 0]]
    assert found["labels"].tolist() == [[6, 7, -100, -100]]


def test_a_partial_validation_window_is_kept_when_asked(tmp_path: Path, prefix: Path) -> None:
    keys = {"limit_val_batches": 1, "val_check_interval": 10, "splits_string": "1,1,1"}
    dropped, kept = (
        configuration(tmp_path, str(prefix), validation_drop_last=drop, pad_samples_to_global_batch_size=True, **keys)
        for drop in (True, False)
    )
    few, more = (source.samples(config, "validation", is_builder=True) for config in (dropped, kept))
    assert len(more) == len(few) + 1
    labels = torch.cat([more.take([index])["labels"] for index in range(len(more))])
    assert int((labels == -100).any(dim=1).sum()) == 1


def test_a_blend_takes_from_its_sets_in_turn(tmp_path: Path, prefix: Path) -> None:
    other = tmp_path / "other" / "text"
    with IndexedWriter(other, np.dtype(np.int32)) as writer:
        for start in range(50):
            writer.add(np.arange(100_000 + start * 40, 100_000 + start * 40 + 40))
    indexes = tmp_path / "indexes"
    config = configuration(
        tmp_path, [0.25, str(prefix), 0.75, str(other)], index_mapping_dir=str(indexes), splits_string="1"
    )
    found = [row[0] >= 100_000 or row[1] >= 100_000 for step in batches(config) for row in step]
    assert found.count(True) == 120
    assert len(found) == 160
    assert batches(config) == batches(config)
    # The two prefixes have one name, their indexes must not meet.
    assert len(list(indexes.glob("text-*_train_indexmap_*_idx.json"))) == 2


def test_a_mapping_gives_each_part_its_files(tmp_path: Path, prefix: Path) -> None:
    config = configuration(
        tmp_path, {"train": [1.0, str(prefix)], "validation": str(prefix)}, limit_val_batches=2, val_check_interval=5
    )
    for part in ("train", "validation"):
        found = build.source_of(config, part)
        assert build.documents_of(config, part, found, IndexedTokens(prefix)) == range(120)
    with pytest.raises(InputError, match=r"data.data_prefix: it has no test\. Add test, or switch it off."):
        build.samples(config, "test", is_builder=True)


def test_the_sizes_of_the_parts(tmp_path: Path, prefix: Path) -> None:
    config = configuration(
        tmp_path, str(prefix), max_steps=100, val_check_interval=30, limit_val_batches=2, limit_test_batches=3
    )
    assert splits.samples_needed(config, "train") == 100 * BATCH
    assert splits.samples_needed(config, "validation") == (100 // 30 + 1) * 2 * BATCH
    assert splits.samples_needed(config, "test") == 3 * BATCH
    assert splits.samples_needed(configuration(tmp_path, str(prefix), max_steps=-1, max_epochs=1), "train") is None


def test_each_validation_goes_on_behind_the_one_before(tmp_path: Path, prefix: Path) -> None:
    config = configuration(tmp_path, str(prefix), max_steps=100, val_check_interval=30, limit_val_batches=2)
    starts = [source.first_validation_sample(config, step * BATCH) // BATCH for step in (0, 30, 60, 90)]
    assert starts == [0, 0, 2, 4]


# ---- the cache ------------------------------------------------------------------------------------------------------


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if "indexmap" in path.name)


def test_index_files_have_the_documented_names_and_are_not_built_twice(tmp_path: Path, prefix: Path) -> None:
    config = configuration(tmp_path, str(prefix))
    batches(config)
    stem = f"text_train_indexmap_160ns_{S}sl_7s"
    assert names(prefix.parent) == [
        f"{stem}_doc_idx.npy", f"{stem}_idx.json", f"{stem}_sample_idx.npy", f"{stem}_shuffle_idx.npy",
    ]  # fmt: skip
    before = [path.stat().st_mtime_ns for path in sorted(prefix.parent.iterdir())]
    batches(config)
    assert before == [path.stat().st_mtime_ns for path in sorted(prefix.parent.iterdir())]


@pytest.mark.parametrize("part", ["doc", "sample", "shuffle"])
@pytest.mark.parametrize("damage", ["byte", "cut", "gone", "empty"])
def test_a_damaged_index_is_built_again(part: str, damage: str, tmp_path: Path, prefix: Path) -> None:
    config = configuration(tmp_path, str(prefix))
    wanted = batches(config)
    (path,) = prefix.parent.glob(f"*_{part}_idx.npy")
    data = bytearray(path.read_bytes())
    if damage == "gone":
        path.unlink()
    else:
        data[-3] ^= 1
        path.write_bytes({"byte": data, "cut": data[:-8], "empty": b""}[damage])
    assert batches(config) == wanted


def test_an_index_of_other_documents_is_built_again(tmp_path: Path, prefix: Path) -> None:
    first = batches(configuration(tmp_path, str(prefix), splits_string="980,10,10"))
    second = batches(configuration(tmp_path, str(prefix), splits_string="100,450,450"))
    assert first != second
    assert batches(configuration(tmp_path, str(prefix), splits_string="980,10,10")) == first
    description = next(prefix.parent.glob("*_idx.json"))
    description.write_text("{")
    assert batches(configuration(tmp_path, str(prefix))) == first


def test_one_that_does_not_build_waits_with_a_bound(tmp_path: Path) -> None:
    entry = cache.CacheEntry(tmp_path / "x", {"a": 1})
    with pytest.raises(InputError, match=r"was not written within 0 s\. It is built by global rank 0"):
        entry.obtain(lambda: pytest.fail("built"), is_builder=False, wait=0.0)


def test_a_directory_that_cannot_be_written_is_told(tmp_path: Path, prefix: Path) -> None:
    (tmp_path / "file").write_text("")
    config = configuration(tmp_path, str(prefix), index_mapping_dir=str(tmp_path / "file" / "indexes"))
    with pytest.raises(InputError, match=r"data.index_mapping_dir: the index files .* cannot be written: Not a dir"):
        batches(config)


def _race(config: dict[str, Any], is_builder: bool, start: Any, results: Any) -> None:
    typed_config = TrainingConfig.model_validate(config)
    start.wait(BOUND)
    samples = source.samples(typed_config, "train", is_builder=is_builder)
    results.put(samples.take(range(len(samples)))["input_ids"].sum().item())


@pytest.mark.parametrize("builders", [1, 4])
def test_four_processes_at_once_have_the_same_index(builders: int, tmp_path: Path, prefix: Path) -> None:
    config = configuration(tmp_path, str(prefix))
    context = multiprocessing.get_context("fork")
    start, results = context.Barrier(4), context.Queue()
    running = [
        context.Process(target=_race, args=(config.model_dump(by_alias=True), rank < builders, start, results))
        for rank in range(4)
    ]
    for one in running:
        one.start()
    found = {results.get(timeout=BOUND) for _ in running}
    for one in running:
        one.join(BOUND)
    assert [one.exitcode for one in running] == [0] * 4
    samples = source.samples(config, "train", is_builder=False)
    assert found == {samples.take(range(len(samples)))["input_ids"].sum().item()}
    assert not [path for path in prefix.parent.iterdir() if path.name.startswith(".")]


@pytest.fixture(autouse=True)
def no_threads() -> Iterator[None]:
    """Four forks and two workers on two cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
