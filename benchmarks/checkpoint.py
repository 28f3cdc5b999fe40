"""What a checkpoint costs the step, until when it is durable, and how long a resume takes. `make bench-checkpoint`.

Against torch.distributed.checkpoint's `save` and `async_save` on the same tensors, one plain copy into a buffer that is
reused, and for a resume the import of torch with a bare loop's first step. In turns, in one run, medians; the first
save does not count (its buffers are touched for the first time). One JSON line per case; `--plot FILE` draws the curve.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

warnings.simplefilter("ignore")

import torch  # noqa: E402
import torch.distributed as dist  # noqa: E402
import torch.distributed.checkpoint as dcp  # noqa: E402
import yaml  # noqa: E402
from torch import Tensor  # noqa: E402

from neuron_trainer.checkpoint.manifest import Manifest  # noqa: E402
from neuron_trainer.checkpoint.staging import CheckpointTensor, Stage  # noqa: E402
from neuron_trainer.checkpoint.writer import (  # noqa: E402
    BackgroundWriter,
    Snapshot,
    write,
)
from neuron_trainer.storage import places  # noqa: E402

TENSORS = 24
STALL_OF_COPY, STALL_OF_ASYNC, DURABLE, RESUME, MEMORY = 1.5, 0.25, 1.2, 1.5, 1.1


def main() -> int:
    """0 when every median ratio is within its bar."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", type=int, default=[64, 256, 1024], metavar="MB", help="of a checkpoint")
    parser.add_argument("--rounds", type=int, default=5, help="default 5")
    parser.add_argument("--folder", type=Path, help="where to write; default the directory for temporary files")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="picture of stall and durable over the size")
    parser.add_argument("--only", choices=("saves", "resume"), help="one half")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
        found: list[dict[str, Any]] = []
        if chosen.only != "resume":
            torch.set_num_threads(1)
            os.environ["GLOO_SOCKET_IFNAME"] = "lo"
            dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
            for size in chosen.sizes:
                found += saves(Path(folder), size, chosen.rounds)
            dist.destroy_process_group()
        if chosen.plot is not None:
            plot(found, chosen.plot)
        if chosen.only != "saves":
            found += resume(Path(folder), max(3, chosen.rounds // 2))
    return 0 if all(one.get("holds", True) for one in found) else 1


# ---- saves ----------------------------------------------------------------------------------------------------------


def saves(folder: Path, megabytes: int, rounds: int) -> list[dict[str, Any]]:
    """Stall and time until durable of each way, by turns."""
    state = {f"model.{n}": torch.rand(megabytes * (1 << 18) // TENSORS) for n in range(TENSORS)}
    buffers = {name: torch.empty_like(tensor) for name, tensor in state.items()}
    place = folder / "saved.ckpt"
    ours = Ours(place, state)
    ways: dict[str, Callable[[], tuple[float, float]]] = {
        "copy": lambda: copied(state, buffers),
        "dcp.save": lambda: saved(place, state),
        "dcp.async_save": lambda: saved_beside(place, state),
        "ours": ours.beside,
        "ours, at once": ours.at_once,
    }
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            shutil.rmtree(place, ignore_errors=True)
            os.sync()  # what the way before left is not this one's to wait for
            found = way()
            if number:
                times[name].append(found)
    stall = {name: statistics.median(t[0] for t in each) for name, each in times.items()}
    durable = {name: statistics.median(t[1] for t in each) for name, each in times.items()}

    def ratio(name: str, other: str, which: int, bar: float) -> dict[str, Any]:
        each = [one[which] / two[which] for one, two in zip(times[name], times[other], strict=True)]
        return _told(
            case=f"{name} / {other}", what=("stall", "durable")[which], megabytes=megabytes,
            ours_ms=round(statistics.median(t[which] for t in times[name]) * 1e3, 1),
            other_ms=round(statistics.median(t[which] for t in times[other]) * 1e3, 1),
            ratio=round(statistics.median(each), 3), low=round(min(each), 3), high=round(max(each), 3), bar=bar,
            holds=statistics.median(each) <= bar,
        )  # fmt: skip

    return [
        ratio("ours", "copy", 0, STALL_OF_COPY),
        ratio("ours", "dcp.async_save", 0, STALL_OF_ASYNC),
        ratio("ours", "dcp.save", 1, DURABLE),
        ratio("ours, at once", "dcp.save", 1, DURABLE),
        memory(megabytes, state, ours),
        {"curve": megabytes, "stall": stall, "durable": durable},
    ]


class Ours:
    """What the trainer does."""

    def __init__(self, folder: Path, state: dict[str, Tensor]) -> None:
        self._folder, self._background, self._stage = folder, BackgroundWriter(), Stage()
        self._state = {name: CheckpointTensor(tensor, tensor.dtype) for name, tensor in state.items()}
        self._manifest = Manifest(
            step=1, epoch=0, consumed_samples=0, global_batch_size=1, config_hash="", architecture={}, topology={},
            precision="fp32", dtype="float32", time=datetime.now(UTC), metrics={},
        )  # fmt: skip

    def beside(self) -> tuple[float, float]:
        """In the background."""
        begun = time.perf_counter()
        self._background.submit(self._snapshot(self._stage.copy(self._state)), lambda: None)
        stall = time.perf_counter() - begun
        self._background.join()
        return stall, time.perf_counter() - begun

    def at_once(self) -> tuple[float, float]:
        """While the step waits."""
        begun = time.perf_counter()
        write(self._snapshot({name: stored.local for name, stored in self._state.items()}))
        took = time.perf_counter() - begun
        return took, took

    def _snapshot(self, tensors: dict[str, Tensor]) -> Snapshot:
        return Snapshot(self._folder, tensors, b"", self._manifest)


def copied(state: dict[str, Tensor], buffers: dict[str, Tensor]) -> tuple[float, float]:
    """The limit: the bytes, from here to there."""
    begun = time.perf_counter()
    for name, tensor in state.items():
        buffers[name].copy_(tensor)
    took = time.perf_counter() - begun
    return took, took


def saved(folder: Path, state: dict[str, Tensor]) -> tuple[float, float]:
    """torch's, at once."""
    begun = time.perf_counter()
    dcp.save(state, checkpoint_id=folder)
    places.sync(folder)
    took = time.perf_counter() - begun
    return took, took


def saved_beside(folder: Path, state: dict[str, Tensor]) -> tuple[float, float]:
    """torch's, in the background, as it is by default."""
    begun = time.perf_counter()
    future = dcp.async_save(state, checkpoint_id=folder)
    stall = time.perf_counter() - begun
    future.result()
    places.sync(folder)
    return stall, time.perf_counter() - begun


def memory(megabytes: int, state: dict[str, Tensor], ours: Ours) -> dict[str, Any]:
    """The most that a save takes beside the state, with the stage that is kept."""
    stage = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
    with peak() as most:
        ours.beside()
    extra = most[1] - most[0]
    return _told(
        case="memory of a save beside its stage / the state", what="peak", megabytes=megabytes,
        ratio=round(extra / stage, 3), bar=round(MEMORY - 1, 3), holds=extra <= (MEMORY - 1) * stage,
    )  # fmt: skip


@contextmanager
def peak() -> Iterator[list[int]]:
    """Resident bytes before, and the most while it lasts, looked at every 2 ms."""
    page, ended, most = os.sysconf("SC_PAGE_SIZE"), threading.Event(), [0, 0]

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * page

    def watch() -> None:
        while not ended.wait(0.002):
            most[1] = max(most[1], resident())

    most[0] = most[1] = resident()
    thread = threading.Thread(target=watch)
    thread.start()
    yield most
    ended.set()
    thread.join()


# ---- resume ---------------------------------------------------------------------------------------------------------

MODEL = {
    "model_type": "llama",
    "vocab_size": 8192,
    "hidden_size": 256,
    "intermediate_size": 688,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "rms_norm_eps": 1e-5,
    "max_position_embeddings": 128,
}
BARE = """
import time
import torch
from neuron_trainer.models.llama import LlamaConfig, LlamaForCausalLM
from neuron_trainer.models.llama.config import from_values
import json, sys
imported = time.time()
model = LlamaForCausalLM(from_values(json.loads(sys.argv[1])))
optimizer = torch.optim.AdamW(model.parameters())
ids = torch.randint(0, 8192, (4, 128))
loss = torch.nn.functional.cross_entropy(model(ids).flatten(0, 1), ids.flatten())
loss.backward()
optimizer.step()
print(json.dumps({"import": imported, "step": time.time()}))
"""


def resume(folder: Path, rounds: int) -> list[dict[str, Any]]:
    """From the start of the process to the end of the first step: a bare loop, and a run that resumes."""
    config = _job(folder)
    command = [sys.executable, "-m", "neuron_trainer", "run", str(config)]
    subprocess.run([*command, "trainer.max_steps=2"], check=True, capture_output=True)
    bare, ours, phases = [], [], ""
    for number in range(rounds):
        begun = time.time()
        out = subprocess.run(
            [sys.executable, "-c", BARE, json.dumps(MODEL)], check=True, capture_output=True, text=True
        )
        bare.append(json.loads(out.stdout)["step"] - begun)
        begun = time.time()
        told = subprocess.run([*command, f"trainer.max_steps={3 + number}"], check=True, capture_output=True, text=True)
        lines = (folder / "log" / "metrics.jsonl").read_text().splitlines()
        ours.append(json.loads(lines[-1])["time"] - begun)
        phases = next((line for line in told.stderr.splitlines() if "first step done" in line), phases)
    each = [one / two for one, two in zip(ours, bare, strict=True)]
    ratio = statistics.median(each)
    return [
        _told(case="resume / import torch and a bare loop's first step", what="process start to first step",
              ours_ms=round(statistics.median(ours) * 1e3), other_ms=round(statistics.median(bare) * 1e3),
              ratio=round(ratio, 2), low=round(min(each), 2), high=round(max(each), 2), bar=RESUME,
              holds=ratio <= RESUME, phases=phases.partition("first step done: ")[2])
    ]  # fmt: skip


def _job(folder: Path) -> Path:
    import numpy as np
    from datasets import Dataset

    ids = np.random.default_rng(1).integers(0, 8192, (64, 128)).astype(np.int32)
    rows = {"input_ids": ids, "attention_mask": np.ones_like(ids), "labels": ids}
    Dataset.from_dict(rows).save_to_disk(str(folder / "data"))
    (folder / "model.json").write_text(json.dumps(MODEL))
    values = {
        "name": "bench", "model_source": "hf", "seed": 1,
        "trainer": {"devices": 1, "num_nodes": 1, "max_steps": 2},
        "exp_manager": {"explicit_log_dir": str(folder / "log"), "resume_if_exists": True,
                        "resume_ignore_no_checkpoint": True, "async_checkpointing": True,
                        "checkpoint_callback_params": {"every_n_train_steps": 0}},
        "distributed_strategy": {"tensor_model_parallel_size": 1},
        "data": {"micro_batch_size": 4, "global_batch_size": 4, "train_dir": str(folder / "data")},
        "model": {"model_config": str(folder / "model.json"), "encoder_seq_length": 128,
                  "optim": {"name": "adamw", "lr": 1e-3}},
        "precision": {"type": "fp32"},
    }  # fmt: skip
    (folder / "job.yaml").write_text(yaml.safe_dump(values))
    return folder / "job.yaml"


# ---- output ---------------------------------------------------------------------------------------------------------


def _told(**result: Any) -> dict[str, Any]:
    result |= {"load": round(os.getloadavg()[0], 1), "torch": torch.__version__}
    print(json.dumps(result), flush=True)
    return result


def plot(found: list[dict[str, Any]], file: Path) -> None:
    """Two panels over the size of the checkpoint."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    curves = [one for one in found if "curve" in one]
    sizes = [one["curve"] for one in curves]
    figure, panels = pyplot.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for panel, what in zip(panels, ("stall", "durable"), strict=True):
        for name in curves[0][what]:
            if what == "stall" or name != "copy":
                panel.plot(sizes, [one[what][name] for one in curves], marker="o", label=name)
        panel.set(xscale="log", yscale="log", xlabel="MB", ylabel="seconds", title=what)
        panel.legend(fontsize=8)
    figure.savefig(file, dpi=110)
    print(file, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
