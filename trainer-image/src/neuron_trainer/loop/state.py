"""A whole run as a checkpoint, and back: tensors by shard, trainer state and generators by rank 0."""

import io
import logging
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import torch
import torch.distributed as dist
from torch import Tensor

from neuron_api import contract, resumption
from neuron_api.derive import checkpoint, precision
from neuron_api.platform.topology import Topology
from neuron_trainer.checkpoint import hf_checkpoint, reader, retention, tensors
from neuron_trainer.checkpoint.manifest import Manifest, read
from neuron_trainer.checkpoint.memory.copies import MemoryCopies
from neuron_trainer.checkpoint.reader import HFReader
from neuron_trainer.checkpoint.staging import CheckpointTensor, Stage, in_place
from neuron_trainer.checkpoint.writer import Snapshot
from neuron_trainer.generators import generator_state, restore_generators
from neuron_trainer.models import lora
from neuron_trainer.models.family import Family
from neuron_trainer.parallel import hosts

from .adapters import RunAdapters
from .module import TrainingModule

log = logging.getLogger(__name__)

_METRICS: Final = "metrics"
"""Key of a copy's values for file names and ranks."""


@dataclass(frozen=True, slots=True)
class RunState:
    """What is saved and loaded; needs all ranks."""

    module: TrainingModule
    family: Family
    topology: Topology
    config_hash: str
    run_id: str = ""
    adapters: RunAdapters | None = None
    guard: Callable[[], None] = lambda: None
    """Raises where the log directory is no longer the run's."""

    def snapshot(self, folder: Path, trainer_state: dict[str, Any], stage: Stage | None) -> Snapshot:
        """Return the run at this moment, to be written to `folder`; with a stage it does not change when training goes
        on."""
        # Lightning has counted the epoch in the end of which, or of a part of which, a start ends.
        trainer_state = {**trainer_state, "epoch": self.module.position(trainer_state["global_step"]).epoch}
        manifest = self._manifest(trainer_state)
        stored = self._stored()
        return Snapshot(
            folder,
            stage.copy(stored) if stage is not None else in_place(stored),
            b"" if manifest.weights_only else self._with_generators(trainer_state),
            manifest,
            one_file_per_tensor=manifest.by_tensor,
            files=self.adapters.files() if self.adapters is not None else {},
            guard=self.guard,
        )

    def load(self, folder: Path) -> dict[str, Any]:
        """Restore everything; generators only when there are as many ranks as there were, and with the same seed."""
        parameters, optimizer = self.module.backend.parameters(), self.module.optimizer
        reader.load_tensors(
            folder,
            lambda names: {**tensors.weights(parameters, names), **tensors.optimizer_state(parameters, optimizer)},
        )
        if self.adapters is not None:
            self.adapters.resume(folder, read(folder))
        state = reader.load_trainer_state(folder)
        state.setdefault("pytorch-lightning_version", self.module.config.exp_manager.ckpt_ptl_version)
        tensors.set_step(parameters, optimizer, state["global_step"])
        self.module.backend.weights_loaded(state["global_step"])
        generators, saved = state["rng"], read(folder).config
        has_other_seed = saved is not None and saved.get("seed") != self.module.config.seed
        if len(generators) == dist.get_world_size() and not has_other_seed:
            note = restore_generators(generators[dist.get_rank()], self.module.backend.device)
            if note and dist.get_rank() == 0:
                log.info("%s", note)
        return state

    def in_memory(self) -> dict[str, CheckpointTensor]:
        """Return the tensors of a copy in memory: those that the optimizer updates, and its state, as exact as they
        are."""
        return tensors.to_store(self.module.backend.parameters(), self.module.optimizer, None)

    def beside_tensors(self, trainer_state: dict[str, Any]) -> dict[str, Any]:
        """Return the trainer's state of a copy in memory, with the generators of this process."""
        step = trainer_state["global_step"]
        generators = [generator_state(self.module.backend.device)]
        return {
            **trainer_state,
            "epoch": self.module.position(step).epoch,
            "rng": generators,
            _METRICS: self.metrics(step),
        }

    def from_copy(
        self, folder: Path, exact: Mapping[str, Tensor], trainer_state: dict[str, Any], generators: list[Any] | None
    ) -> Snapshot:
        """Return the checkpoint of a copy in memory, whose tensors are written from there; `generators`: on rank 0."""
        manifest = self._manifest(trainer_state, trainer_state.pop(_METRICS), trainer_state["consumed_samples"])
        return Snapshot(
            folder,
            in_place(tensors.of_exact(self._stored(), exact)),
            _content({**trainer_state, "rng": generators}) if generators is not None else b"",
            manifest,
            one_file_per_tensor=manifest.by_tensor,
            guard=self.guard,
        )

    def load_memory(self, copies: MemoryCopies, step: int) -> dict[str, Any]:
        """Restore everything from this process's copy of a step."""
        state = copies.read(step)
        tensors.set_step(self.module.backend.parameters(), self.module.optimizer, step)
        self.module.backend.weights_loaded(step)
        restore_generators(state["rng"][0], self.module.backend.device)
        del state[_METRICS]
        return state

    def load_weights(self, folder: Path) -> None:
        """`weight_init_only`, or a model of `transformers`: nothing but the model's tensors."""
        if self.adapters is not None:
            self.adapters.begin(folder)
            self.module.backend.weights_loaded(0)
            return
        parameters = self.module.backend.parameters()
        files = HFReader(folder, self.family.hf_tensors) if hf_checkpoint.is_hf_checkpoint(folder) else None
        reader.load_tensors(folder, lambda names: tensors.weights(parameters, names), files)
        self.module.backend.weights_loaded(0)

    def metrics(self, step: int) -> dict[str, float]:
        """Return values for file names and for save_top_k; raises `DivergenceError` where they are none."""
        module, newest = self.module, self.module.results.before_checkpoint()
        values = {
            "step": step,
            "epoch": module.position(step).epoch,
            "global_step": float(step),
            "consumed_samples": float(module.consumed_samples),
            "reduced_train_loss": newest.loss if newest is not None else 0.0,
        }
        if module.val_loss is None or module.val_step != step:
            return values  # an older one is not this step's, and a resumed run would not know it
        return {**values, retention.VALIDATION: module.val_loss}

    def _stored(self) -> dict[str, CheckpointTensor]:
        weights_only = self.module.config.exp_manager.checkpoint_callback_params.save_weights_only
        optimizer = None if weights_only else self.module.optimizer
        dtype, parameters = self._dtype(), self.module.backend.parameters()
        if self.adapters is None:
            return tensors.to_store(parameters, optimizer, dtype)
        is_merged = self.adapters.entry.is_merged
        stored = tensors.to_store(parameters, optimizer, dtype, is_beside=lora.names.is_adapter if is_merged else None)
        return {**self.adapters.stored_base(dtype), **stored}

    def _dtype(self) -> torch.dtype | None:
        """Return the dtype of the model's tensors in a checkpoint; None: the one that the optimizer updates."""
        is_bf16 = checkpoint.stored_widths(self.module.config).weight == torch.bfloat16.itemsize
        return torch.bfloat16 if is_bf16 else None

    def _with_generators(self, trainer_state: dict[str, Any]) -> bytes:
        """`user_content.pt` on rank 0."""
        generators: list[Any] | None = [None] * dist.get_world_size() if dist.get_rank() == 0 else None
        dist.gather_object(generator_state(self.module.backend.device), generators, group=hosts.group())
        if generators is None:
            return b""
        return _content({**trainer_state, "rng": generators})

    def _manifest(
        self, trainer_state: dict[str, Any], metrics: dict[str, float] | None = None, samples: int | None = None
    ) -> Manifest:
        """`metrics`, `samples`: by default those of this moment."""
        config, step = self.module.config, trainer_state["global_step"]
        metrics = self.metrics(step) if metrics is None else metrics
        return Manifest(
            step=step,
            epoch=trainer_state["epoch"],
            consumed_samples=self.module.consumed_samples if samples is None else samples,
            global_batch_size=config.data.global_batch_size,
            job_uid=os.environ.get(contract.ENV_JOB_UID, ""),
            config_hash=self.config_hash,
            config=resumption.effective(config),
            run_id=self.run_id,
            family=self.family.kind,
            architecture=asdict(self.family.config),
            topology={**asdict(self.topology), "zero1": config.distributed_strategy.zero1},
            precision=config.precision.type,
            dtype="bfloat16"
            if self._dtype()
            else {"bf16": "bfloat16", "fp32": "float32"}[precision.policy(config).stored],
            time=datetime.now(UTC),
            metrics={name: value for name, value in metrics.items() if math.isfinite(value)},
            adapters=self.adapters.entry if self.adapters is not None else None,
            by_tensor=config.exp_manager.save_xser,
            weights_only=config.exp_manager.checkpoint_callback_params.save_weights_only,
        )


def _content(state: dict[str, Any]) -> bytes:
    content = io.BytesIO()
    torch.save(state, content)
    return content.getvalue()
