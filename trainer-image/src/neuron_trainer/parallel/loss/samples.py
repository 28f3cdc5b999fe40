"""What a backend computes of a replica's samples besides gradients: their micro-batches, over how much their loss is a
mean, the log-probabilities of pairs, and those of the reference.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from neuron_api.config import TrainingConfig
from neuron_api.derive import alignment
from neuron_api.derive.precision import PrecisionPolicy
from neuron_api.platform.topology import Topology
from neuron_trainer import accelerators, objectives, rounding
from neuron_trainer.models.lora import Adapters, names
from neuron_trainer.models.spec import Part
from neuron_trainer.parallel.axis import Axis
from neuron_trainer.parallel.backend import Batch, LocalParameter, ParallelBackend
from neuron_trainer.parallel.batches import micro_batches, pair_columns, pair_rows
from neuron_trainer.parallel.dtypes import TORCH
from neuron_trainer.parallel.schedule import MicroBatch, MicroBatchSchedule

from .next_token import AveragedLoss, CrossEntropy
from .preference import PreferenceLoss, RowLogProbs

MEASURES = "reference_log_probs"
"""Name in a batch of what a reference gives."""


class Samples:
    """Of one run; its `loss` is the schedule's, and has the divisor of the batch that was prepared last."""

    def __init__(
        self,
        config: TrainingConfig,
        topology: Topology,
        backend: ParallelBackend,
        part: Part,
        *,
        context: Axis | None,
        vocabulary: Axis | None = None,
    ) -> None:
        """`part` of each sample, of which `context` has the others; `vocabulary`: see `cross_entropy`."""
        self._config, self._topology, self._backend, self._part = config, topology, backend, part
        self._wide = accelerators.get(backend.device.type).widest
        self._rows = RowLogProbs(part, context, self._wide, vocabulary)
        objective = objectives.for_run(config)
        self.loss: AveragedLoss = CrossEntropy(part, vocabulary)
        if objective is not None:
            self.loss = PreferenceLoss(objective, self._rows)
        self._is_weighted = objective is not None or alignment.weighs_tokens(config)
        self.reference: Callable[[Batch], Tensor] | None = None
        """What pairs are compared with where no data have it."""
        self.from_last_stage: Callable[[Tensor], Tensor] | None = None
        """Of a pipeline: what the last stage has, on all; the others give zeros."""
        self.after_cut: Callable[[], None] = lambda: None
        """Called when a batch has been cut into micro-batches, which are data of all that follows."""

    def prepare(self, batch: Batch) -> list[MicroBatch]:
        """Return the micro-batches of a step, or of an evaluation. A collective."""
        if self.reference is not None and MEASURES not in batch:
            batch = {**batch, MEASURES: self.reference(batch)}
        self.loss.divisor = self._count_per_micro_batch(batch) if self._is_weighted else None
        return self._micro_batches(batch)

    def log_probs(self, schedule: MicroBatchSchedule, batch: Batch) -> Tensor:
        """See `ParallelBackend`: those of the schedule's model."""
        values = schedule.measure(self._micro_batches(batch), self._rows)
        shape = batch["labels"].shape[:2]
        if not values:
            result = torch.zeros(shape, dtype=self._wide, device=self._backend.device)
        else:
            result = pair_columns(torch.cat(values), self._config.data.micro_batch_size)
        return result if self.from_last_stage is None else self.from_last_stage(result)

    def _micro_batches(self, batch: Batch) -> list[MicroBatch]:
        cut = micro_batches(batch, self._config.data.micro_batch_size, self._part)
        self.after_cut()
        return cut

    def _count_per_micro_batch(self, batch: Batch) -> Tensor:
        """Return the labels, or pairs, that count in an average micro-batch of the global batch, at least one in all of
        it: the mean over micro-batches and data-parallel processes is then that over them. A collective."""
        labels = batch["labels"]
        count = self.loss.count(labels if labels.dim() == 2 else pair_rows(labels, len(labels)))
        total = self._backend.sum_over_processes(count.to(self._wide).reshape(1))[0]
        # The processes of a replica count the same samples, so the sum has each one as often as a replica processes.
        copies = dist.get_world_size() / self._backend.share.size
        return (total.clamp(min=copies) / (dist.get_world_size() * self._topology.micro_batches)).float()


@contextmanager
def adapters_off(adapters: Sequence[Adapters]) -> Iterator[None]:
    """The model without them."""
    for adapter in adapters:
        adapter.is_on = False
    try:
        yield
    finally:
        for adapter in adapters:
            adapter.is_on = True


@dataclass(frozen=True, slots=True)
class StartModel:
    """The model that adapters began with: without them, and with the biases of that moment; dropout is off."""

    blocks: Sequence[nn.Module]
    adapters: Sequence[Adapters]
    biases: "StartBiases"
    write_weights: Callable[[], None]
    """Makes what is computed with of what was put in its place. A collective."""
    measure: Callable[[Batch], Tensor]
    """See `log_probs`: of the model as it is."""

    def log_probs(self, batch: Batch) -> Tensor:
        """Return those of the start model; the model that is trained is back afterwards."""
        is_training = self.blocks[0].training
        for module in self.blocks:
            module.eval()
        with adapters_off(self.adapters), self.biases.restored():
            self.write_weights()
            values = self.measure(batch)
        for module in self.blocks:
            module.train(is_training)
        self.write_weights()
        return values


class StartBiases:
    """Copies of the biases that are trained (`lora_bias`), of this process's parts; none where none is."""

    def __init__(self, parameters: Sequence[LocalParameter], expire: Callable[[], None]) -> None:
        """`expire`: what has been made of the leaves is of others now."""
        biases = [parameter.leaf for parameter in parameters if not names.is_adapter(parameter.name)]
        self._pairs = [(leaf.detach(), leaf.detach().clone()) for leaf in biases]
        self._expire = expire

    @contextmanager
    def restored(self) -> Iterator[None]:
        """Put them in the places of the trained ones, and these back."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for own, other in self._pairs:
            before = own.clone()
            own.copy_(other)
            other.copy_(before)
        if self._pairs:
            self._expire()


@torch.no_grad()
def computed_weights(
    parameters: Sequence[LocalParameter], policy: PrecisionPolicy, *, seed: int, updates: int
) -> Iterator[Tensor]:
    """Yield each whole parameter as it is computed with after so many updates, one at a time. Collectives."""
    for own in parameters:
        whole = own.gathered()
        if policy.has_masters and policy.is_stochastic:
            place = rounding.Place(tuple(whole.shape), (0,) * whole.dim())
            yield rounding.stochastic(whole, place, rounding.key(seed, updates, own.name))
        else:
            yield whole.to(TORCH[policy.compute])
