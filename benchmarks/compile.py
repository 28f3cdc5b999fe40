"""`model.compile` on the CPU: tokens a second of compilers against eager execution, and what a second start compiles.

Usage: python -m benchmarks.compile [--turns N] [--case NAME …]. Tokens a second: a step with its optimizer on one
thread, compilers in turns in one process, medians, and of their ratios to eager execution in the same turn. Starts:
processes one after the other with one cache folder, as a run that is started again has it; from building the model to
the end of the second step, with the graphs that Inductor compiled and took from the folder, as PyTorch counts them.
Seconds are those of the processor, so that what else runs on the machine is not counted.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from benchmarks.trainer.setting import MEDIUM, SMALL, Size

COMPILERS: Final = ("eager", "aot_eager", "inductor")
CASES: Final = {
    "small, fp32": (SMALL, "fp32"),
    "small, bf16": (SMALL, "mixed_precision"),
    "medium, fp32": (MEDIUM, "fp32"),
}
WARM: Final = 3
"""Steps until nothing is compiled any more."""


def main() -> int:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--turns", type=int, default=9)
    arguments.add_argument("--child", nargs=2, metavar=("FOLDER", "CASE"), help="one start; used by the program itself")
    arguments.add_argument("--case", nargs="+", choices=CASES, default=list(CASES))
    asked = arguments.parse_args()
    if asked.child:
        print(json.dumps(start(Path(asked.child[0]), *CASES[asked.child[1]])))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = f"{folder}/cache"
        speeds(Path(folder), asked.case, asked.turns)
        starts(Path(folder), asked.case)
    return 0


def speeds(folder: Path, cases: list[str], turns: int) -> None:
    """Print the table of tokens a second."""
    _join_alone(folder)
    print("| model | eager, tokens/s | aot_eager | inductor |\n|---|---|---|---|")
    for name in cases:
        size, kind = CASES[name]
        steps = {compiler: _steps(folder / name / compiler, size, kind, compiler) for compiler in COMPILERS}
        for step in steps.values():
            for _ in range(WARM):
                step()
        seconds = [{compiler: _seconds(step) for compiler, step in steps.items()} for _ in range(turns)]
        eager = size.tokens / statistics.median(turn["eager"] for turn in seconds)
        ratios = [statistics.median(turn["eager"] / turn[one] for turn in seconds) for one in COMPILERS[1:]]
        print(f"| {name} | {eager:,.0f} | {ratios[0]:.2f} | {ratios[1]:.2f} |", flush=True)


def starts(folder: Path, cases: list[str]) -> None:
    """Print the table of starts."""
    print("\n| model | start | processor seconds to step 2 | compiled | from the folder |\n|---|---|---|---|---|")
    for name in cases:
        place = folder / f"start-{cases.index(name)}"  # in paths of a compiler a space or a comma is none
        # In the process itself: what a pool of processes computes is in no sum of times.
        own = {"TORCHINDUCTOR_CACHE_DIR": str(place / "cache"), "TORCHINDUCTOR_COMPILE_THREADS": "1"}
        for number in ("first", "second"):
            command = [sys.executable, "-m", "benchmarks.compile", "--child", str(place), name]
            done = subprocess.run(command, env={**os.environ, **own}, check=True, stdout=subprocess.PIPE, text=True)
            found = json.loads(done.stdout.splitlines()[-1])
            print(
                f"| {name} | {number} | {found['seconds']:.1f} | {found['compiled']} | {found['taken']} |", flush=True
            )


def start(folder: Path, size: Size, kind: str) -> dict[str, Any]:
    """Two steps of a new process, and what was compiled for them."""
    from torch._dynamo.utils import counters

    _join_alone(folder)
    begun = sum(os.times()[:4])
    step = _steps(folder / "start", size, kind, "inductor")
    step()
    step()
    seconds = sum(os.times()[:4]) - begun
    own = counters["inductor"]
    return {"seconds": seconds, "compiled": own["fxgraph_cache_miss"] + own["fxgraph_cache_bypass"],
            "taken": own["fxgraph_cache_hit"] + counters["aot_autograd"]["autograd_cache_hit"]}  # fmt: skip


def _join_alone(folder: Path) -> None:
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    dist.init_process_group("gloo", f"file://{folder}/store-{os.getpid()}", rank=0, world_size=1)


def _steps(folder: Path, size: Size, kind: str, compiler: str) -> Callable[[], None]:
    """Return what makes one step of a model of its own."""
    import torch
    from benchmarks.trainer.setting import CLIP, batches, config

    from neuron_api.platform.topology import Topology
    from neuron_trainer import optim, parallel
    from neuron_trainer.loop.step import Gradients
    from neuron_trainer.models.family import Family

    wanted = config(folder, size, kind, 1, model__compile=compiler)
    backend = parallel.create(wanted, Topology.from_config(wanted, 1), torch.device("cpu"))
    backend.build(Family.from_config(wanted))
    optimizer, gradients, rows = optim.for_run(wanted, backend.parameters()), Gradients(backend, CLIP), batches(size)
    updates = 0

    def step() -> None:
        nonlocal updates
        begin = updates * size.rows % 128
        ids = rows[begin : begin + size.rows]
        gradients.compute({"input_ids": ids, "labels": ids})
        optimizer.step()
        updates += 1
        backend.end_step(updates)

    return step


def _seconds(step: Callable[[], None]) -> float:
    """Of the processor: what else runs on the machine is not counted."""
    begun = time.process_time()
    step()
    return time.process_time() - begun


if __name__ == "__main__":
    sys.exit(main())
