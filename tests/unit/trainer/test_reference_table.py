"""The table of reference log-probabilities: whole or absent, continued, and of these samples and weights only."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from neuron_trainer.data.reference import ReferencedSamples, fingerprint
from neuron_trainer.run_directory.log_dir import REFERENCE_FOLDER
from neuron_trainer.run_directory.reference_table import ReferenceTable, TableOrigin

ORIGIN = TableOrigin("samples", 5, "weights", "run")
ROWS = np.arange(10, dtype=np.float64).reshape(5, 2) / 3


def table(folder: Path, origin: TableOrigin = ORIGIN) -> ReferenceTable:
    return ReferenceTable(folder, "train", origin, lambda: None)


def written(folder: Path) -> ReferenceTable:
    whole = table(folder)
    assert whole.begin(resumes=False) == 0
    whole.write(0, ROWS[:4])
    whole.write(4, ROWS[4:])
    assert whole.finish().tobytes() == ROWS.tobytes()
    return whole


def test_it_is_absent_until_it_is_whole(tmp_path: Path) -> None:
    begun = table(tmp_path)
    assert begun.read(resumes=False) is None
    begun.begin(resumes=False)
    begun.write(0, ROWS)
    assert begun.read(resumes=False) is None
    begun.finish()
    values = table(tmp_path).read(resumes=False)
    assert values is not None and values.tobytes() == ROWS.tobytes()
    assert sorted(path.name for path in (tmp_path / REFERENCE_FOLDER).iterdir()) == ["train.json", "train.npy"]


def test_an_interrupted_pass_goes_on_behind_its_whole_rows(tmp_path: Path) -> None:
    first = table(tmp_path)
    first.begin(resumes=False)
    first.write(0, ROWS[:3])
    rows = tmp_path / REFERENCE_FOLDER / ".train.rows"
    rows.write_bytes(rows.read_bytes()[:-3])
    again = table(tmp_path)
    assert again.begin(resumes=False) == 2
    again.write(2, ROWS[2:])
    assert again.finish().tobytes() == ROWS.tobytes()


@pytest.mark.parametrize("other", [{"samples": "others"}, {"weights": "others", "run_id": "another"}, {"count": 6}])
def test_what_is_of_something_else_is_not_taken(other: dict[str, str], tmp_path: Path) -> None:
    written(tmp_path)
    assert table(tmp_path, replace(ORIGIN, **other)).read(resumes=True) is None
    begun = table(tmp_path)
    begun.begin(resumes=False)
    begun.write(0, ROWS[:3])
    assert table(tmp_path, replace(ORIGIN, **other)).begin(resumes=True) == 0


def test_a_run_that_goes_on_keeps_its_table_whatever_a_key_names_now(tmp_path: Path) -> None:
    written(tmp_path)
    moved = replace(ORIGIN, weights="others")
    assert table(tmp_path, moved).read(resumes=True) is not None
    assert table(tmp_path, moved).read(resumes=False) is None, "a start at step 0 begins with the weights of now"
    assert table(tmp_path, replace(ORIGIN, weights=None, run_id="")).read(resumes=True) is not None, "they are gone"


def test_a_changed_byte_makes_it_absent(tmp_path: Path) -> None:
    written(tmp_path)
    path = tmp_path / REFERENCE_FOLDER / "train.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert table(tmp_path).read(resumes=True) is None
    (tmp_path / REFERENCE_FOLDER / "train.json").write_text("[")
    assert table(tmp_path).read(resumes=True) is None


class Numbers:
    """Samples that are their own numbers."""

    labels_are_targets = False

    def __init__(self, count: int, offset: int = 0) -> None:
        self._count, self._offset = count, offset

    def __len__(self) -> int:
        return self._count

    def take(self, indices: range) -> dict[str, torch.Tensor]:
        ids = torch.tensor([[[index + self._offset] * 3] * 2 for index in indices])
        return {"input_ids": ids, "labels": ids}


def test_values_belong_to_samples_in_any_order() -> None:
    samples = ReferencedSamples(Numbers(5), torch.from_numpy(ROWS))
    batch = samples.take([4, 0, 2])
    assert batch["reference_log_probs"].tolist() == ROWS[[4, 0, 2]].tolist()
    assert batch["input_ids"][:, 0, 0].tolist() == [4, 0, 2]
    assert len(samples) == 5


def test_a_fingerprint_is_of_all_samples() -> None:
    assert fingerprint(Numbers(600)) == fingerprint(Numbers(600))
    assert len({fingerprint(one) for one in (Numbers(600), Numbers(599), Numbers(600, 1))}) == 3
