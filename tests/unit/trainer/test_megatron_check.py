"""The pre-flight of Megatron data, and the tokenizer's ids: one sentence for each fault, before any process starts."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neuron_api.config.data import TokenizerConfig
from neuron_trainer.data import tokenizer
from neuron_trainer.data.megatron import check
from neuron_trainer.data.megatron.layout import bin_path, idx_path
from neuron_trainer.data.megatron.writer import IndexedWriter
from neuron_trainer.errors import InputError

from .test_megatron_data import configuration


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """50 documents of 40 tokens below 100."""
    with IndexedWriter(tmp_path / "text", np.dtype(np.uint16)) as writer:
        for document in range(50):
            writer.add(np.full(40, document + 50))
    return tmp_path / "text"


def said(tmp_path: Path, prefix: Any, vocabulary: int = 100, **keys: Any) -> list[str]:
    config = configuration(tmp_path, prefix, **keys)
    parts = ["train", "validation"] if config.trainer.limit_val_batches else ["train"]
    return [str(finding) for finding in check.check(config, vocabulary, parts)]


def test_good_data_has_no_finding(tmp_path: Path, text: Path) -> None:
    assert said(tmp_path, [1.0, str(text)], limit_val_batches=1, val_check_interval=5, splits_string="8,2") == []
    assert not list(tmp_path.glob("*indexmap*"))


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"limit_val_batches": 1, "val_check_interval": 5, "splits_string": "1,0,0"},
         "data.splits_string: 0 of the 50 documents of .* are for validation: no text. Give validation a larger part"),
        ({"max_steps": -1, "max_epochs": 1, "splits_string": "2,98,0"},
         "has 2 samples for train, fewer than one global batch of 8"),
        ({"eod_mask_loss": True}, "data.tokenizer.type: there is no directory /tokenizer."),
    ],
)  # fmt: skip
def test_a_fault_is_one_sentence(keys: dict[str, Any], sentence: str, tmp_path: Path, text: Path) -> None:
    import re

    (found,) = said(tmp_path, str(text), **keys)
    assert re.search(sentence, found), found


def test_ids_of_another_tokenizer_are_told(tmp_path: Path, text: Path) -> None:
    (found,) = said(tmp_path, str(text), vocabulary=60)
    assert "document 10 of" in found
    assert "has token id 60, the vocabulary is 60. Use the tokenizer that belongs to the model." in found


def test_all_files_that_are_missing_or_damaged_are_told_at_once(tmp_path: Path, text: Path) -> None:
    bin_path(text).write_bytes(bin_path(text).read_bytes()[:-2])
    found = said(tmp_path, [1, str(text), 1, "/nowhere/more"], limit_val_batches=1, val_check_interval=5)
    assert len(found) == 2
    assert "it is cut off" in found[0]
    assert "there is no file /nowhere/more.idx" in found[1]


def test_a_place_that_cannot_take_index_files_is_told(tmp_path: Path, text: Path) -> None:
    (tmp_path / "file").write_text("")
    (found,) = said(tmp_path, str(text), index_mapping_dir=str(tmp_path / "file" / "indexes"))
    assert "data.index_mapping_dir: index files cannot be written to" in found


def test_variables_in_paths_are_filled_in(tmp_path: Path, text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLACE", str(tmp_path))
    assert said(tmp_path, "$PLACE/text") == []
    assert idx_path(text).exists()


# ---- the tokenizer --------------------------------------------------------------------------------------------------


def ids(**keys: Any) -> tokenizer.TokenIds:
    return tokenizer.load(TokenizerConfig(**keys))


def test_a_gpt2_tokenizer_is_its_two_files(tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_text(json.dumps({"a": 0, "b": 1, "<|endoftext|>": 2}))
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    keys = {"library": "megatron", "type": "GPT2BPETokenizer", "vocab_file": str(tmp_path / "vocab.json")}
    assert ids(**keys, merge_file=str(tmp_path / "merges.txt")) == tokenizer.TokenIds(3, 2, 2)
    with pytest.raises(InputError, match=r"GPT2BPETokenizer needs vocab_file and merge_file. Give both."):
        ids(**keys)
    with pytest.raises(InputError, match=r"data.tokenizer.merge_file: there is no file /no\."):
        ids(**keys, merge_file="/no")
    (tmp_path / "vocab.json").write_text("{}")
    with pytest.raises(InputError, match=r"data.tokenizer.vocab_file: .* has no <\|endoftext\|>"):
        ids(**keys, merge_file=str(tmp_path / "merges.txt"))


@pytest.mark.parametrize("library", ["huggingface", "megatron"])
def test_a_directory_is_a_hugging_face_tokenizer(library: str, tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    vocabulary = {"a": 0, "b": 1, "</s>": 2, "<pad>": 3}
    made = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(vocabulary, "a")), eos_token="</s>", pad_token="<pad>"
    )
    made.save_pretrained(str(tmp_path / "tokenizer"))
    for use_fast in (False, True):  # either class has the same numbers, which are all that is asked for
        assert ids(library=library, type=str(tmp_path / "tokenizer"), use_fast=use_fast) == tokenizer.TokenIds(4, 2, 3)
    without = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel(vocabulary, "a")))
    without.save_pretrained(str(tmp_path / "without"))
    with pytest.raises(InputError, match=r"tokenizer_config.json sets no eos_token. Add"):
        ids(library=library, type=str(tmp_path / "without"))


ORACLES = Path(__file__).parents[2] / "data" / "oracles"


@pytest.mark.parametrize(("name", "numbers"), [("unigram", (59, 2, 2)), ("bpe_pad", (64, 2, 3))])
def test_a_sentencepiece_model_has_the_numbers_that_sentencepiece_says(
    name: str, numbers: tuple[int, int, int]
) -> None:
    for legacy in (False, True):  # how special tokens are split in a text changes no number
        found = ids(
            library="sentencepiece", model=str(ORACLES / f"sentencepiece_{name}.model"), sentencepiece_legacy=legacy
        )
        assert found == tokenizer.TokenIds(*numbers)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"", "is not a sentencepiece model"),
        (b"not a model at all", "is not a sentencepiece model"),
        ((ORACLES / "sentencepiece_no_end.model").read_bytes(), "has no end-of-text token. Train it with an eos_id."),
    ],
    ids=["absent", "empty", "text", "no end"],
)
def test_what_is_no_sentencepiece_model_is_told(content: bytes | None, told: str, tmp_path: Path) -> None:
    path = tmp_path / "some.model"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"data\.tokenizer\.model: .*") as raised:
        ids(library="sentencepiece", model=str(path))
    assert told in str(raised.value)


def test_what_is_no_tokenizer_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data.tokenizer.type: .* is not a tokenizer"):
        ids(type=str(tmp_path))
    with pytest.raises(InputError, match=r"data.tokenizer: it is not set"):
        tokenizer.load(None)
