"""The loops: each trains so many steps and gives the times at which they ended."""

import logging
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from neuron_trainer.launcher import device_environment

from .setting import CLIP, LR, Size, batches, config, loss_of, module

Time = tuple[float, float]
"""On the clock and of the processor (all threads), seconds. On a busy machine only the second is the loop's own."""


def now() -> Time:
    """This moment."""
    return time.perf_counter(), time.process_time()


Loop = Callable[[Path, Size, str, int], list[Time]]
"""Folder, size, `fp32` or `bf16`, steps."""


def bare(folder: Path, size: Size, dtype: str, steps: int) -> list[Time]:
    """Forward, backward, clipping, AdamW; bf16 is autocast on fp32 weights, as in the loops that wrap it."""
    model, rows, ends = module(config(folder, size, "fp32", steps)), batches(size), []
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, foreach=True)
    for step in range(steps):
        for number in range(size.micro_batches):
            start = (step * size.rows + number * size.micro) % 128
            ids = rows[start : start + size.micro]
            with torch.autocast("cpu", torch.bfloat16) if dtype == "bf16" else nullcontext():
                loss = loss_of(model(ids), ids) / size.micro_batches
            loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP, foreach=True)
        optimizer.step()
        optimizer.zero_grad()
        loss.item()
        ends.append(now())
    return ends


@contextmanager
def as_a_worker() -> Iterator[None]:
    """With the variables that the launcher sets for its workers."""
    before = dict(os.environ)
    os.environ.update(device_environment.CONSTANT["cpu"])
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@as_a_worker()
def ours(folder: Path, size: Size, dtype: str, steps: int) -> list[Time]:
    """A whole start on one rank: loader, metrics, hand-off, checkpoint hooks."""
    from neuron_api import contract
    from neuron_api.platform.topology import Topology
    from neuron_trainer.ipc.phases import Phases
    from neuron_trainer.ipc.worker_channel import Start, WorkerChannel
    from neuron_trainer.loop.run import Run
    from neuron_trainer.metrics.history import MetricsFile

    kind, ends = {"fp32": "fp32", "bf16": "mixed_precision"}[dtype], []
    off = {"exp_manager__create_checkpoint_callback": size.name == "nano"}
    wanted = config(folder, size, kind, steps, **off)
    run = Run.build(wanted, Topology.from_config(wanted), "", torch.device("cpu"), lambda: False, Phases())
    run.module.on_train_batch_end = lambda *_: ends.append(now())  # after the callbacks
    (folder / "log").mkdir(exist_ok=True)
    (folder / "handoff").mkdir(exist_ok=True)
    metrics = MetricsFile(folder / "log" / contract.METRICS_FILE)
    run.fit(Start(0), folder / "log", folder / "checkpoints", WorkerChannel(folder / "handoff"), metrics, rank=0)
    return ends


def lightning(folder: Path, size: Size, dtype: str, steps: int) -> list[Time]:
    """Lightning's own loop with automatic optimization, without logger, checkpoints and progress bar."""
    import lightning.pytorch as pl

    ends: list[Time] = []

    class Module(pl.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = module(config(folder, size, "fp32", steps))

        def training_step(self, batch: Tensor, _: int) -> Tensor:
            return loss_of(self.model(batch), batch)

        def configure_optimizers(self) -> Any:
            return torch.optim.AdamW(self.parameters(), lr=LR, foreach=True)

        def on_train_batch_end(self, _: Any, __: Any, index: int) -> None:
            if (index + 1) % size.micro_batches == 0:
                ends.append(now())

    trainer = pl.Trainer(
        accelerator="cpu", devices=1, max_steps=steps, max_epochs=-1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, gradient_clip_val=CLIP,
        accumulate_grad_batches=size.micro_batches, precision="bf16-mixed" if dtype == "bf16" else "32-true",
        default_root_dir=folder,
    )  # fmt: skip
    trainer.fit(Module(), torch.utils.data.DataLoader(list(batches(size)), batch_size=size.micro))
    return ends


def hugging_face(folder: Path, size: Size, dtype: str, steps: int) -> list[Time]:
    """`transformers.Trainer`, without logging, saving and progress bar."""
    import transformers

    ends: list[Time] = []

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = module(config(folder, size, "fp32", steps))

        def forward(self, input_ids: Tensor, labels: Tensor) -> dict[str, Tensor]:
            logits = self.model(input_ids)
            return {"loss": loss_of(logits, labels), "logits": logits}

    class Clock(transformers.TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            ends.append(now())

    arguments = transformers.TrainingArguments(
        output_dir=str(folder / "hf"), use_cpu=True, max_steps=steps, per_device_train_batch_size=size.micro,
        gradient_accumulation_steps=size.micro_batches, learning_rate=LR, lr_scheduler_type="constant",
        max_grad_norm=CLIP, optim="adamw_torch", bf16=dtype == "bf16", logging_strategy="no", save_strategy="no",
        report_to=[], disable_tqdm=True, dataloader_pin_memory=False,
    )  # fmt: skip
    rows = [{"input_ids": row, "labels": row} for row in batches(size)]
    trainer = transformers.Trainer(Model(), arguments, train_dataset=rows, callbacks=[Clock()])
    trainer.remove_callback(transformers.PrinterCallback)  # its lines are not ours
    trainer.train()
    return ends


LOOPS: Final[Mapping[str, Loop]] = {
    "bare": bare, "ours": ours, "lightning": lightning,
    **({"hugging face": hugging_face} if find_spec("accelerate") else {}),
}  # fmt: skip


def quiet() -> None:
    """The loops' advice is not what is measured."""
    warnings.simplefilter("ignore")
    for name in ("lightning.pytorch", "lightning.fabric", "neuron_trainer", "transformers", "torch"):
        logging.getLogger(name).setLevel(logging.ERROR)
