"""Micro-batches of a step on lazy XLA are one program, and so are those of an evaluation and of a reference.

It does not prove what a device's own compiler makes of the program, nor how long a read waits there.
"""

import gc
import re
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from distributed import families
from neuron_trainer.metrics.step_results import LateRead
from neuron_trainer.parallel.xla import backend as xla

from . import lazy

PRODUCT = re.compile(r" dot\(")


@pytest.fixture(scope="module")
def device() -> Iterator[torch.device]:
    with lazy.alone() as opened:
        yield opened


class Programs:
    """What is given to the device: products of matrices in each program, and how many were compiled."""

    def __init__(self) -> None:
        self.products: list[int] = []

    def end(self, device: torch.device) -> None:
        """Take the text of what has been recorded, and run it."""
        import torch_xla

        recorded = [each for each in gc.get_objects() if type(each) is Tensor and each.device.type == "xla"]
        self.products.append(len(PRODUCT.findall(torch_xla._XLAC._get_xla_tensors_hlo(recorded))))
        torch_xla.sync()


def compiled() -> int:
    import torch_xla.debug.metrics as counters

    return int((counters.metric_data("CompileTime") or [0])[0])


def executed() -> int:
    import torch_xla.debug.metrics as counters

    return int((counters.metric_data("ExecuteTime") or [0])[0])


Work = Callable[[xla.XlaBackend, dict[str, Tensor]], object]


def evaluate(backend: xla.XlaBackend, batch: dict[str, Tensor]) -> object:
    return backend.evaluate(batch)


def log_probs(backend: xla.XlaBackend, batch: dict[str, Tensor]) -> object:
    return backend.log_probs(batch)


def with_reference(backend: xla.XlaBackend, batch: dict[str, Tensor]) -> object:
    del batch["reference_log_probs"]
    backend.keep_reference()
    return backend.accumulate(batch)


MICRO_BATCHES = 4


@pytest.mark.parametrize(
    ("family", "work", "passes"),
    [("llama", evaluate, 1), ("llama, dpo", log_probs, 1), ("llama, dpo", with_reference, 2)],
)
def test_no_program_has_the_products_of_several_micro_batches(
    family: str, work: Work, passes: int, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = Programs()
    backend, _, _, _ = lazy._build(*lazy._configured(family, "one process"), device)
    batch = {name: part.to(device) for name, part in families.batch(family, 0, backend.share).items()}
    monkeypatch.setattr(xla, "end_graph", programs.end)
    result = work(backend, batch)
    programs.end(device)
    assert result is not None
    counts = [count for count in programs.products if count]
    assert len(counts) == passes * MICRO_BATCHES
    for number in range(passes):
        own = counts[number * MICRO_BATCHES : (number + 1) * MICRO_BATCHES]
        assert own == own[:1] * MICRO_BATCHES


def test_all_micro_batches_of_a_step_are_one_program(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    backend, _, _, _ = lazy._build(*lazy._configured("llama", "one process"), device)
    batch = {name: part.to(device) for name, part in families.batch("llama", 0, backend.share).items()}
    counts: list[int] = []

    def end(own: torch.device) -> None:
        import torch_xla

        torch_xla.sync()
        counts.append(compiled())

    monkeypatch.setattr(xla, "end_graph", end)
    backend.accumulate(batch)
    assert len(counts) >= MICRO_BATCHES
    assert counts[-MICRO_BATCHES:] == counts[-1:] * MICRO_BATCHES, "the first of four micro-batches compiles for all"


def test_a_late_read_is_made_with_its_step_and_runs_nothing_when_it_is_read(device: torch.device) -> None:
    import torch_xla.core.xla_model as xm

    values = [torch.full((), number, device=device) * 2 for number in (1.0, 2.0)]
    read = LateRead(values)
    later = torch.ones(4, device=device) + 1
    xm.wait_device_ops()  # what was given to the device, and counts when it has run
    before = executed()
    assert read.numbers() == [2.0, 4.0]
    assert executed() == before, "of what was recorded since nothing was run"
    assert later.tolist() == [2.0] * 4
