"""`rprop` without masks is PyTorch's, to the bit, and is that of devices which refuse `capturable`."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from neuron_trainer import accelerators
from neuron_trainer.optim.build import kind_of
from neuron_trainer.optim.rprop import MasklessRprop


@pytest.mark.parametrize("maximize", [False, True])
def test_updates_and_state_are_those_of_pytorch(*, maximize: bool) -> None:
    torch.manual_seed(3)
    initial = torch.randn(5, 7)
    ours, theirs = nn.Parameter(initial.clone()), nn.Parameter(initial.clone())
    settings = {"lr": 0.01, "etas": (0.4, 1.3), "step_sizes": (1e-3, 0.05), "maximize": maximize}
    own, reference = MasklessRprop([ours], **settings), torch.optim.Rprop([theirs], **settings)
    own.state[ours] = {
        "step": torch.tensor(0.0),
        "prev": torch.zeros_like(ours),
        "step_size": torch.full_like(ours, 0.01),
    }
    for _ in range(8):
        gradient = torch.randn(5, 7)
        gradient[0] = 0
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        own.step()
        reference.step()
        assert torch.equal(ours, theirs)
        assert all(torch.equal(own.state[ours][name], value) for name, value in reference.state[theirs].items())
    assert not torch.equal(ours, initial)


@pytest.mark.parametrize("name", accelerators.names())
def test_a_device_that_refuses_capturable_has_it(name: str) -> None:
    device = SimpleNamespace(type=name)
    kind = kind_of("rprop", device)  # type: ignore[arg-type]
    assert kind is (MasklessRprop if name == "xla" else torch.optim.Rprop)
    assert kind_of("adamw", device) is torch.optim.AdamW  # type: ignore[arg-type]
