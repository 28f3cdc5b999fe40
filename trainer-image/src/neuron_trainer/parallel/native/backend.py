"""`ParallelBackend` over what PyTorch has."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial

import torch
import torch.distributed as dist
from torch import Tensor, nn

from neuron_api.config import TrainingConfig
from neuron_api.derive import hardware, precision
from neuron_api.platform.topology import Topology
from neuron_trainer.models.family import Family
from neuron_trainer.parallel import dtypes, hosts, stages
from neuron_trainer.parallel.axis import GroupAxis
from neuron_trainer.parallel.backend import Batch, LocalParameter, Outcome, Share
from neuron_trainer.parallel.batches import part
from neuron_trainer.parallel.hosts import Ballot
from neuron_trainer.parallel.loss.samples import Samples, StartBiases, StartModel, adapters_off, computed_weights
from neuron_trainer.parallel.schedule import GradientAccumulation, MicroBatchSchedule
from neuron_trainer.parallel.turns import staggered

from . import mesh, parameters
from .blocks import BlockBuilder
from .compilation import CompiledLoss
from .data import data_parallel
from .pipeline import copies
from .precision import weights
from .precision.weights import RoundedWeights, WorkingWeights
from .schedule import Pipelined


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
        self._part = part(config.model.encoder_seq_length, self._meshes.context_rank, topology.context_parallel)
        context = self._meshes.context
        self._samples = Samples(
            config, topology, self, self._part, context=GroupAxis(context.get_group()) if context is not None else None
        )
        if self._meshes.stages is not None:
            self._samples.from_last_stage = self._from_last_stage
        if (backend := hardware.compiler_of(config, device.type)) is not None:
            self._samples.loss = CompiledLoss(self._samples.loss, backend)
        self._parameters: list[parameters.NativeParameter] = []
        self._frozen: list[parameters.NativeParameter] = []
        self._blocks: list[nn.Module] = []
        self._copied: list[parameters.NativeParameter] = []
        """Those that another stage has, too."""
        self._updates = 0
        self._micro_batches = 1
        """Over which gradients are sums."""
        self._compute_weights: RoundedWeights | WorkingWeights | None = None
        """What is computed with where it has to be made from the masters; FSDP alone does so by itself."""

    def build(self, family: Family) -> nn.Module:
        """See `ParallelBackend`; with several blocks on this stage, all of them."""
        numbers = stages.own_blocks(self._config, self._meshes.stage)
        self._builder = self._block_builder(family)
        blocks = staggered(
            lambda: {number: self._builder.build(number) for number in numbers},
            self._topology.processes_per_node,
            self._config.trainer.sequential_move_factor,
        )
        each = dist.get_world_size() // self._topology.pipeline_parallel
        self._parameters = [parameter for module in blocks.values() for parameter in parameters.collect(module, each)]
        self._frozen = [
            parameter for module in blocks.values() for parameter in parameters.collect(module, each, is_frozen=True)
        ]
        stages.mark(self._frozen, self._builder.aliases)
        self._copied = stages.mark(self._parameters, self._builder.aliases)
        if self._meshes.data is None and dtypes.is_mixed(self._policy):
            self._compute_weights = WorkingWeights(
                list(blocks.values()), self._parameters, self._policy, self._config.seed
            )
        elif self._policy.is_stochastic and self._policy.has_masters:
            self._compute_weights = RoundedWeights(list(blocks.values()), self._parameters, self._config.seed)
        if self._meshes.data is not None and self._builder.is_replicated:
            module = data_parallel.replicated(blocks[0], self._meshes.data)
            self._schedule: MicroBatchSchedule = self._accumulation(module)
        else:
            self._schedule = self._scheduled(blocks)
        self._family, self._blocks = family, list(blocks.values())
        return nn.ModuleList(blocks.values()) if len(blocks) > 1 else blocks[numbers[0]]

    def _block_builder(self, family: Family) -> BlockBuilder:
        return BlockBuilder(self._config, self._topology, self._meshes, self._part, family, self.device)

    def _scheduled(self, blocks: dict[int, nn.Module]) -> MicroBatchSchedule:
        if self._meshes.links is None:
            return self._accumulation(blocks[0])
        return Pipelined(blocks, self._meshes.links, self._topology.micro_batches, self._samples.loss)

    def _accumulation(self, module: nn.Module) -> MicroBatchSchedule:
        return GradientAccumulation(module, self._samples.loss, begin=partial(data_parallel.start_micro_batch, module))

    def parameters(self) -> Sequence[LocalParameter]:
        """See `ParallelBackend`."""
        return self._parameters

    def frozen_parameters(self) -> Sequence[LocalParameter]:
        """See `ParallelBackend`."""
        return self._frozen

    def without_adapters(self) -> AbstractContextManager[None]:
        """See `ParallelBackend`."""
        return adapters_off(self._builder.adapters)

    def weights_loaded(self, updates: int) -> None:
        """See `ParallelBackend`; what a pass over the data has gathered is of other weights."""
        self._updates = updates
        data_parallel.reshard(self._blocks)

    def accumulate(self, batch: Batch) -> Outcome:
        """See `ParallelBackend`."""
        self._gather()
        batches = self._samples.prepare(batch)
        self._micro_batches = len(batches)
        return Outcome(*self._schedule.train(batches))

    def evaluate(self, batch: Batch) -> Outcome:
        """See `ParallelBackend`."""
        self._gather()
        return Outcome(*self._schedule.evaluate(self._samples.prepare(batch)))

    def log_probs(self, batch: Batch) -> Tensor:
        """See `ParallelBackend`; the last stage of a pipeline sends them to the others."""
        self._gather()
        return self._samples.log_probs(self._schedule, batch)

    def keep_reference(self) -> None:
        """See `ParallelBackend`: a second model, split as the first and kept in the dtype that is computed with; with
        LoRA the model is there, and the biases alone are kept."""
        if self._builder.adapters:
            biases = StartBiases(self._parameters, partial(data_parallel.reshard, self._blocks))
            measure = partial(self._samples.log_probs, self._schedule)
            start = StartModel(self._blocks, self._builder.adapters, biases, self._gather, measure)
            self._samples.reference = start.log_probs
            return
        builder = self._block_builder(replace(self._family, initialize=False))
        numbers = stages.own_blocks(self._config, self._meshes.stage)
        blocks = {number: builder.build(number, is_frozen=True).eval() for number in numbers}
        with torch.no_grad():
            target = (parameter for module in blocks.values() for parameter in module.parameters())
            wholes = computed_weights(self._parameters, self._policy, seed=self._config.seed, updates=self._updates)
            for frozen, whole in zip(target, wholes, strict=True):
                frozen.copy_(weights.cut_as(frozen, whole))
        self._samples.reference = partial(self._samples.log_probs, self._scheduled(blocks))

    def _from_last_stage(self, values: Tensor) -> Tensor:
        dist.all_reduce(values, group=self._meshes.stages)
        return values

    def _gather(self) -> None:
        if self._compute_weights is not None:
            self._compute_weights.gather(self._updates)

    def finish_gradients(self) -> None:
        """See `ParallelBackend`; FSDP has averaged over data-parallel ranks during the last backward pass."""
        parameters.move_gradients(self._parameters, self._micro_batches)
        if self._meshes.links is not None:
            copies.add_gradients(self._copied, self._meshes.links)

    def end_step(self, updates: int) -> None:
        """See `ParallelBackend`; weights are rounded when they are gathered."""
        self._updates = updates
        for parameter in self._parameters:
            parameter.used.grad = None
            parameter.leaf.grad = None

    def begin_vote(self, *wishes: bool, measured: Sequence[int] = ()) -> Callable[[], Ballot]:
        """See `ParallelBackend`."""
        return hosts.begin_vote(*wishes, measured=measured)

    def sum_over_processes(self, values: Tensor) -> Tensor:
        """See `ParallelBackend`."""
        if dist.get_world_size() > 1:
            dist.all_reduce(values, group=hosts.group() if values.is_cpu else None)
        return values
