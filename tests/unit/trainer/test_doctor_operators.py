"""The doctor's comparison of operators that a NeuronCore is known to compute wrongly without an error."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from neuron_trainer.doctor import checkup, operators
from neuron_trainer.doctor.checks.trials import _USE
from neuron_trainer.doctor.result import Outcome
from neuron_trainer.doctor.trials import Trial

CPU = torch.device("cpu")


def wrong_on_a_second_device(right: Callable[[torch.device], Tensor], wrong: Callable[[Tensor], Tensor]) -> object:
    """The host is asked first, then the device."""
    calls: list[torch.device] = []

    def operator(device: torch.device) -> Tensor:
        calls.append(device)
        return right(device) if len(calls) == 1 else wrong(right(device))

    return operator


def test_the_host_equals_itself_and_each_operator_has_a_remedy() -> None:
    assert operators.compare(CPU) == dict.fromkeys(_USE, "")


@pytest.mark.parametrize("name", operators.OPERATORS)
def test_an_operator_that_gives_other_numbers_is_named_with_them(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the field reports it: -1 in place of a count, zeros in place of what was gathered."""
    right = operators.OPERATORS[name]
    monkeypatch.setitem(operators.OPERATORS, name, wrong_on_a_second_device(right, lambda made: made * 0 - 1))
    differences = operators.compare(CPU)
    assert differences.pop(name).startswith("gives [-1")
    assert set(differences.values()) == {""}


def test_an_operator_that_the_device_refuses_is_named_with_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Tensor) -> Tensor:
        raise RuntimeError("NCC_EVRF007 not supported\nand a stack")

    right = operators.OPERATORS["topk"]
    monkeypatch.setitem(operators.OPERATORS, "topk", wrong_on_a_second_device(right, refuse))
    assert operators.compare(CPU)["topk"] == "NCC_EVRF007 not supported"


def test_the_product_wraps() -> None:
    product = operators.OPERATORS["int32 product"](CPU)
    assert product.dtype is torch.int32 and bool((product < 0).any())


@pytest.mark.parametrize(
    ("trial", "outcome", "words"),
    [
        (Trial(2.0, values={"operators": {"topk": ""}}), Outcome.OK, "topk         the host's numbers."),
        (Trial(2.0, values={"operators": {"bool sum": "gives [-1], not [7]"}}), Outcome.FAILED, "mask.float()"),
        (Trial(300.0, is_late=True), Outcome.FAILED, "--timeout"),
    ],
)
def test_each_operator_has_a_line_of_its_own(trial: Trial, outcome: Outcome, words: str) -> None:
    found = [*checkup.judge({"operators": trial})]
    assert outcome in [one.outcome for one in found]
    assert words in " ".join(map(str, found))
