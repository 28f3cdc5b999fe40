"""A class of one's own as data module: its samples are trained on; one that breaks the contract is told by name."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from neuron_trainer.data import custom, source
from neuron_trainer.data.loader import StepLoader
from neuron_trainer.errors import InputError
from neuron_trainer.parallel import Share
from neuron_trainer.preflight import preflight

from .conftest import alone, typed

EXAMPLES = Path(__file__).parents[3] / "examples"


class Samples:
    labels_are_targets = True

    def __init__(self, count: int = 16, length: int = 32, dtype: torch.dtype = torch.int64) -> None:
        self.count, self.length, self.dtype = count, length, dtype

    def __len__(self) -> int:
        return self.count

    def take(self, indices: Any) -> dict[str, torch.Tensor]:
        ids = torch.zeros(len(indices), self.length, dtype=self.dtype)
        return {"input_ids": ids, "labels": ids}


class Module:
    given: Any = Samples()

    def __init__(self, cfg: Any) -> None:
        self.cfg = cfg

    def samples(self, part: str) -> Any:
        return self.given


class Few(Module):
    given = Samples(count=7)


class Short(Module):
    given = Samples(length=5)


class Narrow(Module):
    given = Samples(dtype=torch.int32)


class NoSamples:
    def __init__(self, cfg: Any) -> None: ...


class Listed(Module):
    given = ("a row",)


class Failing(Module):
    def samples(self, part: str) -> Any:
        raise KeyError(part)


NO_CLASS = 3
HERE = __name__


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("text", "'text' is no class. Write package.module:Class."),
        ("no.such:Thing", "no.such cannot be imported: No module named 'no'. Install it in the image"),
        (f"{HERE}:Nothing", f"{HERE} has no Nothing."),
        (f"{HERE}:NO_CLASS", "is a int, not a class"),
        (f"{HERE}:NoSamples", "has no method samples(part)"),
        (f"{HERE}:Listed", "gave a tuple without take"),
        (f"{HERE}:Few", "has 7 samples for train, fewer than one global batch of 8"),
        (f"{HERE}:Short", "input_ids of one sample for train is torch.int64 [1, 5]. Needed is torch.int64 [1, 32]"),
        (f"{HERE}:Narrow", "input_ids of one sample for train is torch.int32 [1, 32]"),
        (f"{HERE}:Failing", "Failing failed: KeyError: 'train'"),
    ],
)
def test_a_class_that_breaks_the_contract_is_told_before_anything_starts(
    name: str, told: str, tiny: Path, tmp_path: Path
) -> None:
    config = typed(alone(tiny, tmp_path / "log"))
    config = config.model_copy(update={"data": config.data.model_copy(update={"data_module": name})})
    with pytest.raises(InputError) as raised:
        preflight.check(config, 1, tmp_path / "log")
    assert "data.data_module" in str(raised.value)
    assert told in str(raised.value)


def test_the_example_reads_a_key_of_its_own_and_any_sample_by_its_number(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [str(EXAMPLES), *sys.path])
    config = typed(alone(tiny, tmp_path / "log", data__data_module="counting:Counting", data__stride=3,
                         data__train_dir=None, trainer__limit_val_batches=1))  # fmt: skip
    assert custom.check(config, ["train", "validation", "test"]) == []
    found = source.samples(config, "train", is_builder=True)
    assert found.take([5])["input_ids"][0, :4].tolist() == [5, 8, 11, 14]
    batches = []
    for consumed in (0, 24):
        steps = source.steps(config, "train", found, Share(1, 2), 96)
        batches.append([batch["input_ids"][:, 0].tolist() for batch in StepLoader(steps, 8, lambda at=consumed: at)])  # type: ignore[misc]
    assert batches[0][0] == [1, 3, 5, 7], "the second of two processes"
    assert batches[1] == batches[0][3:]
    assert source.first_validation_sample(config, 800) == 0


def test_a_sample_with_an_unknown_token_is_told_with_the_class(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = typed(alone(tiny, tmp_path / "log", data__data_module=f"{HERE}:Module"))
    steps = source.steps(config, "train", source.samples(config, "train", is_builder=True), Share(0, 1), 96)
    monkeypatch.setattr(Samples, "take", lambda _, indices: {
        name: torch.full((len(indices), 32), 96) for name in ("input_ids", "labels")})  # fmt: skip
    with pytest.raises(Exception, match=r"data.data_module: sample 0 has token 96 at place 0"):
        steps[0]
