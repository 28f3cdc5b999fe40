"""Experts with static shapes against sorted ones: forward and backward of one layer on one thread, in turns.

Usage: benchmarks/experts.py [--turns N]. Prints a table; ends with 1 where the form of hosts takes more than 1.1 of the
sorted form's time. `sorted`: rows sorted by expert, sizes read by the host (tests/support/sorted_experts.py); `hosts`
and `devices`: the two forms of `neuron_trainer.models.blocks.moe`, the latter timed on the CPU, too.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests" / "support")]

from neuron_trainer.models.blocks.moe.blocked import blocked  # noqa: E402
from neuron_trainer.models.blocks.moe.experts import Experts  # noqa: E402
from neuron_trainer.models.blocks.moe.grouped import grouped  # noqa: E402
from neuron_trainer.models.blocks.moe.layer import expert_capacity, within_capacity  # noqa: E402
from sorted_experts import sorted_experts  # noqa: E402

BOUND = 1.1
SHAPES = {
    # dtype, tokens, experts, top_k, hidden, inner, capacity factor, how much more the first experts are chosen
    "8 experts, 2 a token": ("float32", 1024, 8, 2, 256, 512, None, 0.0),
    "8 experts, 2 a token, uneven": ("float32", 1024, 8, 2, 256, 512, None, 0.2),
    "8 experts, 2 a token, capacity 1.25, uneven": ("float32", 1024, 8, 2, 256, 512, 1.25, 0.2),
    "64 experts, 4 a token": ("float32", 1024, 64, 4, 256, 128, None, 0.0),
    "8 experts, 1 a token, narrow": ("float32", 512, 8, 1, 64, 128, None, 0.0),
    "8 experts, 1 a token, narrow, bf16": ("bfloat16", 512, 8, 1, 64, 128, None, 0.0),
    "4 experts, 2 a token, tiny": ("float32", 64, 4, 2, 32, 64, None, 0.0),
}


def main() -> int:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--turns", type=int, default=15)
    turns = arguments.parse_args().turns
    torch.set_num_threads(1)
    print("| layer | sorted, ms | hosts | devices' form, on the CPU |\n|---|---|---|---|")
    is_kept = True
    for name, shape in SHAPES.items():
        base, hosts, devices = _measure(shape, turns)
        is_kept = is_kept and hosts <= BOUND
        print(f"| {name} | {base * 1e3:.2f} | {hosts:.2f} | {devices:.2f} |", flush=True)
    return 0 if is_kept else 1


def _measure(shape: tuple, turns: int) -> tuple[float, float, float]:
    """Seconds of the sorted form, and the medians of the others' ratios to it in the same turn."""
    kind, tokens, count, top_k, hidden, inner, factor, skew = shape
    dtype = getattr(torch, kind)
    torch.manual_seed(0)
    experts = Experts(count, hidden, inner, "silu", is_gated=True).to(dtype)
    for parameter in experts.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    chosen = (torch.rand(1, tokens, count) - torch.arange(count) * skew).topk(top_k).indices
    capacity = None
    if factor is not None:
        capacity = expert_capacity(tokens, top_k, factor, count)
        chosen = torch.where(within_capacity(chosen, count, capacity), chosen, count)
    states = torch.randn(1, tokens, hidden, dtype=dtype, requires_grad=True)
    affinities = torch.rand(1, tokens, top_k, requires_grad=True)
    forms: list[Callable[[], Tensor]] = [
        lambda: sorted_experts(experts, states, affinities, chosen),
        lambda: _formed(experts, grouped)(states, affinities, chosen, None, capacity),
        lambda: _formed(experts, blocked)(states, affinities, chosen, None, capacity),
    ]
    # The clock of a process may advance by 10 ms only.
    times = max(1, round(0.3 / max(1e-3, _seconds(forms[0], experts, 3))))
    seconds = [[_seconds(form, experts, times) for form in forms] for _ in range(turns + 1)][1:]
    ratios = [statistics.median(turn[number] / turn[0] for turn in seconds) for number in (1, 2)]
    return statistics.median(turn[0] for turn in seconds), ratios[0], ratios[1]


def _formed(experts: Experts, product: Callable) -> Experts:
    experts.product = product
    return experts


def _seconds(form: Callable[[], Tensor], experts: Experts, times: int) -> float:
    """Of the processor, for one time: what else runs on the machine is not counted."""
    begun = time.process_time()
    for _ in range(times):
        experts.zero_grad()
        form().sum().backward()
    return (time.process_time() - begun) / times


if __name__ == "__main__":
    sys.exit(main())
