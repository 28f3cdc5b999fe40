"""A step as one rank of four compiles it: the planned replica groups are in its text, which is the same on all ranks.

It does not prove that the collectives run: the other ranks are not there (torch.testing's fake process group).
"""

import re
from collections import Counter

import pytest

from distributed.splits import SPLITS
from neuron_trainer.parallel.xla import backend

from . import lazy

TENSOR, DATA = "{{0,1},{2,3}}", "{{0,2},{1,3}}"
ALL = "{{0,1,2,3}}"
CASES = {
    ("llama", "2 x 2, zero1, sequence"): {"reduce-scatter": {TENSOR, DATA}, "all-gather": {TENSOR, DATA}},
    ("llama", "tensor 4"): {"all-reduce": {ALL}},
    ("llama", "tensor 4, copies 2, sequence"): {"reduce-scatter": {ALL}, "all-gather": {ALL}},
    ("megatron mistral", "context 4, zero1"): {"reduce-scatter": {ALL}, "all-gather": {ALL}},
    ("llama, documents", "context 2, tensor 2, sequence"): {
        "reduce-scatter": {TENSOR, DATA},
        "all-gather": {TENSOR, DATA},
    },
    ("llama, lora", "context 2, data 2, zero1"): {"reduce-scatter": {TENSOR, ALL}, "all-gather": {TENSOR, ALL}},
    ("mixtral", "expert 2, data 4, zero1"): {
        "all-to-all": {TENSOR},
        "reduce-scatter": {ALL, DATA},
        "all-gather": {ALL, DATA},
    },
    ("mixtral", "expert 2, tensor 2, sequence"): {
        "all-to-all": {DATA},
        "reduce-scatter": {TENSOR},
        "all-gather": {TENSOR},
    },
    ("mixtral, room for all", "shuffle 2, expert 2, tensor 2, sequence"): {"all-to-all": {DATA}},
}
"""Tensor-parallel ranks are neighbours, then context-, then data-parallel ones, expert-parallel neighbours first."""
COLLECTIVE = re.compile(r" (all-reduce|reduce-scatter|all-gather|all-to-all)\(.*?replica_groups=(\{\{.*?\}\})")


@pytest.fixture(autouse=True)
def one_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is run in between; torch_xla leaves out an all-reduce in a runtime of one device, unless it is told."""
    monkeypatch.setattr(backend, "end_graph", lambda _: None)
    monkeypatch.setattr(backend, "staggered", lambda work, *_: work())
    monkeypatch.setenv("XLA_ALWAYS_ALLREDUCE", "1")


@pytest.mark.parametrize(("family", "split"), CASES)
def test_replica_groups_are_the_planned_ones_and_the_text_is_equal_on_all_ranks(family: str, split: str) -> None:
    texts = []
    for rank in (0, 1, 3):
        with lazy.played(rank, SPLITS[split].world):
            texts.append(lazy.program(family, split))
    groups: dict[str, set[str]] = {}
    for kind, members in Counter(COLLECTIVE.findall(texts[0])):
        groups.setdefault(kind, set()).add(members)
    wanted = CASES[family, split]
    assert {kind: groups.get(kind) for kind in wanted} == wanted
    assert set(groups) <= {*wanted, "all-reduce", "all-gather", "reduce-scatter"}
    assert texts[0] == texts[1] == texts[2]
