"""`ParallelBackend` over what PyTorch has."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.distributed.tensor.parallel import loss_parallel

from neuron_api.config import TrainingConfig
from neuron_api.derive import alignment, precision, sharding
from neuron_api.platform.topology import Topology
from neuron_trainer.models import recompute
from neuron_trainer.models.family import Family
from neuron_trainer.models.interface import Part, Prediction
from neuron_trainer.parallel.backend import Batch, LocalParameter, Share

from . import mesh, parameters, staggered_init
from .context import context_parallel
from .data import data_parallel
from .expert import expert_parallel, token_shuffle
from .pipeline import shared_weight, stages
from .precision import dtypes
from .precision.rounded_weights import RoundedWeights
from .precision.working_weights import WorkingWeights
from .schedule import GradientAccumulation, MicroBatch, MicroBatchSchedule, Pipelined
from .tensor import loss, tensor_parallel


class NativeBackend:
    """Needs an initialised process group; every process makes the same calls in the same order."""

    def __init__(self, config: TrainingConfig, topology: Topology, device: torch.device) -> None:
        self.device = device
        self._config, self._topology = config, topology
        self._policy = precision.policy(config)
        self._meshes = mesh.build(
            device.type,
            topology,
            experts=config.distributed_strategy.expert_model_parallel_size,
            shuffle=config.distributed_strategy.token_shuffle_group_size,
            zero1=config.distributed_strategy.zero1,
        )
        self.share = Share(self._meshes.data_rank, self._meshes.data_size)
        self._part = context_parallel.part(
            config.model.encoder_seq_length, self._meshes.context_rank, topology.context_parallel
        )
        self._parameters: list[parameters.NativeParameter] = []
        self._copied: list[parameters.NativeParameter] = []
        """Those that another stage has, too."""
        self._updates = 0
        self._compute_weights: RoundedWeights | WorkingWeights | None = None
        """What is computed with where it has to be made from the masters; FSDP alone does so by itself."""

    def build(self, family: Family) -> nn.Module:
        """See `ParallelBackend`; with several blocks on this stage, all of them."""
        numbers = stages.own_blocks(self._config, self._meshes.stage)
        self._aliases = shared_weight.shared(family.on_meta()) if self._meshes.stages is not None else {}
        blocks = staggered_init.staggered(
            lambda: {number: self._block(family, number) for number in numbers},
            self._topology.processes_per_node,
            self._config.trainer.sequential_move_factor,
        )
        each = dist.get_world_size() // self._topology.pipeline_parallel
        self._parameters = [parameter for module in blocks.values() for parameter in parameters.collect(module, each)]
        self._copied = shared_weight.mark(self._parameters, self._aliases)
        if self._meshes.data is None and dtypes.is_mixed(self._policy):
            self._compute_weights = WorkingWeights(
                list(blocks.values()), self._parameters, self._policy, self._config.seed
            )
        elif self._policy.is_stochastic and self._policy.has_masters:
            self._compute_weights = RoundedWeights(list(blocks.values()), self._parameters, self._config.seed)
        share = self._loss = loss.Loss(self._part)
        self._schedule: MicroBatchSchedule
        if self._meshes.data is not None and self._is_replicated:
            self._schedule = GradientAccumulation(data_parallel.replicated(blocks[0], self._meshes.data), share)
        elif self._meshes.stages is None:
            self._schedule = GradientAccumulation(blocks[0], share)
        else:
            self._schedule = Pipelined(blocks, self._meshes.stages, self._topology.micro_batches, share)
        return nn.ModuleList(blocks.values()) if len(blocks) > 1 else blocks[numbers[0]]

    @property
    def _is_replicated(self) -> bool:
        """Return whether processes share samples, whole weights and nothing else."""
        meshes = self._meshes
        is_split = self._config.distributed_strategy.zero1 or meshes.tensor or meshes.stages or meshes.experts
        return not (is_split or dtypes.is_mixed(self._policy) or self._config.bucket_size_collectives)

    def _block(self, family: Family, number: int) -> nn.Module:
        """Meta device, this block's modules, tensor parallel, materialise shard by shard, data parallel."""
        module: nn.Module = family.on_meta()
        if self._topology.pipeline_parallel > 1:
            stages.prune_to_stage(module, self._config, family.layers, number)
        modules = dict(module.named_modules())
        layers = [name for name in family.layers if name in modules]
        if self._meshes.experts is not None:
            expert_parallel.apply(module, self._meshes.experts)
        if self._meshes.tensor is not None:
            roles = {name: role for name, role in family.roles.items() if self._holds(modules, name)}
            sequence_parallel = self._config.distributed_strategy.sequence_parallel
            copies = sharding.requested_replication(self._config)
            tensor_parallel.apply(
                module,
                self._meshes.tensor,
                roles,
                sequence_parallel=sequence_parallel,
                copies=copies,
                reduction=dtypes.reduction(self._policy),
            )
            self._tie(family, module)
        self._materialise(module, family)
        if self._meshes.shuffle is not None:
            token_shuffle.apply(module, self._meshes.shuffle)
        if self._meshes.context is not None:
            context_parallel.apply(module, self._meshes.context, self._part)
        recompute.apply(module, self._config.model, layers)
        if self._meshes.data is not None and not self._is_replicated:
            data_parallel.apply(
                module,
                self._meshes.data,
                layers,
                dtypes.mixed_precision(self._policy),
                experts=self._meshes.experts_data,
                bucket=self._config.bucket_size_collectives,
            )
        if self._policy.is_autocast:
            dtypes.autocast(module, self.device.type)
        if self._meshes.context is not None or self._meshes.stages is not None:  # else ids say it: whole samples
            module.register_forward_pre_hook(partial(_with_part, self._part), with_kwargs=True)
        if self._meshes.stages is not None:
            module.register_forward_hook(_plain)
        return module

    def _tie(self, family: Family, module: nn.Module) -> None:
        """In a pipeline no stage has both names of a shared weight."""
        if self._meshes.stages is None:
            family.tie(module)

    @staticmethod
    def _holds(modules: dict[str, nn.Module], name: str) -> bool:
        return name in modules and not isinstance(modules[name], stages.PassThrough)

    def _materialise(self, module: nn.Module, family: Family) -> None:
        """Replace each meta parameter by its initial value; one full tensor at a time is in memory."""
        for name, meta in list(module.named_parameters()):
            full = family.init_parameter(self._aliases.get(name, name), meta.shape)
            full = full.to(self.device, dtypes.TORCH[self._policy.stored])
            if isinstance(meta, DTensor):
                # src_data_rank None: every rank has the same full tensor and cuts its own shard, no broadcast.
                full = distribute_tensor(full, meta.device_mesh, meta.placements, src_data_rank=None)
            owner, _, attribute = name.rpartition(".")
            setattr(module.get_submodule(owner), attribute, nn.Parameter(full))
        self._tie(family, module)

    def parameters(self) -> Sequence[LocalParameter]:
        """See `ParallelBackend`."""
        return self._parameters

    def weights_loaded(self, updates: int) -> None:
        """See `ParallelBackend`."""
        self._updates = updates

    def accumulate(self, batch: Batch) -> Tensor:
        """See `ParallelBackend`."""
        self._gather()
        with self._loss_scope(batch):
            return self._schedule.train(self._micro_batches(batch))

    def evaluate(self, batch: Batch) -> Tensor:
        """See `ParallelBackend`."""
        self._gather()
        with self._loss_scope(batch):
            return self._schedule.evaluate(self._micro_batches(batch))

    def _gather(self) -> None:
        if self._compute_weights is not None:
            self._compute_weights.gather(self._updates)

    def _micro_batches(self, batch: Batch) -> list[MicroBatch]:
        rows = self._config.data.micro_batch_size
        ids = context_parallel.cut(batch["input_ids"], self._part)
        further = {}
        if "position_ids" in batch:
            further["positions"] = torch.split(context_parallel.cut(batch["position_ids"], self._part), rows)
        if "document_ids" in batch:
            further["documents"] = torch.split(batch["document_ids"], rows)
        labels = batch["labels"]
        if len(labels) == rows:
            return [MicroBatch(ids, labels, {name: values[0] for name, values in further.items()})]
        parts = zip(torch.split(ids, rows), torch.split(labels, rows), strict=True)
        return [
            MicroBatch(rows_of_ids, targets, {name: values[index] for name, values in further.items()})
            for index, (rows_of_ids, targets) in enumerate(parts)
        ]

    @contextmanager
    def _loss_scope(self, batch: Batch) -> Iterator[None]:
        """Cross-entropy on logits that stay split over the vocabulary; over which labels the mean is taken."""
        with (
            loss_parallel() if self._meshes.tensor is not None else nullcontext(),
            self._loss.divided_by(
                self._labels_per_micro_batch(batch) if alignment.weighs_tokens(self._config) else None
            ),
        ):
            yield

    def _labels_per_micro_batch(self, batch: Batch) -> Tensor:
        """Return the labels that count in an average micro-batch of the global batch, at least one in all of it: the
        mean over micro-batches and data-parallel processes is then that over the labels. A collective."""
        number = torch.float64 if self.device.type == "cpu" else torch.float32
        labels = self.sum_over_processes(loss.count(batch["labels"]).to(number).reshape(1))[0]
        # The processes of a replica count the same samples, so the sum has each label as often as a replica processes.
        copies = dist.get_world_size() / self.share.size
        return (labels.clamp(min=copies) / (dist.get_world_size() * self._topology.micro_batches)).float()

    def finish_gradients(self) -> None:
        """See `ParallelBackend`; FSDP has averaged over data-parallel ranks during the last backward pass."""
        for parameter in self._parameters:
            parameters.move_gradient(parameter)
        if self._meshes.stages is not None:
            shared_weight.add_gradients(self._copied, self._meshes.stages)

    def end_step(self, updates: int) -> None:
        """See `ParallelBackend`; weights are rounded when they are gathered."""
        self._updates = updates
        for parameter in self._parameters:
            parameter.used.grad = None
            parameter.leaf.grad = None

    def begin_vote(self, *wishes: bool) -> Callable[[], tuple[bool, ...]]:
        """See `ParallelBackend`: one asynchronous all-reduce of as many numbers through gloo."""
        if dist.get_world_size() == 1:
            return lambda: wishes
        votes = torch.tensor([int(wish) for wish in wishes])
        work = dist.all_reduce(votes, async_op=True)

        def answer() -> tuple[bool, ...]:
            work.wait()
            return tuple(vote > 0 for vote in votes.tolist())

        return answer

    def sum_over_processes(self, values: Tensor) -> Tensor:
        """See `ParallelBackend`."""
        if dist.get_world_size() > 1:
            dist.all_reduce(values)
        return values


def _with_part(part: Part, _: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, Any]:
    return inputs, {**named, "part": part}


def _plain(_: nn.Module, __: tuple[Any, ...], output: Any) -> Any:
    """PyTorch's pipelines hand on plain tuples only."""
    return tuple(output) if isinstance(output, Prediction) else output
