"""`ParallelBackend` over what PyTorch has."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.distributed.tensor.parallel import loss_parallel

from neuron_api.config import TrainingConfig
from neuron_api.topology import Topology
from neuron_trainer.models import recompute
from neuron_trainer.models.family import Family
from neuron_trainer.models.prediction import Prediction
from neuron_trainer.parallel.backend import LocalParameter, Share

from . import data_parallel, mesh, parameters, tensor_parallel

IGNORED_LABEL = -100


class NativeBackend:
    """Needs an initialised process group; every process makes the same calls in the same order."""

    def __init__(self, config: TrainingConfig, topology: Topology, device: torch.device) -> None:
        self.device = device
        self._config = config
        strategy = config.distributed_strategy
        self._meshes = mesh.build(
            device.type,
            topology.tensor_parallel,
            topology.data_parallel,
            zero1=strategy.zero1,
            always_data=config.precision.type != "fp32",
        )
        self.share = Share(self._meshes.data_rank, self._meshes.data_size)
        self._module: nn.Module | None = None
        self._parameters: list[LocalParameter] = []

    def build(self, family: Family) -> nn.Module:
        """See `ParallelBackend`: meta device, tensor parallel, materialise shard by shard, data parallel."""
        module: nn.Module = family.on_meta()
        if self._meshes.tensor is not None:
            sequence_parallel = self._config.distributed_strategy.sequence_parallel
            tensor_parallel.apply(module, self._meshes.tensor, family.roles, sequence_parallel=sequence_parallel)
            family.tie(module)
        self._materialise(module, family)
        recompute.apply(module, self._config.model, family.layers)
        if self._meshes.data is not None:
            data_parallel.apply(module, self._meshes.data, family.layers, self._config.precision.type)
        self._module = module
        self._parameters = parameters.collect(module, dist.get_world_size())
        return module

    def _materialise(self, module: nn.Module, family: Family) -> None:
        """Replace each meta parameter by its initial value; one full tensor at a time is in memory."""
        for name, meta in list(module.named_parameters()):
            full = family.draw(name, meta.shape).to(self.device)
            if isinstance(meta, DTensor):
                # src_data_rank None: every rank has the same full tensor and cuts its own shard, no broadcast.
                full = distribute_tensor(full, meta.device_mesh, meta.placements, src_data_rank=None)
            owner, _, attribute = name.rpartition(".")
            setattr(module.get_submodule(owner), attribute, nn.Parameter(full))
        family.tie(module)

    def parameters(self) -> Sequence[LocalParameter]:
        """See `ParallelBackend`."""
        return self._parameters

    def loss(self, output: Tensor | Prediction, labels: Tensor) -> Tensor:
        """Labels int64 [b, S] are shifted here (B-4 "HF ours"); -100 does not count; no valid label gives 0."""
        logits, auxiliary = output if isinstance(output, Prediction) else (output, 0.0)
        shifted = F.pad(labels[:, 1:], (0, 1), value=IGNORED_LABEL).flatten()
        count = (shifted != IGNORED_LABEL).sum().clamp(min=1)
        total = F.cross_entropy(logits.float().flatten(0, 1), shifted, ignore_index=IGNORED_LABEL, reduction="sum")
        if isinstance(total, DTensor):
            total = total.full_tensor()
        return total / count + auxiliary

    def loss_scope(self) -> AbstractContextManager[Any]:
        """Cross-entropy on logits that stay split over the vocabulary."""
        return loss_parallel() if self._meshes.tensor is not None else nullcontext()

    def start_micro_batch(self, is_last: bool) -> None:
        """See `ParallelBackend`."""
        assert self._module is not None
        data_parallel.start_micro_batch(self._module, is_last)

    def finish_gradients(self) -> None:
        """See `ParallelBackend`; FSDP has averaged over data-parallel ranks during the last backward pass."""
        for parameter in self._parameters:
            parameters.move_gradient(parameter)

    def drop_gradients(self) -> None:
        """See `ParallelBackend`."""
        for parameter in self._parameters:
            parameter.whole.grad = None
            parameter.leaf.grad = None

    def sum_over_processes(self, values: Tensor) -> Tensor:
        """See `ParallelBackend`."""
        if dist.get_world_size() > 1:
            dist.all_reduce(values)
        return values
