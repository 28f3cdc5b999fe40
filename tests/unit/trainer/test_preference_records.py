"""Pairs of answers as samples: the tokens are those of the recorded oracles, however a pair is written."""

import json
from pathlib import Path
from typing import Any, Final

import pytest

from neuron_api.config import AlignmentConfig, DpoConfig, OrpoConfig, TrainingConfig
from neuron_trainer import run_config
from neuron_trainer.data import source
from neuron_trainer.data.loader import Steps
from neuron_trainer.data.samples import TokenBounds
from neuron_trainer.errors import TokenError
from neuron_trainer.parallel import Share

from .conftest import alone, typed

ORACLES: Final = Path(__file__).parents[2] / "data" / "alignment"
TRUNCATION: Final = json.loads((ORACLES / "dpo" / "truncation.json").read_text())
METHODS: Final = {"dpo": DpoConfig, "orpo": OrpoConfig}


def preferring(tiny: Path, file: Path, length: int, method: str = "dpo", **keys: Any) -> TrainingConfig:
    """A job on pairs with the oracles' tokenizer."""
    values = alone(tiny, file.parent / "log", data__train_dir=str(file), data__seq_length=length)
    values["data"]["tokenizer"] = {"library": "huggingface", "type": str(ORACLES / "tokenizer")}
    values["model"]["encoder_seq_length"] = length
    section = AlignmentConfig(**{method: METHODS[method](**{"max_prompt_length": length // 2, **keys})})
    return run_config.with_record_length(typed(values)).model_copy(update={"model_alignment_strategy": section})


def write(folder: Path, records: list[Any]) -> Path:
    file = folder / "pairs.jsonl"
    file.write_text("".join(json.dumps(record) + "\n" for record in records))
    return file


def rows(config: TrainingConfig) -> list[list[tuple[list[int], list[int]]]]:
    """Ids and labels of the two rows of each sample, padding left out."""
    samples = source.samples(config, "train", is_builder=True)
    batch = samples.take(range(len(samples)))
    length = config.model.encoder_seq_length
    assert batch["input_ids"].shape == batch["labels"].shape == (len(samples), 2, length)
    found = []
    for ids, labels in zip(batch["input_ids"].tolist(), batch["labels"].tolist(), strict=True):
        sizes = [max(place for place in range(length) if row[place] != 0) + 1 for row in ids]
        assert all(set(row[size:]) <= {-100} for row, size in zip(labels, sizes, strict=True))
        found.append([(row[:n], label[:n]) for row, label, n in zip(ids, labels, sizes, strict=True)])
    return found


@pytest.mark.parametrize("mode", ["keep_start", "keep_end"])
@pytest.mark.parametrize("method", METHODS)
def test_pairs_are_split_and_cut_as_in_the_oracle(method: str, mode: str, tiny: Path, tmp_path: Path) -> None:
    cases, settings = TRUNCATION["rows"], TRUNCATION["settings"]
    assert len(cases) == 13
    file = write(tmp_path, [{name: case[name] for name in ("prompt", "chosen", "rejected")} for case in cases])
    lengths = {"max_prompt_length": settings["max_prompt_length"], "truncation_mode": mode}
    found = rows(preferring(tiny, file, settings["seq_length"], method, **lengths))
    for sample, case in zip(found, cases, strict=True):
        wanted = [case[mode]["behaviours_md"][name] for name in ("chosen", "rejected")]
        assert sample == [(row["input_ids"], row["labels"]) for row in wanted], case["what"]


def test_pairs_that_fit_are_prompt_and_answer(tiny: Path, tmp_path: Path) -> None:
    oracle = json.loads((ORACLES / "pairs.json").read_text())
    (tmp_path / "pairs.jsonl").write_bytes((ORACLES / "pairs.jsonl").read_bytes())
    config = preferring(tiny, tmp_path / "pairs.jsonl", oracle["seq_length"])
    for sample, pair in zip(rows(config), oracle["pairs"], strict=True):
        wanted = [(pair["prompt_ids"], pair[name]) for name in ("chosen_ids", "rejected_ids")]
        assert sample == [(prompt + answer, [-100] * len(prompt) + answer) for prompt, answer in wanted]
    assert source.samples(config, "train", is_builder=True).counts == {  # type: ignore[attr-defined]
        "records": 16,
        "samples": 16,
        "truncated": 0,
        "dropped": 0,
    }


def test_a_batch_has_the_pairs_of_a_process_with_targets_in_their_places(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "pairs.jsonl").write_bytes((ORACLES / "pairs.jsonl").read_bytes())
    config = preferring(tiny, tmp_path / "pairs.jsonl", 64)
    samples = source.samples(config, "train", is_builder=True)
    batch = Steps(samples, 12, Share(1, 2), keeps_rest=True, vocabulary=TokenBounds(128, "data.train_dir"))[1]
    assert batch["input_ids"].shape == batch["labels"].shape == (6, 2, 64)
    taken = samples.take([13, 15])
    assert batch["input_ids"][:2].equal(taken["input_ids"])
    assert batch["labels"][:2, :, :-1].equal(taken["labels"][:, :, 1:])
    assert batch["labels"][:, :, -1].eq(-100).all()
    assert batch["labels"][2:].eq(-100).all(), "places without a sample have no target"


def test_a_token_outside_of_the_vocabulary_is_reported_with_its_row(tiny: Path, tmp_path: Path) -> None:
    pairs = [json.loads(line) for line in (ORACLES / "pairs.jsonl").read_text().splitlines()]
    samples = source.samples(preferring(tiny, write(tmp_path, pairs), 64), "train", is_builder=True)
    ids = samples.take(range(16))["input_ids"]
    highest = int(ids.max())
    sample, row, place = ids.eq(highest).nonzero()[0].tolist()
    with pytest.raises(TokenError) as refused:
        Steps(samples, 16, Share(0, 1), vocabulary=TokenBounds(highest, "data.train_dir"))[0]
    answer = ("chosen", "rejected")[row]
    assert f"sample {sample}, {answer}, has token {highest} at place {place}" in str(refused.value)
