"""Every finished step goes to: the hand-off (for /progress), metrics.jsonl, TensorBoard, and the terminal or log."""

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import lightning.pytorch as pl
from torch import Tensor

from neuron_api.resource.progress import CheckpointReport, PassReport, Progress, Recovery, StragglerReport, TrainerPhase
from neuron_api.timeline import Activity
from neuron_trainer import trackers
from neuron_trainer.ipc.phases import Phases
from neuron_trainer.ipc.worker_channel import WorkerChannel
from neuron_trainer.metrics import graphs
from neuron_trainer.metrics.graphs import GraphCounts
from neuron_trainer.metrics.history import MetricsFile, StartRecord, StepMetrics, ValidationMetrics
from neuron_trainer.metrics.spikes import StepSpikes
from neuron_trainer.metrics.step_results import StepResult
from neuron_trainer.metrics.stragglers import RankComparison
from neuron_trainer.metrics.terminal import PassDisplay, StepDisplay, validation_text
from neuron_trainer.metrics.throughput import Stopwatch, Utilization
from neuron_trainer.metrics.timeline.activity_clock import ActivityClock, step_activity
from neuron_trainer.storage import files
from neuron_trainer.storage.files import replace

from .module import TrainingModule

log = logging.getLogger(__name__)

_PAUSE: Final = 0.1
"""Seconds between two hand-overs of steps: nobody asks the launcher more often, and short steps cost less than that."""


class Reporting(pl.Callback):  # type: ignore[misc]
    """On every rank: local rank 0 hands over, global rank 0 writes files."""

    def __init__(
        self,
        handoff: WorkerChannel | None,
        metrics: MetricsFile | None,
        phases: Phases,
        recovery: Recovery | None,
        round: int,
        times: Path | None = None,
        utilization: Utilization | None = None,
        furthest_step: int = 0,
        ranks: RankComparison | None = None,
    ) -> None:
        """`times`: where the seconds of this start are written to, as soon as they are known. `furthest_step`: what
        earlier starts have finished; steps up to there are done again. `ranks`: who is slower than others is found
        there, on global rank 0."""
        self._ranks = ranks
        self._furthest_step, self._graphs = furthest_step, GraphCounts()
        self._clock: ActivityClock | None = None
        """From the moment when training begins."""
        self._times, self._utilization = times, utilization
        self._handoff, self._metrics, self._phases = handoff, metrics, phases
        self._recovery = recovery
        self._display: StepDisplay | None = None
        self._pass: PassDisplay | None = None
        self._trainer: pl.Trainer | None = None
        self._module: TrainingModule | None = None
        self.start: StartRecord | None = None
        """What the run's history says of this start, on global rank 0, as soon as nothing can refuse it any more."""
        self._handed_over = 0.0
        """When the newest step was handed over, on the monotonic clock."""
        self._newest: StepResult | None = None
        self._validation = Stopwatch()
        self._spikes: StepSpikes | None = None
        """On global rank 0, from the moment when training begins."""
        self._untracked: int | None = None
        self._fastest = 0.0
        """Highest throughput of this start, sequences per second."""
        self._report = Progress(phase=TrainerPhase.LOADING, round=round)
        self._before = TrainerPhase.LOADING
        """Phase that a validation or a save is a break in."""
        self._activity: str = Activity.DATA
        """What a save is a break in."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """The model is loaded and the position is known."""
        self._phases.mark("data_seek")
        self._clock = ActivityClock(Activity.DATA, self._phases.activities(), self._phases.last)
        self._trainer, self._module = trainer, pl_module
        pl_module.results.on_read = self._read
        if self._ranks is not None and self._ranks.compares:
            pl_module.on_measured = self._compare
        if self._metrics is not None:
            self._spikes = StepSpikes(pl_module.config.data.global_batch_size)
            self._display = StepDisplay(trainer.global_step, pl_module.total_steps or -1)
        self._hand_over(phase=TrainerPhase.TRAINING, step=trainer.global_step, max_steps=pl_module.total_steps)

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        """The batch is there."""
        self._graphs = graphs.count()
        self._enter(step_activity(trainer.global_step + 1, self._furthest_step))
        if "first_batch" not in self._phases.seconds:
            self._phases.mark("first_batch")
            self._record_start()

    def on_train_batch_end(self, *_: Any) -> None:
        """Mark the first step after the optimizer's; its numbers come when they have been read."""
        if self._clock is not None and graphs.count().since(self._graphs).compiled:
            self._clock.correct(Activity.COMPILE)
        self._enter(Activity.DATA)
        if "first_step" not in self._phases.seconds:
            self._first_step()

    def _read(self, result: StepResult) -> None:
        """The numbers of a step are there: after the optimizer step, before validation and checkpoint (B-4)."""
        assert self._module is not None
        self._newest = result
        if self._spikes is not None:
            for sentence in self._spikes.sentences(
                result.step, result.consumed_samples, result.loss, result.gradient_norm
            ):
                log.warning("%s", sentence)
        if time.monotonic() - self._handed_over >= _PAUSE:
            self._hand_over()
        if result.step % self._module.config.trainer.log_every_n_steps == 0 and self._metrics is not None:
            self._write(result)

    def _compare(self, step: int, measured: Tensor) -> None:
        """Report who is slower than others; called once it is known what a step took each process."""
        assert self._ranks is not None
        for sentence in self._ranks.add(step, measured.numpy()):
            log.warning("%s", sentence)
            self._handed_over = 0.0  # with the numbers of this step

    def on_validation_start(self, trainer: pl.Trainer, *_: Any) -> None:
        """No optimizer step is finished meanwhile, and none is missed. Lightning's check at the start is loading."""
        self._read_all()
        self._validation = Stopwatch()
        self._before = self._report.phase
        self._enter(Activity.VALIDATION)
        self._hand_over(phase=self._before if trainer.sanity_checking else TrainerPhase.VALIDATING)

    def on_validation_batch_start(self, *_: Any) -> None:
        """The batch is there."""
        self._validation.start()

    def on_validation_batch_end(self, *_: Any) -> None:
        """Its loss is there."""
        self._validation.stop()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """`val_loss` to the log and to TensorBoard."""
        self._enter(Activity.DATA)
        self._hand_over(phase=self._before)
        if self._metrics is not None and pl_module.val_loss is not None and not trainer.sanity_checking:
            metrics = {f"val_{name}": value for name, value in pl_module.val_metrics.items()}
            log.info("step %d: val_loss %.6g%s", trainer.global_step, pl_module.val_loss, validation_text(metrics))
            self._metrics.append(
                ValidationMetrics(trainer.global_step, pl_module.val_loss, round(time.time(), 3), metrics=metrics)
            )
            scalars = {"val_loss": pl_module.val_loss, **metrics}
            if pl_module.config.exp_manager.log_step_timing:
                scalars["validation_step_timing in s"] = self._validation.mean()
            for logger in trainer.loggers:
                logger.log_metrics(scalars, step=trainer.global_step)

    def on_train_end(self, *_: Any) -> None:
        """The final checkpoint follows."""
        self._read_all()
        if self._display is not None:
            self._display.close()
        self._enter(Activity.SAVE)
        self._hand_over(phase=TrainerPhase.SAVING)

    def reference_progress(self, part: str, done: int, total: int) -> None:
        """Called before training, after each global batch of the reference's log-probabilities."""
        if self._metrics is not None:
            self._pass = self._pass or PassDisplay(f"reference log-probabilities ({part})", total)
            self._pass.show(done)
            if done == total:
                self._pass.close()
                self._pass = None
        if done == total or time.monotonic() - self._handed_over >= _PAUSE:
            self._hand_over(reference=PassReport(done=done, total=total, time=datetime.now(UTC)))

    @property
    def is_idle(self) -> bool:
        """Return whether training has not begun."""
        return self._trainer is None

    def checkpoint_begun(self) -> None:
        """Called before each checkpoint is written."""
        self._read_all()
        self._before = self._report.phase
        self._activity = self._enter(Activity.SAVE)
        self._hand_over(phase=TrainerPhase.SAVING)

    def checkpoint_staged(self) -> None:
        """Called when training goes on, whether the checkpoint is complete or being written."""
        self._enter(self._activity)
        self._hand_over(phase=self._before)

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Account for the time in the context as that of a save."""
        before = self._enter(Activity.SAVE)
        try:
            yield
        finally:
            self._enter(before)

    def checkpoint_written(self, step: int, path: str) -> None:
        """Called after each complete checkpoint."""
        self._hand_over(checkpoint=CheckpointReport(step=step, path=path, time=datetime.now(UTC)))

    def checkpoint_restored(self, step: int, path: str, time: datetime, text: tuple[str, ...]) -> None:
        """Called once, for the one that this start resumes from: the launcher has read every byte of it.

        `text`: how its configuration differs from the file's, a line each.
        """
        self._hand_over(resume=text, checkpoint=CheckpointReport(step=step, path=path, time=time, verified=True))

    def data_opened(self, records: Mapping[str, Mapping[str, int]]) -> None:
        """Called once, with what became of the records of each part; empty for other data."""
        self._hand_over(records=records)

    def trackers_closed(self, trainer: pl.Trainer) -> None:
        """Called after training, also after one that has failed: what trackers did not take in the end is counted."""
        self._untracked = trackers.lost(trainer.loggers)
        if self._untracked:
            self._hand_over(untracked=self._untracked)

    def nothing_to_do(self, step: int) -> None:
        """Called in place of training where the last step was done before this start."""
        log.info("nothing to do: the last step is done already, step %d", step)
        self._record_start()
        self._hand_over(step=step, max_steps=step)

    def _record_start(self) -> None:
        if self._metrics is not None and self.start is not None:
            self._metrics.begin(self.start)

    def _read_all(self) -> None:
        if self._module is not None:
            self._module.results.read_all()

    def _write(self, result: StepResult) -> None:
        assert self._metrics is not None and self._display is not None
        assert self._trainer is not None and self._module is not None
        metrics = StepMetrics(
            step=result.step,
            loss=result.loss,
            lr=result.lr,
            gradient_norm=result.gradient_norm,
            consumed_samples=result.consumed_samples,
            tokens_per_second=result.tokens_per_second,
            time=round(result.time, 3),
            parameter_norm=result.parameter_norm,
            nonfinite_steps=self._module.results.nonfinite_norms or None,
            mfu=self._mfu(result.tokens_per_second),
            metrics=result.metrics,
            cpu_fallbacks=self._module.cpu_fallbacks or None,
        )
        self._metrics.append(metrics)
        self._display.show(metrics)
        throughput = metrics.tokens_per_second / self._module.config.model.encoder_seq_length
        self._fastest = max(self._fastest, throughput)
        manager = self._module.config.exp_manager
        scalars = {
            "reduced_train_loss": metrics.loss,
            "lr": metrics.lr,
            "gradient_norm": metrics.gradient_norm if manager.log_gradient_norm else None,
            "parameter_norm": metrics.parameter_norm,
            "grad_norm_nonfinite_total": float(self._module.results.nonfinite_norms),
            "cpu_fallbacks": self._module.cpu_fallbacks,
            "global_step": float(metrics.step),
            "consumed_samples": float(metrics.consumed_samples),
            "tokens_per_second": metrics.tokens_per_second,
            "mfu": metrics.mfu,
            "throughput": throughput,
            "throughput_peak": self._fastest,
            "epoch": float(self._trainer.current_epoch),
            **metrics.metrics,
        }
        if manager.log_step_timing:
            scalars["train_step_timing in s"] = result.seconds
        for logger in self._trainer.loggers:
            logger.log_metrics({k: v for k, v in scalars.items() if v is not None}, step=metrics.step)
        self._untracked = trackers.lost(self._trainer.loggers)

    def _first_step(self) -> None:
        self._phases.mark("first_step")
        if self._metrics is not None:
            log.info("first step done: %s; most of it: %s", self._phases, self._phases.longest)
            if (made := graphs.count()).done:
                log.info("graphs until the first step: %d compiled, %d from the cache", made.compiled, made.reused)
        if self._times is not None:
            replace(self._times, files.json_dumps(self._phases.seconds))
        if self._recovery is not None:
            update = {"first_step_time": datetime.now(UTC), "phases": self._phases.seconds}
            self._recovery = self._recovery.model_copy(update=update)
        self._hand_over()

    def _enter(self, activity: str) -> str:
        """Account the time from now on to the activity; return the one before."""
        return self._clock.enter(activity) if self._clock is not None else activity

    def _mfu(self, tokens_per_second: float) -> float | None:
        return self._utilization.at(tokens_per_second) if self._utilization is not None else None

    @property
    def _stragglers(self) -> tuple[StragglerReport, ...] | None:
        return self._ranks.reports if self._ranks is not None and self._ranks.compares else None

    def _hand_over(self, **changes: Any) -> None:
        """Write the report with these changes, and with the newest step."""
        self._handed_over = time.monotonic()
        if self._handoff is None:
            return
        if (newest := self._newest) is not None:
            changes = {
                "step": newest.step,
                "loss": newest.loss,
                "learning_rate": newest.lr,
                "tokens_per_second": newest.tokens_per_second,
                "mfu": self._mfu(newest.tokens_per_second),
                "metrics": dict(newest.metrics),
                "untracked": self._untracked,
                "stragglers": self._stragglers,
                "spikes": dict(self._spikes.counts) if self._spikes is not None else {},
                "newest_spikes": self._spikes.newest if self._spikes is not None else (),
                "last_step_time": datetime.fromtimestamp(newest.time, UTC),
                **changes,
            }
        recoveries = (self._recovery,) if self._recovery is not None else ()
        spent = self._clock.report() if self._clock is not None else None
        self._report = self._report.model_copy(update={**changes, "recoveries": recoveries, "time_spent": spent})
        self._handoff.write_progress(self._report)
