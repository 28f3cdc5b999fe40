"""Rows of questions and answers: tokens, truncation, packing and isolation are those of the recorded oracles."""

import json
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import torch

from neuron_api.config import TrainingConfig
from neuron_api.platform.topology import Topology
from neuron_trainer import parallel, run_config
from neuron_trainer.data import source
from neuron_trainer.data.loader import Steps
from neuron_trainer.data.records import packing
from neuron_trainer.data.records.recipe import Recipe
from neuron_trainer.data.records.report import Report
from neuron_trainer.data.records.samples import RecordSamples
from neuron_trainer.data.records.tokens import TokenizedRow
from neuron_trainer.models.family import Family
from neuron_trainer.parallel import Share
from pairs import load, recorded, train

from .conftest import alone, typed

ORACLES: Final = Path(__file__).parents[2] / "data" / "alignment"
RECORDS: Final = json.loads((ORACLES / "records.json").read_text())["records"]
PACKED: Final = json.loads((ORACLES / "sft" / "packed.json").read_text())
EDGE: Final = json.loads((ORACLES / "sft" / "edge.json").read_text())["records"]
LENGTH: Final = 64
CONSTANT: Final = {"name": "WarmupHoldPolicy", "warmup_steps": 0, "hold_steps": 99, "max_steps": 99}
Rows = list[tuple[list[int], list[int]]]


def samples(tiny: Path, folder: Path, records: Any, *, packing: bool = False, isolates: bool = False) -> RecordSamples:
    """Samples of a job on records."""
    config = tuning(tiny, folder, records, {"packing": packing, "isolate_records": isolates})
    found = source.samples(config, "train", is_builder=True)
    assert isinstance(found, RecordSamples)
    return found


def tuning(tiny: Path, folder: Path, records: Any, sft: dict[str, bool], **changes: Any) -> TrainingConfig:
    """A job on records with the oracles' tokenizer."""
    file = folder / "train.jsonl"
    file.write_text("".join(json.dumps({name: one[name] for name in ("input", "output")}) + "\n" for one in records))
    values = alone(tiny, folder / "log", data__train_dir=str(file), data__seq_length=LENGTH, **changes)
    values["data"]["tokenizer"] = {"library": "huggingface", "type": str(ORACLES / "tokenizer")}
    values["model"]["encoder_seq_length"] = LENGTH
    values["model_alignment_strategy"] = {"sft": sft}
    return run_config.with_record_length(typed(values))


def rows(samples: RecordSamples) -> Rows:
    batch = samples.take(range(len(samples)))
    return list(zip(batch["input_ids"].tolist(), batch["labels"].tolist(), strict=True))


def padded(one: dict[str, Any]) -> tuple[list[int], list[int]]:
    rest = LENGTH - len(one["ids"])
    return one["ids"] + [0] * rest, one["labels"] + [-100] * rest


def test_a_record_is_the_row_of_the_oracle(tiny: Path, tmp_path: Path) -> None:
    assert rows(samples(tiny, tmp_path, RECORDS)) == [padded(one) for one in RECORDS]


def test_records_at_and_beyond_the_length_are_cut_or_dropped_as_in_the_oracle(tiny: Path, tmp_path: Path) -> None:
    found = samples(tiny, tmp_path, EDGE)
    assert rows(found) == [padded(one) for one in EDGE if one["kept"]]
    assert found.counts == {
        "records": len(EDGE),
        "samples": sum(one["kept"] for one in EDGE),
        "truncated": sum(one["cut"] for one in EDGE),
        "dropped": sum(not one["kept"] for one in EDGE),
    }


@pytest.mark.parametrize("isolates", [False, True])
def test_packed_rows_are_those_of_the_oracle(isolates: bool, tiny: Path, tmp_path: Path) -> None:
    found = samples(tiny, tmp_path, RECORDS, packing=True, isolates=isolates)
    assert rows(found) == [(row["ids"], row["labels"]) for row in PACKED["rows"]]
    batch = found.take(range(len(found)))
    if not isolates:
        assert set(batch) == {"input_ids", "labels"}
        return
    assert batch["position_ids"].tolist() == [row["positions"] for row in PACKED["rows"]]
    assert batch["document_ids"].tolist() == [row["documents"] for row in PACKED["rows"]]
    assert {values.dtype for values in batch.values()} == {torch.int64}
    filled = Steps(found, 4, Share(0, 1), keeps_rest=True)[1]
    assert filled["position_ids"].shape == filled["document_ids"].shape == (4, LENGTH)


@pytest.mark.usefixtures("one_process")
@pytest.mark.parametrize("attention", ["crossing", "isolated_reset"])
def test_ten_steps_of_packed_records(attention: str, tiny: Path, tmp_path: Path) -> None:
    """Losses and gradient norms of the oracle, from the file of records to the update."""
    record = recorded(f"sft/trajectory_packed_{attention}.json")
    sft = {"packing": True, "isolate_records": attention == "isolated_reset", "token_weighted_loss": True}
    optimizer = {"name": "adamw", "lr": record["settings"]["lr"], "weight_decay": 0.0, "sched": CONSTANT}
    changes = {"model__optim": optimizer, "model__model_config": str(ORACLES / "weights" / "config.json")}
    config = tuning(tiny, tmp_path, RECORDS, sft, data__global_batch_size=2, data__micro_batch_size=2, **changes)
    backend = parallel.create(config, Topology.from_config(config), torch.device("cpu"))
    backend.build(Family.from_config(config))
    load(backend)
    steps = Steps(source.samples(config, "train", is_builder=True), 2, backend.share)
    numbers = train(config, backend, [steps[place // 2] for place, _ in record["settings"]["batches"]])
    for own, expected in zip(numbers, record["own_fp64"], strict=True):
        assert own["loss"] == pytest.approx(expected["loss"], abs=1e-5)
        assert own["grad_norm"] == pytest.approx(expected["grad_norm"], rel=1e-5)


def test_a_record_that_is_too_long_for_a_row_is_skipped_and_the_row_goes_on() -> None:
    oracle, report = PACKED["over_long"], Report(LENGTH)
    records = [
        (str(number), TokenizedRow(np.array(one["ids"], np.int32), np.array(one["labels"]) != -100))
        for number, one in enumerate(oracle["records"])
    ]
    arrays = {
        **packing.packed(records, LENGTH, PACKED["settings"]["separator"], report),
        "padding": np.array([0]),
        "report": report.to_array(),
    }
    found = RecordSamples(arrays, Recipe("sft", LENGTH, packing=True))
    assert rows(found) == list(zip(oracle["ours_rows"], oracle["ours_labels"], strict=True))
    assert found.counts["dropped"] == 1
    assert report.first == {"dropped": "1"}


def test_a_record_whose_only_label_is_its_first_token_is_dropped() -> None:
    """A tokenizer without BOS, and nothing to say: nobody predicts the first token of a row."""
    report = Report(LENGTH)
    arrays = packing.one_per_row([("here", TokenizedRow.from_parts([], [2]))], LENGTH, report)
    assert len(arrays["row"]) == 1
    assert report.counts == {"dropped": 1}
