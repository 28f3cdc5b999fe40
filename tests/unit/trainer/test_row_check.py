"""A data set that cannot be trained on is refused before any process starts, with its directory and row.

The kind: whatever `datasets` can save that is not three columns of equally long lists of token ids. Looked at: nothing
in it, a dictionary of splits, ragged lists, missing and null values, other types, ids and labels out of range, padding
on the left and in the middle, damaged and missing files; saved plainly, as a view, and with several chunks.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch

from neuron_trainer.data import row_check
from neuron_trainer.data.rows import Rows
from neuron_trainer.errors import TokenError

LENGTH, VOCABULARY, ROWS = 8, 50, 40


def columns(**changes: Any) -> dict[str, Any]:
    ids = [[(n + t) % VOCABULARY for t in range(LENGTH)] for n in range(ROWS)]
    whole = {"input_ids": ids, "attention_mask": [[1] * LENGTH] * ROWS, "labels": ids, **changes}
    return {name: values for name, values in whole.items() if values is not None}


def with_row(name: str, index: int, row: Any) -> dict[str, Any]:
    values = [list(one) for one in columns()[name]]
    values[index] = row
    return columns(**{name: values})


def save(folder: Path, values: dict[str, Any]) -> None:
    datasets.Dataset.from_dict(values).save_to_disk(str(folder))


def as_view(folder: Path, values: dict[str, Any]) -> None:
    datasets.Dataset.from_dict(values).select(range(ROWS)[::-1]).select(range(ROWS)[::-1]).save_to_disk(str(folder))


def in_chunks(folder: Path, values: dict[str, Any]) -> None:
    datasets.Dataset.from_dict(values).save_to_disk(str(folder), num_shards=3)


def said(folder: Path) -> str:
    return "\n".join(map(str, row_check.check("data.train_dir", str(folder), LENGTH, VOCABULARY, global_batch=8)))


LEFT = [[0, 0, *[1] * (LENGTH - 2)]] * ROWS
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "empty": (columns(input_ids=[], attention_mask=[], labels=[]), "DIR is not a data set: it has no rows. "),
    "ragged": (with_row("input_ids", 17, [1, 2, 3]), "row 17 of DIR has 3 values in input_ids, not 8"),
    "short labels": (with_row("labels", 33, [1] * 7), "row 33 of DIR has 7 values in labels, not 8"),
    "short mask": (with_row("attention_mask", 2, [1]), "row 2 of DIR has 1 values in attention_mask, not 8"),
    "empty row": (with_row("input_ids", 39, []), "row 39 of DIR has 0 values in input_ids"),
    "no list": (with_row("input_ids", 5, None), "row 5 of DIR has a null in input_ids. Write whole numbers."),
    "null id": (with_row("labels", 6, [1, None, *[1] * 6]), "row 6 of DIR has a null in labels"),
    "floats": (columns(input_ids=[[0.5] * LENGTH] * ROWS), "the column input_ids of DIR has values of type "),
    "texts": (columns(labels=[["a"] * LENGTH] * ROWS), "the column labels of DIR has values of type "),
    "numbers": (columns(input_ids=[3] * ROWS), "the column input_ids of DIR has values of type "),
    "nested": (columns(input_ids=[[[1] * LENGTH]] * ROWS), "the column input_ids of DIR has values of type "),
    "negative": (with_row("input_ids", 21, [-1] * LENGTH), "row 21 of DIR has token id -1"),
    "too large": (with_row("input_ids", 22, [VOCABULARY] * LENGTH), "row 22 of DIR has token id 50, the"),
    "label": (with_row("labels", 23, [-1] * LENGTH), "row 23 of DIR has label -1"),
    "no label": (columns(labels=[[-100] * LENGTH] * ROWS), "DIR has no label that counts: all are -100"),
    "first label alone": (columns(labels=[[1, *[-100] * (LENGTH - 1)]] * ROWS), "DIR has no label that counts"),
    "left": (columns(attention_mask=LEFT), "row 0 of DIR has padding before its tokens: attention_mask is"),
    "hole": (with_row("attention_mask", 9, [1, 1, 0, 0, 1, 1, 0, 0]), "row 9 of DIR has padding before its tokens"),
    "no ids": (columns(input_ids=None), "DIR has no column input_ids; its columns: attention_mask, labels"),
    "longer": (
        {name: [[*row, *row] for row in values] for name, values in columns().items()},
        "row 0 of DIR has 16 tokens and 16 labels, model.encoder_seq_length is 8. Prepare the data with --seq-length 8",
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("write", [save, as_view, in_chunks])
@pytest.mark.parametrize("name", WRONG)
def test_rows_that_cannot_be_trained_on_are_named(
    name: str, write: Callable[[Path, dict[str, Any]], None], tmp_path: Path
) -> None:
    values, sentence = WRONG[name]
    if name == "empty" and write is not save:
        write = save
    write(tmp_path / "data", values)
    found = said(tmp_path / "data").replace(str(tmp_path / "data"), "DIR")
    assert found.startswith("data.train_dir: ")
    if write is as_view and name in ("ragged", "short labels", "short mask", "empty row", "no list", "null id"):
        assert "DIR or one after it is not a list of 8 whole numbers" in found or "of DIR has" in found
    else:
        assert sentence in found


@pytest.mark.slow
@pytest.mark.parametrize("write", [save, as_view, in_chunks])
def test_good_rows_pass(write: Callable[[Path, dict[str, Any]], None], tmp_path: Path) -> None:
    """Without a mask, padded on the right, with a boolean mask."""
    padded = [[1] * 5 + [0] * 3] * ROWS
    labels = [[*row[:5], -100, -100, -100] for row in columns()["labels"]]
    for number, values in enumerate((
        columns(), columns(attention_mask=None), columns(attention_mask=padded, labels=labels),
        columns(attention_mask=[[True] * LENGTH] * ROWS), columns(extra=["x"] * ROWS),
    )):  # fmt: skip
        write(tmp_path / f"{number}", values)
        assert said(tmp_path / f"{number}") == ""
        assert Rows(str(tmp_path / f"{number}")).take([3])["input_ids"].shape == (1, LENGTH)


def test_labels_where_the_mask_is_zero_are_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save(tmp_path / "data", columns(attention_mask=[[1] * 5 + [0] * 3] * ROWS))
    assert said(tmp_path / "data") == ""
    assert "has labels where attention_mask is 0, and they count. Set them to -100 if they should not." in caplog.text


def test_padding_before_tokens_is_found_also_where_the_check_did_not_look(tmp_path: Path) -> None:
    """A large data set is checked in places; what is read is checked always."""
    save(tmp_path / "data", with_row("attention_mask", 9, LEFT[0]))
    rows = Rows(str(tmp_path / "data"))
    assert torch.equal(rows.take([8])["input_ids"], torch.tensor([columns()["input_ids"][8]]))
    with pytest.raises(TokenError, match=r"data.train_dir: row 9 of .* has padding before its tokens"):
        rows.take([8, 9])


def test_a_dictionary_without_train_names_its_splits(tmp_path: Path) -> None:
    one = datasets.Dataset.from_dict(columns())
    datasets.DatasetDict({"training": one, "test": one}).save_to_disk(str(tmp_path / "data"))
    assert "has no split 'train', only training, test. Name the directory of the split" in said(tmp_path / "data")
    assert said(tmp_path / "data" / "test") == ""


def damage(folder: Path, name: str, content: bytes | None) -> None:
    save(folder, columns())
    path = folder / name
    path.unlink()
    if content is not None:
        path.write_bytes(content)


ARROW = "data-00000-of-00001.arrow"


@pytest.mark.parametrize(("name", "content"), [
    ("state.json", None), ("state.json", b"[]"), ("state.json", b"{"), ("state.json", b"null"),
    ("state.json", b"\xff\xfe"), ("state.json", b'{"_data_files": 5}'),
    ("state.json", b'{"_data_files": [{"filename": "none.arrow"}]}'),
    ("state.json", b'{"_data_files": [{}]}'), ("state.json", json.dumps({"_data_files": [{"filename": 5}]}).encode()),
    ("dataset_info.json", None), (ARROW, None), (ARROW, b""), (ARROW, b"nothing of the kind"),
])  # fmt: skip
def test_a_damaged_directory_is_one_sentence(name: str, content: bytes | None, tmp_path: Path) -> None:
    damage(tmp_path / "data", name, content)
    found = said(tmp_path / "data")
    assert found.startswith(f"data.train_dir: {tmp_path}/data is not a data set: "), found


def test_a_file_that_is_cut_off_is_one_sentence(tmp_path: Path) -> None:
    save(tmp_path / "data", columns())
    whole = (tmp_path / "data" / ARROW).read_bytes()
    for size in range(1, len(whole) - 1, 97):
        (tmp_path / "data" / ARROW).write_bytes(whole[:size])
        assert said(tmp_path / "data").startswith("data.train_dir: "), size
