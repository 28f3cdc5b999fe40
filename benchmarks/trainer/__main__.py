"""The training loop against a bare PyTorch loop (the limit), Lightning and Hugging Face's Trainer, in turns.

    make bench-trainer                    # throughput, step tax, memory, two processes
    make bench-trainer CASES=tax          # one of: throughput tax memory pair growth
    make bench-trainer CASES="tax --rounds 3"

One JSON line a case, and a table of them in the end: medians over rounds of the ratio to the bare loop in the same
round, and the smallest and largest. On 2 busy cores a round of throughput takes 3 minutes, of memory 2.5 (3 at most),
of tax and pair 15 s; growth, once, 1.5 minutes.
`growth` draws docs/images/trainer-*.svg. Hugging Face's Trainer needs accelerate, which is no dependency:

    pip install --no-deps --target /tmp/peers accelerate==1.10.1 psutil==7.0.0
    PYTHONPATH=/tmp/peers make bench-trainer
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

import torch
import torch.distributed as dist

from . import cases
from .loops import quiet


def main() -> int:
    """0 when every bar is met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", default=["throughput", "tax", "memory", "pair"], help=", ".join(cases.ALL))
    parser.add_argument("--rounds", type=int, default=5, help="default 5")
    parser.add_argument("--child", nargs=3, metavar=("LOOP", "SIZE", "DTYPE"), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    quiet()
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as folder:
        if chosen.child:
            print(json.dumps(cases.peak(Path(folder), *chosen.child)))
            return 0
        results = [met for name in chosen.cases for met in cases.ALL[name](Path(folder), chosen.rounds)]
    print(f"\n{cases.table()}")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
