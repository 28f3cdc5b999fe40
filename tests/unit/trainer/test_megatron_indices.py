"""Splits, indices and blends are megatron-core's, element for element (recorded: tests/data/oracles/SOURCE.md)."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuron_trainer.data.megatron import blend, indices, splits
from neuron_trainer.data.megatron.build import sources
from neuron_trainer.errors import InputError

ORACLE = json.loads((Path(__file__).parents[2] / "data" / "oracles" / "megatron_indices.json").read_text())


def built(case: dict[str, Any]) -> indices.Indices:
    return indices.build(
        np.array(case["lengths"], np.int32), range(*case["documents"]), indices.IndexSpec(**case["wish"])
    )


@pytest.mark.parametrize("case", ORACLE["indices"], ids=lambda case: str(case["wish"]["seed"]))
def test_indices_are_megatrons(case: dict[str, Any]) -> None:
    found = built(case)
    assert found.document.tolist() == case["document"]
    assert found.sample.tolist() == case["sample"]
    assert found.shuffle.tolist() == case["shuffle"]
    assert (found.document.dtype, found.sample.dtype, found.shuffle.dtype) == ("int32", "int32", "uint32")


def test_the_recorded_indices_have_every_kind_of_case() -> None:
    epochs = [len(case["document"]) // (case["documents"][1] - case["documents"][0]) for case in ORACLE["indices"]]
    wishes = [case["wish"] for case in ORACLE["indices"]]
    assert min(epochs) == 1
    assert max(epochs) >= 4
    assert {(wish["extra"], wish["keeps_rest"]) for wish in wishes} == {(0, False), (0, True), (1, False), (1, True)}
    assert any(0 in case["lengths"] for case in ORACLE["indices"])
    # A last epoch that is shuffled apart keeps its samples behind those of the others.
    apart = [indices._samples_before_last(sum(case["lengths"][slice(*case["documents"])]), count,
                                          indices.IndexSpec(**case["wish"])) for case, count in
             zip(ORACLE["indices"], epochs, strict=True)]  # fmt: skip
    assert sum(one is not None for one in apart) >= 5
    for case, first in zip(ORACLE["indices"], apart, strict=True):
        if first:
            assert sorted(case["shuffle"][:first]) == list(range(first))


@pytest.mark.parametrize("case", ORACLE["blends"], ids=lambda case: f"{len(case['weights'])}-{case['samples']}")
def test_blends_are_megatrons(case: dict[str, Any]) -> None:
    pairs = [item for index, weight in enumerate(case["weights"]) for item in (weight, f"/data/{index}")]
    weights = sources(pairs)["train"].normalised
    assert weights.tolist() == case["normalised"]
    chosen, place = blend.order(weights, case["samples"])
    assert chosen.tolist() == case["set"]
    assert place.tolist() == case["place"]
    assert blend.sizes(weights, case["samples"]) == case["sizes"]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(1, 3000))
def test_a_blend_is_the_rule_applied_from_the_beginning(given: list[int], samples: int) -> None:
    weights = np.array(given) / sum(given)
    counts, wanted = np.zeros(len(weights)), []
    for place in range(samples):
        wanted.append(int(np.argmax(weights * float(max(place, 1)) - counts)))
        counts[wanted[-1]] += 1
    assert blend.order(weights, samples)[0].tolist() == wanted


def test_counts_of_a_blend_are_its_weights_within_one() -> None:
    chosen, _ = blend.order(np.array([0.3, 0.7]), 1000)
    assert abs(int((chosen == 0).sum()) - 300) <= 1


@pytest.mark.parametrize("case", ORACLE["splits"], ids=lambda case: f"{case['text']}-{case['documents']}")
def test_splits_are_megatrons(case: dict[str, Any]) -> None:
    found = splits.bounds(case["text"], case["documents"])
    for part, wanted in case["bounds"].items():
        assert len(found[part]) == 0 if wanted is None else [found[part].start, found[part].stop] == wanted


def test_splits_of_the_document() -> None:
    assert {part: len(found) for part, found in splits.bounds("980,10,10", 1000).items()} == {
        "train": 980, "validation": 10, "test": 10,
    }  # fmt: skip
    assert splits.bounds("980/10/10", 77) == splits.bounds("980,10,10", 77)
    assert splits.bounds("1", 77)["train"] == range(77)


def test_every_form_of_a_prefix() -> None:
    one, two = Path("/a/x"), Path("/b/y")
    assert sources("/a/x")["train"] == sources(["/a/x"])["train"]
    assert sources("/a/x")["train"].weights is None
    assert sources([0.5, "/a/x", "1.5", "/b/y"])["test"].prefixes == (one, two)
    assert sources([0.5, "/a/x", "1.5", "/b/y"])["test"].normalised.tolist() == [0.25, 0.75]
    assert sources([0, "/a/x", 2, "/b/y"])["train"].prefixes == (two,)
    mapped = sources({"train": [1.0, "/a/x"], "validation": "/b/y"})
    assert set(mapped) == {"train", "validation"}
    assert (mapped["train"].is_split, mapped["validation"].prefixes) == (False, (two,))


@pytest.mark.parametrize("wrong", [[], [1, 2, 3], ["/a", "/b"], [0, "/a"], 7, [0.5, "/a", 0.5]])
def test_a_prefix_that_is_none_is_told(wrong: Any) -> None:
    with pytest.raises(InputError, match=r"data.data_prefix: .* Write \[weight, prefix, weight, prefix\]"):
        sources(wrong)
