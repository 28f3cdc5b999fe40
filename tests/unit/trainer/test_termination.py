"""The message that the kubelet keeps: at most 4096 bytes with the first line and the end."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuron_api.contract import TERMINATION_MESSAGE_LIMIT
from neuron_trainer.launcher import termination


def test_a_short_message_is_kept_as_it_is() -> None:
    assert termination.shorten("rank 3 failed: ValueError\ntrace") == b"rank 3 failed: ValueError\ntrace"


def test_a_long_one_keeps_its_headline_and_its_end() -> None:
    text = "rank 3 failed at step 7: ValueError: x\n" + "".join(f"  frame {n}\n" for n in range(1000)) + "ValueError: x"
    found = termination.shorten(text)
    assert len(found) <= TERMINATION_MESSAGE_LIMIT == 4096
    assert found.decode().startswith("rank 3 failed at step 7: ValueError: x\n[…]\n")
    assert found.decode().endswith("  frame 999\nValueError: x")


@given(st.text(min_size=1, max_size=300), st.integers(1, 40), st.integers(32, 400))
def test_any_message_fits_and_is_text(part: str, times: int, limit: int) -> None:
    found = termination.shorten(part * times, limit)
    assert len(found) <= limit
    assert found.decode(errors="ignore").encode() == found, "no character is cut in half"


def test_nothing_is_written_where_there_is_no_kubelet(tmp_path: Path) -> None:
    termination.write("text", str(tmp_path / "absent"))
    assert not (tmp_path / "absent").exists()


def test_the_file_that_the_kubelet_made_is_written_in_place(tmp_path: Path) -> None:
    path = tmp_path / "termination-log"
    path.touch()
    inode = path.stat().st_ino
    termination.write("text " * 2000, str(path))
    assert path.stat().st_size <= TERMINATION_MESSAGE_LIMIT
    assert path.stat().st_ino == inode


def test_what_the_kubelet_keeps_has_no_secret_of_an_address(tmp_path: Path) -> None:
    """It gets into the pod's status, and into the job's."""
    path = tmp_path / "termination-log"
    path.touch()
    termination.write("FileNotFoundError: https://me:hidden@store.example/rows?sig=hidden", str(path))
    assert path.read_text() == "FileNotFoundError: https://store.example/rows"


@pytest.mark.parametrize("text", ["", "\n", "é" * 5000, "x" * 5000 + "\ny", "\udcff" * 5000])
def test_odd_messages_fit_too(text: str) -> None:
    assert len(termination.shorten(text)) <= TERMINATION_MESSAGE_LIMIT
