"""One start of a training run on one rank: build everything, restore a checkpoint, fit."""

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from dataclasses import replace as replace_field
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
import torch.distributed as dist

from neuron_api.config import TrainingConfig
from neuron_api.platform.topology import Topology
from neuron_api.resource.progress import Recovery, ResumeSource
from neuron_trainer import accelerators, parallel
from neuron_trainer.checkpoint.lora.base import is_drawn
from neuron_trainer.checkpoint.manifest import read as read_manifest
from neuron_trainer.checkpoint.memory.agreement import MemoryTier
from neuron_trainer.checkpoint.memory.copies import MemoryCopies
from neuron_trainer.data import tokenizer
from neuron_trainer.ipc.phases import Phases
from neuron_trainer.ipc.worker_channel import Start, WorkerChannel
from neuron_trainer.metrics import fallbacks
from neuron_trainer.metrics.history import MetricsFile, StartRecord
from neuron_trainer.metrics.stragglers import RankComparison
from neuron_trainer.metrics.throughput import Utilization
from neuron_trainer.metrics.timeline import timeline_file
from neuron_trainer.models.family import Family
from neuron_trainer.run_directory.log_dir import RECOVERY_FILE, Mirror, mirror
from neuron_trainer.storage import places

from . import reference
from .adapters import RunAdapters
from .checkpointing import Checkpointing, MemoryCheckpointing
from .module import TrainingModule
from .reference import Reference
from .reporting import Reporting
from .state import RunState
from .stopping import Stop, Stopping, early_stopping
from .trainer import BackendStrategy
from .trainer import build as build_trainer

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Run:
    """The built parts; `fit` may be called once."""

    module: TrainingModule
    state: RunState
    phases: Phases
    utilization: Utilization | None = None

    @classmethod
    def build(
        cls,
        config: TrainingConfig,
        topology: Topology,
        config_hash: str,
        device: torch.device,
        wants_stop: Callable[[], bool],
        phases: Phases,
        *,
        is_fresh: bool = True,
    ) -> "Run":
        """Process groups, model, optimizer; a collective. Not fresh: a checkpoint will overwrite all weights."""
        vocabulary = tokenizer.vocabulary(config)
        family = replace_field(
            Family.from_config(config, vocabulary), initialize=is_fresh or reference.needs_initial_weights(config)
        )
        backend = parallel.create(config, topology, device)
        phases.mark("groups")
        module = TrainingModule(config, backend, backend.build(family), family.config, wants_stop)
        phases.mark("model_build")
        utilization = Utilization.from_config(config, vocabulary, dist.get_world_size())
        adapters = RunAdapters.for_run(config, backend, family)
        return cls(module, RunState(module, family, topology, config_hash, adapters=adapters), phases, utilization)

    @staticmethod
    def draws_weights(checkpoint: str | None) -> bool:
        """Return whether initial weights are needed: without a checkpoint, or beside adapters whose base was drawn."""
        return checkpoint is None or is_drawn(places.place(checkpoint))

    def fit(
        self,
        start: Start,
        log_dir: Path,
        checkpoints: Path,
        handoff: WorkerChannel | None,
        metrics: MetricsFile | None,
        rank: int,
        memory: MemoryTier | None = None,
    ) -> Stop:
        """Train to the end, or to a stop. `handoff` on local rank 0, `metrics` on global rank 0 only."""
        config = self.module.config
        state = replace_field(
            self.state, run_id=start.run_id, guard=handoff.guard if handoff is not None else lambda: None
        )
        recovery = self._recovery(start, metrics)
        timed = metrics is not None and config.exp_manager.enable_recovery_time_instrumentation
        times = log_dir / RECOVERY_FILE if timed else None
        furthest = self._furthest_step(start, metrics, log_dir)
        experts = config.distributed_strategy.expert_model_parallel_size
        ranks = RankComparison(state.topology, experts) if metrics is not None else None
        reporting = Reporting(
            handoff, metrics, self.phases, recovery, start.round, times, self.utilization, furthest, ranks
        )
        log_mirror = mirror(config, log_dir) if metrics is not None else None
        saving = Checkpointing(
            config.exp_manager, state, checkpoints, reporting, rank, log_mirror.sync if log_mirror else lambda: None
        )
        stopping = Stopping()
        resumed = self._restore(start, saving, reporting, metrics, recovery.steps_lost if recovery else 0)
        if reference.is_used(config):
            self._prepare_reference(Reference(state, start, log_dir, reporting, rank), log_mirror)
        copies = self._copies(memory, start)
        load = (
            self._load
            if copies is None or not start.memory_step
            else partial(self._load_memory, copies, start.memory_step)
        )
        strategy = BackendStrategy(self.module.backend.device, rank, saving.saving.save, load)
        watching = fallbacks.callbacks(self.module.backend.device.type)
        # What is saved has early stopping's count of this very validation: the one comes before the other.
        callbacks: list[pl.Callback] = [*watching, reporting, *early_stopping(config.exp_manager), saving]
        if memory is not None and copies is not None:
            wants_stop = self.module.wants_stop
            callbacks.append(
                MemoryCheckpointing(state, copies, memory.every_steps, saving, wants_stop, reporting.saving)
            )
        callbacks.append(stopping)
        trainer = build_trainer(config, strategy, log_dir, callbacks, start.run_id)
        try:
            trainer.fit(self.module, ckpt_path=resumed)
        except BaseException:
            with suppress(OSError):  # the failure is what counts
                reporting.trackers_closed(trainer)
            raise
        reporting.trackers_closed(trainer)
        if reporting.is_idle:
            reporting.nothing_to_do(trainer.global_step)
        if log_mirror is not None:
            log_mirror.sync(is_last=True)
        return stopping.stop

    def _restore(
        self, start: Start, saving: Checkpointing, reporting: Reporting, metrics: MetricsFile | None, lost: int
    ) -> str | None:
        """Return the checkpoint that Lightning resumes from; bare weights are loaded here."""
        step = start.memory_step
        if start.checkpoint is not None and not start.weights_only:
            manifest = read_manifest(places.place(start.checkpoint))
            saving.saved_step, step = manifest.step, step or manifest.step
            reporting.checkpoint_restored(manifest.step, start.checkpoint, manifest.time, tuple(start.text))
        elif start.checkpoint is not None and not step:
            self.state.load_weights(places.place(start.checkpoint))
            self.phases.mark("checkpoint_load")
        if metrics is not None:
            counts = self.module.record_counts()
            reporting.data_opened(counts or {})
            text = tuple(start.text) or None if not start.memory_step else None
            source = _source(start).value if start.resumes else None
            reporting.start = StartRecord(step, lost, round(time.time(), 3), text, counts, source=source)
            summary = self.state.adapters.sentences() if self.state.adapters is not None else ()
            for line in (*summary, _sentence(start, step, lost), *(text or ())):
                log.info("%s", line)
        if start.memory_step:
            return "memory"
        return None if start.weights_only else start.checkpoint

    def _copies(self, memory: MemoryTier | None, start: Start) -> MemoryCopies | None:
        """Reserve this process's shared memory; the copies of the start's step are where they belong after it."""
        if memory is None:
            return None
        is_host = accelerators.get(self.module.backend.device.type).is_host
        copies = MemoryCopies(
            memory.folder, memory.identity, self.state.in_memory, is_async=is_host, has_peer=memory.replicas > 0
        )
        copies.prepare(start.memory_step, start.memory_missing)
        return copies

    def _prepare_reference(self, own: Reference, log_mirror: Mirror | None) -> None:
        """Prepare the reference before the checkpoint is loaded: the reference is the model that the run began with."""
        own.prepare(("train", "validation") if self.module.config.trainer.limit_val_batches else ("train",))
        if log_mirror is not None:
            log_mirror.sync()
        self.phases.mark("reference")

    def _load(self, folder: Path) -> dict[str, Any]:
        self.phases.mark("data_seek")  # what Lightning has set up so far
        trainer_state = self.state.load(folder)
        self.phases.mark("checkpoint_load")
        return trainer_state

    def _load_memory(self, copies: MemoryCopies, step: int, _: Path) -> dict[str, Any]:
        self.phases.mark("data_seek")
        trainer_state = self.state.load_memory(copies, step)
        self.phases.mark("checkpoint_load")
        return trainer_state

    def _recovery(self, start: Start, metrics: MetricsFile | None) -> Recovery | None:
        """Return what this start costs, on rank 0, where there was one before."""
        logged = metrics.last_step() if metrics is not None and self._continues(start) else 0
        is_first = start.checkpoint is None and not start.memory_step
        if metrics is None or (is_first and max(start.last_step, logged) == 0):
            return None
        resumed = start.memory_step
        if start.resumes and not resumed:
            assert start.checkpoint is not None
            resumed = read_manifest(places.place(start.checkpoint)).step
        lost = max(0, max(start.last_step, logged) - resumed)
        return Recovery(
            round=start.round,
            resumed_from_step=resumed,
            steps_lost=lost,
            passed_over=start.skipped,
            source=_source(start),
        )

    def _furthest_step(self, start: Start, metrics: MetricsFile | None, log_dir: Path) -> int:
        """Return the step up to which an earlier start has finished steps; known on rank 0."""
        if metrics is None or not self._continues(start):
            return start.last_step
        return max(start.last_step, metrics.last_step(), timeline_file.furthest_step(log_dir))

    def _continues(self, start: Start) -> bool:
        """Return whether the steps in the log directory are this run's, and not those of a run before it."""
        return (
            start.round > 0
            or start.resumes
            or start.checkpoint is not None
            or self.module.config.exp_manager.resume_if_exists
        )


def _source(start: Start) -> ResumeSource:
    if start.memory_step:
        return ResumeSource.PEER if start.memory_missing else ResumeSource.MEMORY
    return ResumeSource.STORAGE if start.resumes else ResumeSource.NONE


def _sentence(start: Start, step: int, lost: int) -> str:
    begin = f"training begins at step {step}"
    if start.memory_step:
        begin = f"training resumes at step {step} from shared memory"
        if start.memory_missing:
            begin += f", with another node's copies of rank {', '.join(map(str, start.memory_missing))}"
    elif start.checkpoint is not None:
        origin = "with the weights of" if start.weights_only else "from"
        begin = f"training {'begins' if start.weights_only else 'resumes'} at step {step} {origin} {start.checkpoint}"
    again = f"; {lost} finished step{'s are' if lost > 1 else ' is'} done again" if lost else ""
    return begin + again + (f"; passed over: {start.skipped}" if start.skipped else "")
