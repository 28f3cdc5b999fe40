"""`.bin` and `.idx`: Megatron's are read, ours are its bytes, and what is damaged is told in one sentence."""

import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuron_trainer.data.megatron.indexed import IndexedTokens
from neuron_trainer.data.megatron.layout import bin_path, dtype_for, idx_path
from neuron_trainer.data.megatron.writer import IndexedWriter
from neuron_trainer.errors import InputError

ORACLE = Path(__file__).parents[2] / "data" / "oracles" / "megatron_text"
DOCUMENTS = [np.arange(length) * 97 % 50257 for length in (5, 1, 300, 42)]


def write(prefix: Path, documents: list[np.ndarray], dtype: str = "uint16") -> Path:
    with IndexedWriter(prefix, np.dtype(dtype)) as writer:
        for one in documents:
            writer.add(one)
    return prefix


def read(prefix: Path) -> list[list[int]]:
    data = IndexedTokens(prefix)
    return [data[index].tolist() for index in range(len(data))]


def test_a_pair_that_megatron_wrote_is_read() -> None:
    assert read(ORACLE) == [one.tolist() for one in DOCUMENTS]


def test_a_pair_of_ours_has_the_bytes_that_megatron_writes(tmp_path: Path) -> None:
    prefix = write(tmp_path / "text", DOCUMENTS)
    assert bin_path(prefix).read_bytes() == bin_path(ORACLE).read_bytes()
    assert idx_path(prefix).read_bytes() == idx_path(ORACLE).read_bytes()


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 127), max_size=30), max_size=20),
    st.sampled_from(["uint8", "int8", "int16", "int32", "int64", "uint16"]),
)
def test_what_is_written_is_read(documents: list[list[int]], dtype: str) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        prefix = write(Path(folder) / "a.b", [np.array(one, np.int64) for one in documents], dtype)
        assert read(prefix) == documents
        assert IndexedTokens(prefix).dtype == dtype


def test_prefixes_are_appended(tmp_path: Path) -> None:
    with IndexedWriter(tmp_path / "all", np.dtype(np.int32)) as writer:
        writer.append(IndexedTokens(ORACLE))
        writer.extend(np.array([1, 2, 3]), np.array([2, 1], np.int32))
        writer.append(IndexedTokens(ORACLE))
    wanted = [one.tolist() for one in DOCUMENTS]
    assert read(tmp_path / "all") == [*wanted, [1, 2], [3], *wanted]


def test_a_writer_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    prefix = write(tmp_path / "text", DOCUMENTS)
    with pytest.raises(KeyboardInterrupt), IndexedWriter(prefix, np.dtype(np.uint16)) as writer:
        writer.add(np.arange(7))
        raise KeyboardInterrupt
    assert read(prefix) == [one.tolist() for one in DOCUMENTS]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["text.bin", "text.idx"]


def test_an_id_that_does_not_fit_is_told_and_nothing_is_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="token id 70000 does not fit into uint16"):
        write(tmp_path / "text", [np.array([3, 70_000])])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("vocabulary", "dtype"), [(65_499, "uint16"), (65_500, "int32"), (128_256, "int32")])
def test_the_dtype_is_the_one_megatron_takes(vocabulary: int, dtype: str) -> None:
    assert dtype_for(vocabulary) == dtype


def test_a_pickled_data_set_opens_its_files_again() -> None:
    pickled = pickle.dumps(IndexedTokens(ORACLE))
    assert len(pickled) < 1000
    assert pickle.loads(pickled)[3].tolist() == DOCUMENTS[3].tolist()


def patch(offset: int, content: bytes) -> Callable[[Path], None]:
    """Overwrite bytes of the index."""

    def change(prefix: Path) -> None:
        data = bytearray(idx_path(prefix).read_bytes())
        data[offset : offset + len(content)] = content
        idx_path(prefix).write_bytes(data)

    return change


def cut(path: Callable[[Path], Path], size: int) -> Callable[[Path], None]:
    return lambda prefix: os.truncate(path(prefix), size)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda prefix: idx_path(prefix).unlink(), "there is no file .*text.idx. Give the path without .bin and .idx"),
        (lambda prefix: bin_path(prefix).unlink(), "there is text.idx but no .*text.bin"),
        (patch(0, b"X"), "is not a Megatron index: it does not begin with"),
        (cut(idx_path, 0), "is not a Megatron index"),
        (cut(idx_path, 20), "ends inside its header: it is cut off"),
        (patch(9, struct.pack("<Q", 2)), "is of version 2, known is 1"),
        (patch(17, b"\x06"), "has dtype code 6, known for tokens are 1, 2, 3, 4, 5, 8"),
        (cut(idx_path, 100), "has 100 bytes, its header describes 122: it is cut off"),
        (patch(18, struct.pack("<Q", 3)), "has 122 bytes, its header describes 110: it is damaged"),
        (lambda prefix: idx_path(prefix).write_bytes(idx_path(prefix).read_bytes() + b"\0" * 4), "multimodal data"),
        (cut(bin_path, 600), "has 600 bytes and text.idx describes 696: it is cut off"),
        (lambda prefix: bin_path(prefix).write_bytes(b"\0" * 700), "has 700 bytes .* do not belong together"),
        (patch(34, struct.pack("<ii", 4, 2)), "the offsets in .* are not those of documents that follow each other"),
        (patch(34, struct.pack("<ii", 7, -1)), "the offsets in .* are not those of documents"),
        (patch(34 + 48 + 32, struct.pack("<Q", 3)), "do not cover its 4 sequences"),
    ],
)  # fmt: skip
def test_damage_is_one_sentence(damage: Callable[[Path], object], says: str, tmp_path: Path) -> None:
    prefix = write(tmp_path / "text", DOCUMENTS)
    damage(prefix)
    with pytest.raises(InputError, match=f"data.data_prefix: .*{says}") as caught:
        IndexedTokens(prefix)
    assert len(caught.value.findings) == 1
