"""Every finished step goes to: the hand-off (for /progress), metrics.jsonl, TensorBoard, and the terminal or log."""

import logging
import time
from collections import deque
from datetime import UTC, datetime
from typing import Any, Final

import lightning.pytorch as pl

from neuron_api.progress import CheckpointReport, Progress, Recovery, TrainerPhase
from neuron_trainer.handoff import Handoff
from neuron_trainer.metrics_file import MetricsFile, StepMetrics, ValidationMetrics
from neuron_trainer.phases import Phases
from neuron_trainer.terminal import StepDisplay

from .module import TrainingModule
from .step import parameter_norm

log = logging.getLogger(__name__)

_WINDOW: Final = 10
"""Steps that the throughput is averaged over (B-14)."""


class Reporting(pl.Callback):  # type: ignore[misc]
    """On every rank: local rank 0 hands over, global rank 0 writes files."""

    def __init__(
        self,
        handoff: Handoff | None,
        metrics: MetricsFile | None,
        phases: Phases,
        recovery: Recovery | None,
        round: int,
    ) -> None:
        self._handoff, self._metrics, self._phases = handoff, metrics, phases
        self._recovery = recovery
        self._display: StepDisplay | None = None
        self._ends: deque[float] = deque(maxlen=_WINDOW + 1)
        self._report = Progress(phase=TrainerPhase.LOADING, round=round)
        self._before = TrainerPhase.LOADING
        """Phase that a validation or a save is a break in."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """The model is loaded and the position is known."""
        self._phases.mark("data_seek")
        self._ends.append(time.monotonic())
        if self._metrics is not None:
            self._display = StepDisplay(trainer.global_step, pl_module.config.trainer.max_steps)
        self._hand_over(phase=TrainerPhase.TRAINING, step=trainer.global_step)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        """After the optimizer step, before validation and checkpoint (B-4)."""
        assert isinstance(pl_module, TrainingModule)
        self._ends.append(time.monotonic())
        config, step = pl_module.config, trainer.global_step
        if "first_step" not in self._phases.seconds:
            self._first_step()
        is_due = step % config.trainer.log_every_n_steps == 0
        norm = parameter_norm(pl_module.backend) if is_due and config.exp_manager.log_parameter_norm else None
        metrics = self._collect(pl_module, step, norm)
        self._hand_over(
            step=step, loss=metrics.loss, learning_rate=metrics.lr, tokens_per_second=metrics.tokens_per_second,
            last_step_time=datetime.now(UTC),
        )  # fmt: skip
        if is_due and self._metrics is not None:
            self._write(trainer, metrics)

    def on_validation_start(self, trainer: pl.Trainer, *_: Any) -> None:
        """No optimizer step is finished meanwhile, and none is missed. Lightning's check at the start is loading."""
        self._before = self._report.phase
        self._hand_over(phase=self._before if trainer.sanity_checking else TrainerPhase.VALIDATING)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """`val_loss` to the log and to TensorBoard."""
        self._hand_over(phase=self._before)
        if self._metrics is not None and pl_module.val_loss is not None and not trainer.sanity_checking:
            log.info("step %d: val_loss %.6g", trainer.global_step, pl_module.val_loss)
            self._metrics.append(ValidationMetrics(trainer.global_step, pl_module.val_loss, round(time.time(), 3)))
            for logger in trainer.loggers:
                logger.log_metrics({"val_loss": pl_module.val_loss}, step=trainer.global_step)

    def on_train_end(self, *_: Any) -> None:
        """The final checkpoint follows."""
        if self._display is not None:
            self._display.close()
        self._hand_over(phase=TrainerPhase.SAVING)

    def checkpoint_begun(self) -> None:
        """Called before each checkpoint is written."""
        self._before = self._report.phase
        self._hand_over(phase=TrainerPhase.SAVING)

    def checkpoint_staged(self) -> None:
        """Called when training goes on, whether the checkpoint is complete or being written."""
        self._hand_over(phase=self._before)

    def checkpoint_written(self, step: int, path: str) -> None:
        """Called after each complete checkpoint."""
        self._hand_over(checkpoint=CheckpointReport(step=step, path=path, time=datetime.now(UTC)))

    def checkpoint_taken_up(self, step: int, path: str) -> None:
        """Called once, for the one that this start goes on from."""
        self._hand_over(checkpoint=CheckpointReport(step=step, path=path, time=datetime.now(UTC)))

    def _collect(self, module: TrainingModule, step: int, norm: float | None) -> StepMetrics:
        config = module.config
        seconds = (self._ends[-1] - self._ends[0]) / (len(self._ends) - 1)
        tokens = config.data.global_batch_size * config.model.encoder_seq_length
        return StepMetrics(
            step=step,
            loss=module.result.loss,
            lr=module.used_lr,
            gradient_norm=module.result.gradient_norm,
            consumed_samples=module.consumed_samples,
            tokens_per_second=round(tokens / seconds, 3),
            time=round(time.time(), 3),
            parameter_norm=norm,
        )

    def _write(self, trainer: pl.Trainer, metrics: StepMetrics) -> None:
        assert self._metrics is not None and self._display is not None
        self._metrics.append(metrics)
        self._display.show(metrics)
        scalars = {
            "reduced_train_loss": metrics.loss,
            "lr": metrics.lr,
            "gradient_norm": metrics.gradient_norm,
            "parameter_norm": metrics.parameter_norm,
            "global_step": float(metrics.step),
            "consumed_samples": float(metrics.consumed_samples),
            "tokens_per_second": metrics.tokens_per_second,
        }
        for logger in trainer.loggers:
            logger.log_metrics({k: v for k, v in scalars.items() if v is not None}, step=metrics.step)

    def _first_step(self) -> None:
        self._phases.mark("first_step")
        if self._metrics is not None:
            log.info("first step done: %s", self._phases)
        if self._recovery is not None:
            self._recovery = self._recovery.model_copy(update={"first_step_time": datetime.now(UTC)})

    def _hand_over(self, **changes: Any) -> None:
        if self._handoff is not None:
            recoveries = (self._recovery,) if self._recovery is not None else ()
            self._report = self._report.model_copy(update={**changes, "recoveries": recoveries})
            self._handoff.write_progress(self._report)
