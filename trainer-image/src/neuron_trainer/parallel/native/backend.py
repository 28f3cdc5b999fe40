"""`ParallelBackend` over what PyTorch has."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import torch
import torch.distributed as dist
from torch import Tensor, nn

from neuron_api.config import TrainingConfig
from neuron_api.derive import alignment, hardware, precision
from neuron_api.platform.topology import Topology
from neuron_trainer import accelerators, objectives
from neuron_trainer.models.family import Family
from neuron_trainer.parallel import dtypes, hosts, stages
from neuron_trainer.parallel.axis import GroupAxis
from neuron_trainer.parallel.backend import Batch, LocalParameter, Outcome, Share
from neuron_trainer.parallel.batches import micro_batches, pair_columns, pair_rows, part
from neuron_trainer.parallel.loss.next_token import AveragedLoss, CrossEntropy
from neuron_trainer.parallel.loss.preference import PreferenceLoss, RowLogProbs
from neuron_trainer.parallel.schedule import GradientAccumulation, MicroBatch, MicroBatchSchedule
from neuron_trainer.parallel.turns import staggered

from . import mesh, parameters
from .blocks import BlockBuilder
from .compilation import CompiledLoss
from .data import data_parallel
from .pipeline import copies
from .precision import weights
from .precision.weights import RoundedWeights, StartBiases, WorkingWeights
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
        self._wide = accelerators.get(device.type).widest
        self._rows = RowLogProbs(
            self._part, GroupAxis(context.get_group()) if context is not None else None, self._wide
        )
        self._objective = objectives.for_run(config)
        self._loss: AveragedLoss = CrossEntropy(self._part)
        if self._objective is not None:
            self._loss = PreferenceLoss(self._objective, self._rows)
        if (backend := hardware.compiler_of(config, device.type)) is not None:
            self._loss = CompiledLoss(self._loss, backend)
        self._parameters: list[parameters.NativeParameter] = []
        self._frozen: list[parameters.NativeParameter] = []
        self._blocks: list[nn.Module] = []
        self._reference: MicroBatchSchedule | None = None
        """Of the frozen model, where there is one."""
        self._start_biases: StartBiases | None = None
        """Of a run with adapters whose start model is the reference."""
        self._copied: list[parameters.NativeParameter] = []
        """Those that another stage has, too."""
        self._updates = 0
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
        return Pipelined(blocks, self._meshes.links, self._topology.micro_batches, self._loss)

    def _accumulation(self, module: nn.Module) -> MicroBatchSchedule:
        return GradientAccumulation(module, self._loss, begin=partial(data_parallel.start_micro_batch, module))

    def parameters(self) -> Sequence[LocalParameter]:
        """See `ParallelBackend`."""
        return self._parameters

    def frozen_parameters(self) -> Sequence[LocalParameter]:
        """See `ParallelBackend`."""
        return self._frozen

    @contextmanager
    def without_adapters(self) -> Iterator[None]:
        """See `ParallelBackend`."""
        for adapter in self._builder.adapters:
            adapter.is_on = False
        try:
            yield
        finally:
            for adapter in self._builder.adapters:
                adapter.is_on = True

    def weights_loaded(self, updates: int) -> None:
        """See `ParallelBackend`; what a pass over the data has gathered is of other weights."""
        self._updates = updates
        data_parallel.reshard(self._blocks)

    def accumulate(self, batch: Batch) -> Outcome:
        """See `ParallelBackend`."""
        self._gather()
        batch = self._with_reference(batch)
        self._set_divisor(batch)
        return Outcome(*self._schedule.train(self._micro_batches(batch)))

    def evaluate(self, batch: Batch) -> Outcome:
        """See `ParallelBackend`."""
        self._gather()
        batch = self._with_reference(batch)
        self._set_divisor(batch)
        return Outcome(*self._schedule.evaluate(self._micro_batches(batch)))

    def log_probs(self, batch: Batch) -> Tensor:
        """See `ParallelBackend`; the last stage of a pipeline sends them to the others."""
        self._gather()
        return self._log_probs(self._schedule, batch)

    def keep_reference(self) -> None:
        """See `ParallelBackend`: a second model, split as the first and kept in the dtype that is computed with; with
        LoRA the model is there, and the biases alone are kept."""
        if self._builder.adapters:
            self._start_biases = StartBiases(self._parameters)
            return
        builder = self._block_builder(replace(self._family, initialize=False))
        numbers = stages.own_blocks(self._config, self._meshes.stage)
        blocks = {number: builder.build(number, is_frozen=True).eval() for number in numbers}
        target = [parameter for module in blocks.values() for parameter in module.parameters()]
        weights.frozen_copy(self._parameters, target, self._policy, seed=self._config.seed, updates=self._updates)
        self._reference = self._scheduled(blocks)

    def _with_reference(self, batch: Batch) -> Batch:
        if "reference_log_probs" in batch or (self._reference is None and self._start_biases is None):
            return batch
        values = self._base_log_probs(batch) if self._reference is None else self._log_probs(self._reference, batch)
        return {**batch, "reference_log_probs": values}

    def _base_log_probs(self, batch: Batch) -> Tensor:
        """Those of the model that adapters began with, without dropout."""
        assert self._start_biases is not None
        is_training = self._blocks[0].training
        for module in self._blocks:
            module.eval()
        with self.without_adapters(), self._start_biases.restored(self._blocks):
            self._gather()
            values = self._log_probs(self._schedule, batch)
        for module in self._blocks:
            module.train(is_training)
        self._gather()
        return values

    def _log_probs(self, schedule: MicroBatchSchedule, batch: Batch) -> Tensor:
        values = schedule.measure(self._micro_batches(batch), self._rows)
        shape = batch["labels"].shape[:2]
        if not values:
            result = torch.zeros(shape, dtype=self._wide, device=self.device)
        else:
            result = pair_columns(torch.cat(values), self._config.data.micro_batch_size)
        if self._meshes.stages is not None:
            dist.all_reduce(result, group=self._meshes.stages)
        return result

    def _gather(self) -> None:
        if self._compute_weights is not None:
            self._compute_weights.gather(self._updates)

    def _micro_batches(self, batch: Batch) -> list[MicroBatch]:
        return micro_batches(batch, self._config.data.micro_batch_size, self._part)

    def _set_divisor(self, batch: Batch) -> None:
        """Over how much of a batch the loss is a mean."""
        is_weighted = self._objective is not None or alignment.weighs_tokens(self._config)
        self._loss.divisor = self._count_per_micro_batch(batch) if is_weighted else None

    def _count_per_micro_batch(self, batch: Batch) -> Tensor:
        """Return the labels, or pairs, that count in an average micro-batch of the global batch, at least one in all of
        it: the mean over micro-batches and data-parallel processes is then that over them. A collective."""
        count = self.sum_over_processes(self._count(batch["labels"]).to(self._wide).reshape(1))[0]
        # The processes of a replica count the same samples, so the sum has each one as often as a replica processes.
        copies = dist.get_world_size() / self.share.size
        return (count.clamp(min=copies) / (dist.get_world_size() * self._topology.micro_batches)).float()

    def _count(self, labels: Tensor) -> Tensor:
        return self._loss.count(labels if labels.dim() == 2 else pair_rows(labels, len(labels)))

    def finish_gradients(self) -> None:
        """See `ParallelBackend`; FSDP has averaged over data-parallel ranks during the last backward pass."""
        for parameter in self._parameters:
            parameters.move_gradient(parameter)
        if self._meshes.links is not None:
            copies.add_gradients(self._copied, self._meshes.links)

    def end_step(self, updates: int) -> None:
        """See `ParallelBackend`; weights are rounded when they are gathered."""
        self._updates = updates
        for parameter in self._parameters:
            parameter.used.grad = None
            parameter.leaf.grad = None

    def begin_vote(self, *wishes: bool) -> Callable[[], tuple[bool, ...]]:
        """See `ParallelBackend`."""
        return hosts.begin_vote(*wishes)

    def sum_over_processes(self, values: Tensor) -> Tensor:
        """See `ParallelBackend`."""
        if dist.get_world_size() > 1:
            dist.all_reduce(values, group=hosts.group() if values.is_cpu else None)
        return values
