"""A tokenizer's name when the hub cannot be reached: one question, one message; the hub's client asks for minutes."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub.constants
import huggingface_hub.utils
import pytest

from neuron_api.config import TokenizerConfig
from neuron_trainer.data import tokenizer
from neuron_trainer.errors import InputError


def unreachable(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses that are asked for."""
    asked: list[str] = []

    def head(address: str, **_: Any) -> None:
        asked.append(address)
        raise ConnectionError("no network")

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.utils, "get_session", lambda: SimpleNamespace(head=head))
    return asked


@pytest.mark.slow
def test_a_name_of_the_hub_without_a_network_is_one_question_and_one_message(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    asked = unreachable(monkeypatch)
    with pytest.raises(InputError) as refused:
        tokenizer.load(TokenizerConfig(type="no-one/nothing"))
    assert str(refused.value) == (
        "data.tokenizer.type: there is no directory no-one/nothing, and the Hugging Face hub cannot be reached for it. "
        "Give a directory: `hf download no-one/nothing` writes one where there is a network."
    )
    assert asked == [huggingface_hub.constants.ENDPOINT]
    assert capfd.readouterr() == ("", "")


def test_offline_the_hub_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = unreachable(monkeypatch)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert not tokenizer.is_hub_reachable()
    assert asked == []


@pytest.mark.parametrize("name", ["nowhere", "./some/model", "a/b/c", "x" * 300, "two words"])
def test_what_is_no_name_of_the_hub_is_a_directory_that_does_not_exist(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = unreachable(monkeypatch)
    finding = tokenizer.missing(name)
    assert finding is not None
    assert finding.message == f"there is no directory {name}."
    assert asked == []


def test_a_directory_of_such_a_name_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "some" / "model").mkdir(parents=True)
    assert tokenizer.missing("some/model") is None
    assert tokenizer.missing("some") is None
