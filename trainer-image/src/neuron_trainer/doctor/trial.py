"""One process of a trial (`python -m neuron_trainer.doctor.trial NAME ACCELERATOR`): opens its device as a worker does,
and prints what it finds as JSON in its last line."""

import json
import os
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

import torch
import torch.distributed as dist
from torch import Tensor, nn

from neuron_api.derive import hardware
from neuron_trainer import accelerators, rounding
from neuron_trainer.accelerators import Accelerator
from neuron_trainer.accelerators.device import fallback_ops
from neuron_trainer.doctor import operators

_TIMEOUT: Final = timedelta(minutes=10)
"""Longer than any trial may take: the parent ends it."""
_SIZE: Final = 64
_TOLERANCE: Final = 1e-2
"""Between a device and the CPU, relative; matrices of a device may be computed in bf16."""


def main(name: str, accelerator: str) -> None:
    """Make the trial; what goes wrong is the traceback's last line and exit code 1."""
    device_kind = accelerators.get(accelerator)
    accelerators.load(device_kind, int(os.environ["LOCAL_RANK"]))
    if accelerator == "xla":
        import torch_xla.distributed.xla_backend  # noqa: F401  # its process group
    dist.init_process_group(device_kind.collectives, timeout=_TIMEOUT)
    device = accelerators.open_device(device_kind)
    values = _TRIALS[name](device_kind, device)
    dist.destroy_process_group()
    print(json.dumps(values), flush=True)  # noqa: T201


def _collective(accelerator: Accelerator, device: torch.device) -> dict[str, Any]:
    """A sum, a gathering and a reduce-scatter over all processes, with their values."""
    rank, world = dist.get_rank(), dist.get_world_size()
    own = torch.full((_SIZE,), float(rank + 1), device=device)
    total, parts = own.clone(), own.new_empty(world * _SIZE)
    dist.all_reduce(total)
    dist.all_gather_into_tensor(parts, own)
    share = own.new_empty(_SIZE)
    dist.reduce_scatter_tensor(share, parts)
    expected = world * (world + 1) / 2
    _same("all_reduce", total, torch.full((_SIZE,), expected))
    _same("all_gather", parts, torch.arange(1.0, world + 1).repeat_interleave(_SIZE))
    _same("reduce_scatter", share, torch.full((_SIZE,), world * float(rank + 1)))
    assert dist.group.WORLD is not None
    return {"processes": world, "send": device.type != "xla" and accelerator.has_send(dist.group.WORLD)}


def _compile(accelerator: Accelerator, device: torch.device) -> dict[str, Any]:
    """One graph of a small block, forward and backward, against the CPU."""
    block, rows = _Block(), torch.linspace(-1, 1, 4 * _SIZE).reshape(4, _SIZE)
    expected = _gradient(block, rows)
    on_device = _Block()
    on_device.load_state_dict(block.state_dict())
    on_device.to(device)
    compiled = on_device if device.type == "xla" else _compiled(on_device, accelerator)
    seconds = []
    for _ in range(2):
        started = time.monotonic()
        _same("the gradient of a compiled block", _gradient(compiled, rows.to(device)), expected)
        seconds.append(round(time.monotonic() - started, 2))
    return {"first_seconds": seconds[0], "second_seconds": seconds[1]}


def _compiled(block: nn.Module, accelerator: Accelerator) -> Any:
    return torch.compile(block, backend=hardware.COMPILER_OF_DEVICE[accelerator.name], dynamic=False)


def _step(accelerator: Accelerator, device: torch.device) -> dict[str, Any]:
    """Three optimizer steps of a small language model, random bits, and which operators ran on the CPU instead."""
    torch.manual_seed(1)
    model = _Tiny().to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    tokens = torch.arange(2 * _SIZE).reshape(2, _SIZE).remainder(_SIZE).to(device)
    losses = []
    for _ in range(3):
        loss = model(tokens)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
        accelerators.synchronize(device)  # a graph of each step
    read = [float(loss.cpu()) for loss in losses]
    if not read[-1] < read[0]:
        raise RuntimeError(f"the loss does not fall: {read}")
    _same_bits(device)
    return {"losses": read, "fallbacks": sorted(fallback_ops(accelerator))}


def _operators(_: Accelerator, device: torch.device) -> dict[str, Any]:
    """Operators whose numbers are known to be wrong in silence, against the host."""
    return {"operators": operators.compare(device)}


class _Block(nn.Module):
    """A norm and a gated linear layer."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.norm, self.inner, self.outer = nn.RMSNorm(_SIZE), nn.Linear(_SIZE, _SIZE), nn.Linear(_SIZE, _SIZE)

    def forward(self, rows: Tensor) -> Tensor:
        """[rows, width] to the same."""
        mixed: Tensor = self.outer(nn.functional.silu(self.inner(self.norm(rows))))
        return rows + mixed


class _Tiny(nn.Module):
    """One attention layer over an embedding, and the loss of the next token."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.block, self.head = nn.Embedding(_SIZE, _SIZE), _Block(), nn.Linear(_SIZE, _SIZE)

    def forward(self, tokens: Tensor) -> Tensor:
        """[batch, length] of token ids to a loss."""
        heads = self.embedding(tokens).unflatten(-1, (4, -1)).transpose(1, 2).contiguous()
        scores = (heads / heads.shape[-1] ** 0.5) @ heads.transpose(-2, -1)
        future = torch.full((_SIZE, _SIZE), float("-inf"), device=tokens.device).triu(1)
        mixed = (scores + future).softmax(-1) @ heads
        logits = self.head(self.block(mixed.transpose(1, 2).flatten(2)))
        return nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())


def _gradient(block: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
    rows = rows.detach().requires_grad_()
    torch.autograd.backward(block(rows).square().mean())
    assert rows.grad is not None
    return rows.grad


def _same(what: str, actual: Tensor, expected: Tensor) -> None:
    host = actual.detach().cpu()
    if not torch.allclose(host, expected, rtol=_TOLERANCE, atol=_TOLERANCE):
        raise RuntimeError(f"{what} gives {host.flatten()[:4].tolist()}, not {expected.flatten()[:4].tolist()}")


def _same_bits(device: torch.device) -> None:
    """Random bits need integers of 32 bits that wrap: stochastic rounding and dropout on a device are made of them."""
    place = rounding.Place((_SIZE, _SIZE), (0, 0))
    own, expected = (rounding.noise(place.shape, place, 1, on) for on in (device, torch.device("cpu")))
    if not torch.equal(own.cpu(), expected):
        first = own.cpu().flatten()[:4].tolist()
        raise RuntimeError(f"random bits are {first}, not {expected.flatten()[:4].tolist()}: int32 does not wrap")


_TRIALS: Final[dict[str, Callable[[Accelerator, torch.device], dict[str, Any]]]] = {
    "collective": _collective,
    "compile": _compile,
    "step": _step,
    "operators": _operators,
}

if __name__ == "__main__":
    main(*sys.argv[1:])
