"""`ParallelBackend` over collectives of our own: on devices of PyTorch/XLA, and on hosts."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial

import torch
import torch.distributed as dist
from torch import Tensor, nn

from neuron_api.config import TrainingConfig
from neuron_api.derive import precision
from neuron_api.platform.topology import Topology
from neuron_trainer.models.family import Family
from neuron_trainer.parallel import hosts, stages
from neuron_trainer.parallel.backend import Batch, LocalParameter, Outcome, Share
from neuron_trainer.parallel.hosts import Ballot
from neuron_trainer.parallel.loss.samples import Samples, StartBiases, StartModel, adapters_off, computed_weights
from neuron_trainer.parallel.schedule import GradientAccumulation, Loss, MicroBatchSchedule
from neuron_trainer.parallel.turns import staggered

from . import axes
from .attention.context import part_of
from .blocks import BlockBuilder
from .gradients import ComputeWeights, Gradients
from .parameters import XlaParameter
from .replicas import end_graph
from .schedule import Link, Messages, PairSums, Pipeline


class XlaBackend:
    """Needs an initialised process group; every process makes the same calls in the same order."""

    def __init__(self, config: TrainingConfig, topology: Topology, device: torch.device) -> None:
        self.device = device
        self._config, self._topology = config, topology
        self._policy = precision.policy(config)
        self._axes = axes.build(topology, device, config)
        self.share = Share(self._axes.data_rank, self._axes.data_size)
        context = self._axes.context
        self._part = part_of(config.model.encoder_seq_length, context)
        self._samples = Samples(config, topology, self, self._part, context=context, vocabulary=self._axes.tensor)
        if self._axes.stages is not None:
            self._samples.from_last_stage = self._from_last_stage
        self._samples.after_cut = self._end_graph
        self._link = self._link_of(self._axes)
        self._parameters: list[XlaParameter] = []
        self._frozen: list[XlaParameter] = []
        self._blocks: list[nn.Module] = []
        self._copied: list[XlaParameter] = []
        """Those that another stage has, too."""
        self._updates = 0

    def _link_of(self, own: axes.Axes) -> Link | None:
        if own.stages is None:
            return None
        return PairSums(own.pairs, self.device) if own.pairs else Messages(own.stages)

    def build(self, family: Family) -> nn.Module:
        """See `ParallelBackend`; with several blocks on this stage, all of them."""
        numbers = stages.own_blocks(self._config, self._axes.stage)
        self._family, self._builder = family, self._block_builder(family)
        built = staggered(
            lambda: {number: self._builder.build(number) for number in numbers},
            self._topology.processes_per_node,
            self._config.trainer.sequential_move_factor,
        )
        every = [parameter for _, parameters in built.values() for parameter in parameters]
        self._parameters = [parameter for parameter in every if parameter.used.requires_grad]
        self._frozen = [parameter for parameter in every if not parameter.used.requires_grad]
        stages.mark(self._frozen, self._builder.aliases)
        self._copied = stages.mark(self._parameters, self._builder.aliases)
        self._gradients = Gradients(
            self._parameters, self._policy, self._axes.tensor, self._config.bucket_size_collectives
        )
        self._weights = ComputeWeights(self._parameters, self._policy, self._config.seed)
        blocks = {number: module for number, (module, _) in built.items()}
        self._blocks, self._schedule = list(blocks.values()), self._scheduled(blocks)
        return nn.ModuleList(self._blocks) if len(blocks) > 1 else blocks[numbers[0]]

    def _block_builder(self, family: Family) -> BlockBuilder:
        return BlockBuilder(self._config, self._topology, self._axes, self._part, family, self.device)

    def _scheduled(self, blocks: dict[int, nn.Module]) -> MicroBatchSchedule:
        loss: Loss = self._samples.loss
        if self._axes.stages is None:
            return GradientAccumulation(blocks[0], loss, finish=self._take_gradients, after_forward=self._end_graph)
        assert self._link is not None
        return Pipeline(blocks, self._axes.stages, self._link, loss, self._take_gradients, self._end_graph)

    def _take_gradients(self) -> None:
        """Add the gradients of a micro-batch, whose graph is the same for all of a step."""
        self._gradients.add()
        self._end_graph()

    def _end_graph(self) -> None:
        end_graph(self.device)

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
        """See `ParallelBackend`."""
        self._updates = updates
        self._weights.expire()

    def accumulate(self, batch: Batch) -> Outcome:
        """See `ParallelBackend`."""
        self._write_weights()
        self._gradients.begin(self._topology.micro_batches)  # before the graph that the cut ends
        return Outcome(*self._schedule.train(self._samples.prepare(batch)))

    def evaluate(self, batch: Batch) -> Outcome:
        """See `ParallelBackend`."""
        self._write_weights()
        outcome = Outcome(*self._schedule.evaluate(self._samples.prepare(batch)))
        end_graph(self.device)
        return outcome

    def _write_weights(self) -> None:
        """A graph of its own: a step begins with it, and an evaluation may."""
        if self._weights.write(self._updates):
            end_graph(self.device)

    def log_probs(self, batch: Batch) -> Tensor:
        """See `ParallelBackend`; the last stage of a pipeline sends them to the others."""
        self._write_weights()
        return self._samples.log_probs(self._schedule, batch)

    def keep_reference(self) -> None:
        """See `ParallelBackend`: a second model, split as the first and kept in the dtype that is computed with; with
        LoRA the model is there, and the biases alone are kept."""
        if self._builder.adapters:
            biases = StartBiases(self._parameters, self._weights.expire)
            measure = partial(self._samples.log_probs, self._schedule)
            start = StartModel(self._blocks, self._builder.adapters, biases, self._write_weights, measure)
            self._samples.reference = start.log_probs
            return
        builder = self._block_builder(replace(self._family, initialize=False))
        numbers = stages.own_blocks(self._config, self._axes.stage)
        built = {number: builder.build(number, is_frozen=True) for number in numbers}
        with torch.no_grad():
            target = (parameter for _, parameters in built.values() for parameter in parameters)
            wholes = computed_weights(self._parameters, self._policy, seed=self._config.seed, updates=self._updates)
            for frozen, whole in zip(target, wholes, strict=True):
                frozen.used.copy_(frozen.used_part(whole))
        reference = self._scheduled({number: module.eval() for number, (module, _) in built.items()})
        self._samples.reference = partial(self._samples.log_probs, reference)

    def _from_last_stage(self, values: Tensor) -> Tensor:
        """Those of other stages are 0; through the hosts, since they are few and the next thing is to read them."""
        assert self._axes.stages is not None
        end_graph(self.device)
        total = values.cpu()
        dist.all_reduce(total, group=self._axes.stages)
        return total.to(values.device)

    def finish_gradients(self) -> None:
        """See `ParallelBackend`."""
        self._gradients.reduce(self._topology.micro_batches)
        if self._link is not None:
            peer = self._topology.pipeline_parallel - 1 - self._axes.stage
            for parameter in self._copied:
                gradient = parameter.leaf.grad
                assert gradient is not None
                parameter.leaf.grad = self._link.sum(gradient, peer)

    def end_step(self, updates: int) -> None:
        """See `ParallelBackend`."""
        self._updates = updates
        self._weights.expire()
        for parameter in self._parameters:
            parameter.leaf.grad = None
        end_graph(self.device)

    def begin_vote(self, *wishes: bool, measured: Sequence[int] = ()) -> Callable[[], Ballot]:
        """See `ParallelBackend`."""
        return hosts.begin_vote(*wishes, measured=measured)

    def sum_over_processes(self, values: Tensor) -> Tensor:
        """See `ParallelBackend`."""
        if self._axes.world is None:
            return values
        if values.is_cpu:
            dist.all_reduce(values, group=hosts.group())
            return values
        return self._axes.world.sum(values)
