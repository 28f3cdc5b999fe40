"""The LightningModule: one batch is one global batch, optimization is ours (B-4).

`Position` is where a run is in its data: steps, epochs, and the batch of an epoch, as Lightning's loops count them. All
follow from the number of finished steps and of consumed samples, which a checkpoint has. What Lightning itself
writes at the end of a start is the state after a whole epoch, also where the start ended inside one (Lightning#4184).
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import lightning.pytorch as pl
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from neuron_api.config import TrainingConfig
from neuron_api.config.trainer import seconds_of
from neuron_trainer import accelerators, optim
from neuron_trainer.data import source
from neuron_trainer.data.loader import StepLoader, Steps
from neuron_trainer.data.reference import ReferencedSamples
from neuron_trainer.data.samples import Part, Samples
from neuron_trainer.ipc import signals
from neuron_trainer.metrics.step_meter import StepMeter
from neuron_trainer.metrics.step_results import Pending, Results, depth
from neuron_trainer.metrics.throughput import Throughput
from neuron_trainer.models.spec import Sizes
from neuron_trainer.parallel import Outcome, ParallelBackend, hosts

from .step import Gradients, parameter_norm


@dataclass(frozen=True, slots=True)
class Position:
    """Between two steps."""

    step: int
    """Optimizer steps done, ever."""
    batches: int
    """Global batches of the present size before the next one, over all epochs."""
    epoch_steps: int
    """Global batches of an epoch, at least 1."""

    @property
    def epoch(self) -> int:
        """Return the number of the epoch, from 0, that the last finished step belongs to."""
        return max(0, self.batches - 1) // self.epoch_steps

    def restore(self, loop: dict[str, Any], max_epochs: int) -> None:
        """Set the counters in the state of Lightning's fit loop: training goes on with the next batch.

        All count as complete, so that the validation of the last finished step is not repeated. A bound on the epochs
        that lies behind the position ends the run, where Lightning would fail.
        """
        epochs, batch = divmod(self.batches, self.epoch_steps)
        if 0 <= max_epochs <= epochs:
            epochs, batch = max_epochs, 0
        begun = epochs + (1 if batch else 0)
        counts = {"ready": begun, "started": begun, "processed": epochs, "completed": epochs}
        loop["epoch_progress"] = {"total": dict(counts), "current": dict(counts)}
        loop["epoch_loop.batch_progress"] = {
            "total": _complete(self.step),
            "current": _complete(batch),
            "is_last_batch": False,
        }
        loop["epoch_loop.state_dict"] = {"_batches_that_stepped": self.step}


def _complete(count: int) -> dict[str, int]:
    return dict.fromkeys(("ready", "started", "processed", "completed"), count)


def _nothing() -> None:
    """Nobody waits for anything."""


def _ignore(step: int, measured: Tensor) -> None:
    """Nobody compares processes."""


def _nothing_before() -> Callable[[], None]:
    return _nothing


class TimeLimit:
    """`trainer.max_time`: counted anew by each start, from the moment when training begins (B-15)."""

    def __init__(self, limit: str | Mapping[str, int] | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._clock = seconds_of(limit), clock
        self._until: float | None = None

    def begin(self) -> None:
        """Training begins now."""
        if self._seconds is not None:
            self._until = self._clock() + self._seconds

    @property
    def is_over(self) -> bool:
        """Return whether it is, by this process's clock; the vote of the step makes one answer of all."""
        return self._until is not None and self._clock() >= self._until


class TrainingModule(pl.LightningModule):  # type: ignore[misc]
    """Owns the model, the optimizer, the schedule and the position in the data."""

    def __init__(
        self,
        config: TrainingConfig,
        backend: ParallelBackend,
        model: nn.Module,
        sizes: Sizes,
        wants_stop: Callable[[], bool],
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.config, self.backend, self.model = config, backend, model
        self.consumed_samples = 0
        cause = accelerators.get(backend.device.type).nan_cause(config.model.encoder_seq_length)
        failures = partial(accelerators.raise_deferred, backend.device)
        self.results = Results(depth(config, backend.device), config.data.global_batch_size, cause, check=failures)
        self.is_stopping = False
        """Some process was asked to stop: all save at the end of this step."""
        self.is_over = False
        """The time of some process is over: training ends with this step."""
        self.cpu_fallbacks: int | None = None
        """Operators that run on the CPU in place of the device; None where that is not known, as in the first step."""
        self.meter = StepMeter(lambda: hosts.waited.seconds)
        self.on_measured: Callable[[int, Tensor], None] = _ignore
        """Called with the number of each step but the last, and what it took each process (`StepMeter.measured`)."""
        self.throughput = Throughput(config.data.global_batch_size * config.model.encoder_seq_length)
        self.val_loss: float | None = None
        self.val_step = 0
        """Step that the loss is of."""
        self._sizes, self.wants_stop = sizes, wants_stop
        self.time_limit = TimeLimit(config.trainer.max_time)
        self.before_update: Callable[[], Callable[[], None]] = _nothing_before
        """Called before each update; what it returns, before the step counts as finished (`checkpoint.memory`)."""
        self.gradients = Gradients(backend, config.trainer.gradient_clip_val)
        self.optimizer: Optimizer = optim.for_run(config, backend.parameters())
        self.test_loss: float | None = None
        self.test_batches = 0
        self.val_metrics: Mapping[str, float] = {}
        """Of the objective, by name."""
        self._outcomes: list[Outcome] = []
        """Of the batches of a validation or a test."""
        self._samples: dict[Part, Samples] = {}

    @property
    def vocabulary(self) -> int:
        """Return how many tokens the model knows."""
        return self._sizes.vocab_size

    def configure_optimizers(self) -> Any:
        """One optimizer, one schedule; Lightning saves the latter."""
        trainer, sched = self.config.trainer, self.config.model.optim.sched
        steps = trainer.max_steps
        if steps < 0:  # NTJ-2112: where only the time ends it, the schedule has a length of its own
            steps = trainer.max_epochs * self.epoch_steps if trainer.max_epochs > 0 else sched.max_steps or 1
        extent = optim.Extent(steps, lambda: self.epoch_steps, self._sizes.hidden_size)
        return [self.optimizer], [optim.schedule(self.config.model.optim, self.optimizer, extent)]

    @cached_property
    def epoch_steps(self) -> int:
        """Return the optimizer steps of an epoch; at least 1."""
        return max(1, len(self._loader("train", lambda: 0)))

    @property
    def total_steps(self) -> int | None:
        """Return the steps after which training ends; None where only the time, or early stopping, ends it."""
        trainer = self.config.trainer
        ends = [trainer.max_steps] if trainer.max_steps >= 0 else []
        ends += [trainer.max_epochs * self.epoch_steps] if trainer.max_epochs >= 0 else []
        return min(ends, default=None)

    def position(self, step: int) -> Position:
        """Return where the run is, with so many finished steps."""
        return Position(step, self.consumed_samples // self.config.data.global_batch_size, self.epoch_steps)

    def training_step(self, batch: dict[str, Tensor], _: int) -> None:
        """One optimizer step: gradients, update, schedule, counters."""
        begun = time.monotonic()
        vote = self.backend.begin_vote(self.wants_stop(), self.time_limit.is_over, measured=self.meter.measured)
        self.meter.begin()
        sums = self.gradients.compute(batch)
        scheduler = self.lr_schedulers()
        assert isinstance(scheduler, LambdaLR)
        used_lr = float(self.optimizer.param_groups[0]["lr"])
        confirm = self.before_update()
        self.optimizers().step()
        self.backend.end_step(step := self.trainer.global_step)
        scheduler.step()
        self.consumed_samples += self.config.data.global_batch_size
        ballot = vote()
        if any(ballot.wishes):  # assigning an attribute of a Module costs more than reading one
            self.is_stopping, self.is_over = ballot.wishes
        norm = parameter_norm(self.backend) if self._norm_is_due(step) else None
        confirm()
        self.meter.end()
        self.on_measured(step - 1, ballot.measured)
        rate, seconds = self.throughput.step_done(), time.monotonic() - begun
        self.results.add(Pending(step, sums, used_lr, self.consumed_samples, rate, time.time(), norm, seconds))
        if self.config.exp_manager.create_early_stopping_callback and (newest := self.results.read_all()):
            self.log("reduced_train_loss", newest.loss)

    def _norm_is_due(self, step: int) -> bool:
        return self.config.exp_manager.log_parameter_norm and step % self.config.trainer.log_every_n_steps == 0

    def on_train_start(self) -> None:
        """Everything is loaded."""
        self.time_limit.begin()
        self.throughput.begin()

    def validation_step(self, batch: dict[str, Tensor], _: int) -> None:
        """Loss of one global batch (B-18); no random number is drawn, so training is not changed."""
        self._outcomes.append(self.backend.evaluate(batch))

    def on_validation_epoch_end(self) -> None:
        """`val_loss`, and the metrics: means over batches and processes."""
        if (means := self.means()) is not None:
            self.val_loss, self.val_metrics = means
            self.val_step = self.trainer.global_step
            if self.config.exp_manager.create_early_stopping_callback:
                self.log("val_loss", self.val_loss)

    def test_step(self, batch: dict[str, Tensor], _: int) -> None:
        """Compute the loss as `validation_step` does."""
        self._outcomes.append(self.backend.evaluate(batch))

    def on_test_epoch_end(self) -> None:
        """`test_loss`: mean over batches and processes."""
        self.test_batches = len(self._outcomes)
        self.test_loss = means[0] if (means := self.means()) is not None else None

    def means(self) -> tuple[float, dict[str, float]] | None:
        """Return loss and metrics; None without batches."""
        outcomes, self._outcomes = self._outcomes, []
        if not outcomes:
            return None
        names = list(outcomes[0].metrics)
        each = [torch.stack([outcome.loss, *outcome.metrics.values()]) for outcome in outcomes]
        mean = torch.stack(each).mean(dim=0)
        *totals, count = self.backend.sum_over_processes(torch.cat([mean, torch.ones_like(mean[:1])])).tolist()
        loss, *metrics = (total / count for total in totals)
        return loss, dict(zip(names, metrics, strict=True))

    def train_dataloader(self) -> StepLoader:
        """Begins at `consumed_samples`, which the checkpoint has restored by now."""
        return self._loader("train", lambda: self.consumed_samples)

    def val_dataloader(self) -> StepLoader | list[Any]:
        """None when validation is off."""
        if not self.config.trainer.limit_val_batches:
            return []

        def first() -> int:
            return source.first_validation_sample(self.config, self.consumed_samples)

        return self._loader("validation", first)

    def test_dataloader(self) -> StepLoader:
        """Return the loader from the beginning of the test set."""
        return self._loader("test", lambda: 0)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """The counter of samples goes with the trainer's state."""
        checkpoint["consumed_samples"] = self.consumed_samples

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """And comes back before the loaders are made; the loops are set to where it is in the data.

        With another global batch size the position is rounded down to whole batches of it: no sample is left out.
        """
        samples, batch = checkpoint["consumed_samples"], self.config.data.global_batch_size
        self.consumed_samples = samples - samples % batch
        position = self.position(checkpoint["global_step"])
        position.restore(checkpoint["loops"]["fit_loop"], self.config.trainer.max_epochs)

    def record_counts(self) -> Mapping[str, Mapping[str, int]] | None:
        """Return what became of the records of each part that a training reads; None where they are no records."""
        parts: list[Part] = ["train", "validation"] if self.config.trainer.limit_val_batches else ["train"]
        counts = {part: source.record_counts(self.samples(part)) for part in parts}
        return {part: count for part, count in counts.items() if count} or None

    def samples(self, part: Part) -> Samples:
        """Return the samples of a part of the data, opened once."""
        if part not in self._samples:
            is_builder = not dist.is_initialized() or dist.get_rank() == 0
            self._samples[part] = source.samples(self.config, part, is_builder=is_builder)
        return self._samples[part]

    def pass_in_order(self, part: Part) -> Steps:
        """Return global batches of all samples of a part, in sample order."""
        return source.pass_in_order(self.config, part, self.samples(part), self.backend.share, self._sizes.vocab_size)

    def add_reference(self, part: Part, table: Tensor) -> None:
        """Give each sample of a part its log-probabilities, fp64 [n, 2], by number."""
        dtype = accelerators.get(self.backend.device.type).widest
        self._samples[part] = ReferencedSamples(self.samples(part), table.to(dtype))

    def _loader(self, part: Part, consumed: Callable[[], int]) -> StepLoader:
        data = self.config.data
        steps = source.steps(self.config, part, self.samples(part), self.backend.share, self._sizes.vocab_size)
        device, is_whole = self.backend.device, part != "train"
        return StepLoader(
            steps,
            data.global_batch_size,
            consumed,
            data.num_workers,
            whole=is_whole,
            device=device,
            begin_reader=signals.outlive_termination,
            on_wait=self.meter.add_data if part == "train" else None,
        )
