"""Saving and loading a whole run: tensors by shard, trainer state and generators by rank 0."""

import os
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch.distributed as dist

from neuron_api import contract
from neuron_api.derive import precision
from neuron_api.topology import Topology
from neuron_trainer.checkpoint import reader, rng, tensors, writer
from neuron_trainer.checkpoint.manifest import FileEntry, Manifest
from neuron_trainer.models.family import Family

from .module import TrainingModule


@dataclass(frozen=True, slots=True)
class RunState:
    """What `strategy` calls; needs all ranks."""

    module: TrainingModule
    family: Family
    topology: Topology
    config_hash: str
    weights_only: bool = False
    """Take up weights alone (`weight_init_only`)."""

    def save(self, folder: Path, trainer_state: dict[str, Any]) -> None:
        """Write a complete checkpoint."""
        parameters = self.module.backend.parameters()
        everything = {**tensors.weights(parameters), **tensors.optimizer_state(parameters, self.module.optimizer)}
        generators: list[Any] | None = [None] * dist.get_world_size() if dist.get_rank() == 0 else None
        dist.gather_object(rng.state(), generators)
        if generators is not None:
            trainer_state["rng"] = generators
        writer.write(folder, everything, trainer_state, lambda files: self._manifest(trainer_state, files))

    def load(self, folder: Path) -> dict[str, Any]:
        """Restore everything; generators only when there are as many ranks as there were."""
        parameters = self.module.backend.parameters()
        everything = {**tensors.weights(parameters), **tensors.optimizer_state(parameters, self.module.optimizer)}
        reader.load_tensors(folder, everything)
        state = reader.load_trainer_state(folder)
        tensors.set_step(parameters, self.module.optimizer, state["global_step"])
        self.module.backend.weights_changed(state["global_step"])
        for group, rate in zip(self.module.optimizer.param_groups, state["lr_schedulers"][0]["_last_lr"], strict=True):
            group["lr"] = rate  # the schedule's state alone does not set it
        generators = state["rng"]
        if len(generators) == dist.get_world_size():
            rng.restore(generators[dist.get_rank()])
        return state

    def load_weights(self, folder: Path) -> None:
        """`weight_init_only`: nothing but the model's tensors."""
        reader.load_tensors(folder, tensors.weights(self.module.backend.parameters()))

    def metrics(self, step: int, epoch: int) -> dict[str, float]:
        """Values for file names and for save_top_k; raises `DivergenceError` where they are none."""
        module, newest = self.module, self.module.results.before_checkpoint()
        found = {
            "step": step,
            "epoch": epoch,
            "global_step": float(step),
            "consumed_samples": float(module.consumed_samples),
            "reduced_train_loss": newest.loss if newest is not None else 0.0,
        }
        return found if module.val_loss is None else {**found, "val_loss": module.val_loss}

    def _manifest(self, trainer_state: dict[str, Any], files: dict[str, FileEntry]) -> Manifest:
        config, step, epoch = self.module.config, trainer_state["global_step"], trainer_state["epoch"]
        return Manifest(
            step=step,
            epoch=epoch,
            consumed_samples=self.module.consumed_samples,
            global_batch_size=config.data.global_batch_size,
            job_uid=os.environ.get(contract.ENV_JOB_UID, ""),
            config_hash=self.config_hash,
            architecture=asdict(self.family.config),
            topology={**asdict(self.topology), "zero1": config.distributed_strategy.zero1},
            precision=config.precision.type,
            dtype={"bf16": "bfloat16", "fp32": "float32"}[precision.policy(config).stored],
            time=datetime.now(UTC),
            metrics=self.metrics(step, epoch),
            files=files,
        )
