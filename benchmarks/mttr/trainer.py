"""The trainer that the peers run: a small model on gloo with DistributedDataParallel, in PyTorch alone.

It does what their documentation asks of a trainer, and no more: `--with nvrx` sends a heartbeat after each step,
`--with dlrover` saves to memory after each step (Flash Checkpoint). Steps and sizes are those of `setting`.
"""

import argparse
import json
import os
import signal
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

HIDDEN, LAYERS, VOCABULARY, SEQUENCE, SAMPLES = 32, 2, 96, 32, 2
NEWEST = "newest.pt"


def build() -> nn.Module:
    """A transformer of the size of `ours`."""
    layer = nn.TransformerEncoderLayer(HIDDEN, 4, 64, dropout=0.0, batch_first=True)
    return nn.Sequential(
        nn.Embedding(VOCABULARY, HIDDEN),
        nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False),
        nn.Linear(HIDDEN, VOCABULARY),
    )


class Files:
    """A checkpoint that rank 0 writes aside and renames; its process dies in it when the benchmark asks for that."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def save(self, step: int, state: dict[str, Any], *, is_due: bool) -> None:
        if not is_due or dist.get_rank():
            return
        aside = self._folder / "aside.pt"
        torch.save({"step": step, **state}, aside)
        die_if_asked(self._folder)
        aside.replace(self._folder / NEWEST)

    def load(self) -> dict[str, Any] | None:
        path = self._folder / NEWEST
        return torch.load(path) if path.exists() else None


class FlashCheckpoint:
    """DLRover's: a copy in the agent's shared memory after each step, on disk where it is due."""

    def __init__(self, folder: Path) -> None:
        from dlrover.trainer.torch.flash_checkpoint import checkpointer, ddp

        self._folder, self._types = folder, checkpointer.StorageType
        self._checkpointer = ddp.DdpCheckpointer(str(folder / "flash"))

    def save(self, step: int, state: dict[str, Any], *, is_due: bool) -> None:
        if is_due and dist.get_rank() == 0:
            threading.Timer(0.001, die_if_asked, [self._folder]).start()
        kind = self._types.DISK if is_due else self._types.MEMORY
        self._checkpointer.save_checkpoint(step, {"step": step, **state}, storage_type=kind)

    def load(self) -> dict[str, Any] | None:
        loaded = self._checkpointer.load_checkpoint()
        state: dict[str, Any] | None = (loaded or {}).get("model_states", loaded) or None
        return state


def die_if_asked(folder: Path) -> None:
    """SIGKILL of this process, once."""
    if (asked := folder / "die-in-save").exists():
        asked.unlink()
        os.kill(os.getpid(), signal.SIGKILL)


def heartbeat(with_what: str) -> Callable[[], None]:
    """NVRx's monitor of ranks; nothing for the others."""
    if with_what != "nvrx":
        return lambda: None
    from nvidia_resiliency_ext.fault_tolerance import RankMonitorClient

    client = RankMonitorClient()
    client.init_workload_monitoring()
    return client.send_heartbeat


def main() -> None:
    """Train to the last step, from the newest checkpoint."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--every", type=int, required=True, help="steps from checkpoint to checkpoint")
    parser.add_argument("--pace", type=float, required=True, help="seconds that a step takes at least")
    parser.add_argument("--timeout", type=float, required=True, help="seconds of a collective")
    parser.add_argument("--with", dest="with_what", default="")
    given = parser.parse_args()
    rank, beat = int(os.environ["RANK"]), heartbeat(given.with_what)
    (given.folder / f"pid-{rank}").write_text(str(os.getpid()))
    dist.init_process_group("gloo", timeout=timedelta(seconds=given.timeout))
    torch.manual_seed(7)
    model = DistributedDataParallel(build())
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    files = FlashCheckpoint(given.folder) if given.with_what == "dlrover" else Files(given.folder)
    if state := files.load():
        model.module.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
    for step in range((state or {}).get("step", 0) + 1, given.steps + 1):
        time.sleep(given.pace)  # a device would compute
        ids = torch.randint(
            0, VOCABULARY, (SAMPLES, SEQUENCE), generator=torch.Generator().manual_seed(step * 8 + rank)
        )
        loss = nn.functional.cross_entropy(model(ids).flatten(0, 1), ids.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if rank == 0:
            with (given.folder / "steps.jsonl").open("a") as lines:
                lines.write(json.dumps({"step": step, "loss": loss.item()}) + "\n")
        beat()
        states = {"model": model.module.state_dict(), "optimizer": optimizer.state_dict()}
        files.save(step, states, is_due=step % given.every == 0)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
