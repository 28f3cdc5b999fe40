"""Which checkpoint the next round takes up: found, decided (`resume`), and verified file by file."""

import json
import logging
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Final

from neuron_api import resumption
from neuron_api.config import TrainingConfig
from neuron_api.findings.finding import Finding, error
from neuron_api.resumption import Difference
from neuron_trainer.checkpoint import Candidate, aside, hf_checkpoint, layout, verify
from neuron_trainer.checkpoint.catalog import Broken, Survey, survey
from neuron_trainer.checkpoint.manifest import Manifest, read
from neuron_trainer.data import tokenizer
from neuron_trainer.errors import CheckpointError, InputError, ProgressLostError
from neuron_trainer.models.family import Family
from neuron_trainer.run_directory import run_identity
from neuron_trainer.run_directory.log_dir import checkpoints
from neuron_trainer.run_directory.resume import EarlierRuns, Origin, ResumeChoice, ResumeDecision, decide, of_run
from neuron_trainer.storage import places

log = logging.getLogger(__name__)

_MAX_NAMES: Final = 5


class CheckpointSelector:
    """Remembers what it has verified: a checksum over 100 GB takes minutes, a restart should not."""

    def __init__(
        self,
        config: TrainingConfig,
        folder: Path,
        job_uid: str,
        seen: Callable[[], EarlierRuns] = EarlierRuns,
        *,
        is_test: bool = False,
    ) -> None:
        """`is_test`: nothing in the directory may be touched."""
        self.run_id = run_identity.read(folder)
        """Of the run that the directory is of; the caller changes it when it begins another."""
        self._is_test = is_test
        self._config, self._folder, self._job_uid = config, checkpoints(config, folder), job_uid
        self._verified: set[tuple[Path, datetime]] = set()
        self._seen = seen

    def decide(self) -> ResumeDecision:
        """Without reading shards; raises `InputError` where a checkpoint is required and there is none, and
        `ProgressLostError` where finished steps would be done again from step 0."""
        return self._decide(survey(self._folder))

    def _decide(self, there: Survey) -> ResumeDecision:
        seen = self._seen()
        if self._config.exp_manager.resume_if_exists:
            _refuse_newer(there)
        found = [candidate for candidate in there.complete if candidate.is_resumable]
        decision = decide(self._config, found, self._given, self._job_uid, seen, self.run_id)
        broken = "".join(f"; {one.reason}" for one in there.broken)
        if decision.origin is Origin.LOST:
            raise ProgressLostError(_lost(seen, f"there is no complete checkpoint in {self._folder}{broken}"))
        if decision.origin is Origin.MISSING:
            raise InputError([error(
                "exp_manager.resume_ignore_no_checkpoint",
                f"resume_if_exists is set and there is no complete checkpoint in {self._folder}{broken}.",
                "Set resume_ignore_no_checkpoint to True to start from scratch.",
            )])  # fmt: skip
        return decision

    def finished(self) -> Candidate | None:
        """A whole checkpoint that is at the last step: there is nothing to do, unless resume_past_end asks for it."""
        if self._config.exp_manager.resume_past_end:
            return None
        decision, last = self.decide(), self._config.trainer.max_steps
        if decision.origin not in (Origin.OWN, Origin.FOREIGN) or not 0 < last <= decision.candidates[0].step:
            return None
        try:
            self._verify(decision.candidates[0])
        except CheckpointError:
            return None
        return decision.candidates[0]

    def choose(self) -> ResumeChoice:
        """For the next round: the newest candidate that is what its manifest says.

        Others that are newer, or of which nobody can say how new they are, are passed over, aloud, and moved aside.
        """
        there = survey(self._folder)
        self._name_foreign(there)
        decision, broken = self._decide(there), list(there.broken)
        for candidate in decision.candidates:
            try:
                self._verify(candidate)
            except CheckpointError as problem:
                broken.append(Broken(candidate.path, str(problem), was_complete=True))
                continue
            self._compare(candidate)
            self._compare_form(candidate)
            weights_only = decision.origin is Origin.WEIGHTS or self._has_weights_alone(candidate)
            if weights_only and not (seen := self._seen()).may_begin_again:
                raise ProgressLostError(_lost(seen, f"{candidate.path} holds weights alone"))
            text = () if weights_only else self._differences(candidate)
            return self._chosen(str(candidate.path), weights_only, broken, text)
        if decision.candidates:
            self._refuse(decision, [one.reason for one in broken])
        return self._chosen(None, False, broken)

    def _name_foreign(self, there: Survey) -> None:
        """What another run left in this directory is neither taken up nor removed."""
        own = of_run(there.complete, self._job_uid, self.run_id)
        if others := [candidate.path.name for candidate in there.complete if candidate not in own]:
            log.warning(
                "%s has checkpoints of another run, which are left alone: %s. To go on from one, name it in "
                "exp_manager.resume_from_checkpoint.", self._folder, ", ".join(others[:_MAX_NAMES]) + "…" * (
                    len(others) > _MAX_NAMES),
            )  # fmt: skip

    def _refuse(self, decision: ResumeDecision, damages: list[str]) -> None:
        """Nothing of a run that has checkpoints is whole."""
        found = f"every checkpoint in {decision.candidates[0].path.parent} is damaged ({'; '.join(damages)})"
        if not (seen := self._seen()).may_begin_again:
            raise ProgressLostError(_lost(seen, found))
        remedy = "Restore one, or remove them to start from scratch."
        raise InputError([error("exp_manager.resume_if_exists", f"{found}.", remedy)])

    def _chosen(
        self, checkpoint: str | None, weights_only: bool, broken: list[Broken], text: tuple[str, ...] = ()
    ) -> ResumeChoice:
        for one in broken:
            log.error("checkpoint passed over: %s", one.reason)
        if not self._is_test:
            aside.move(self._folder, broken)
        return ResumeChoice(checkpoint, weights_only, "; ".join(one.reason for one in broken), text, self.run_id)

    def _compare_form(self, candidate: Candidate) -> None:
        """The form is read from the files (A8)."""
        if (
            not hf_checkpoint.is_one(candidate.path)
            and candidate.manifest.by_tensor != self._config.exp_manager.load_xser
        ):
            form = "a file for each tensor" if candidate.manifest.by_tensor else "a file for each process"
            log.warning("exp_manager.load_xser: %s was written with %s; it is read so.", candidate.path, form)

    def _has_weights_alone(self, candidate: Candidate) -> bool:
        if candidate.is_resumable:
            return False
        log.warning(
            "%s holds weights alone: the optimizer, the schedule and the position in the data begin anew.",
            candidate.path,
        )
        return True

    def _verify(self, candidate: Candidate) -> None:
        if hf_checkpoint.is_one(candidate.path):
            return  # it has no checksums; its headers were read
        written = (candidate.path, candidate.manifest.time)
        if written not in self._verified or not layout.is_complete(candidate.path):
            verify(candidate.path)
            self._verified.add(written)

    def _given(self) -> Candidate | None:
        key, text = "exp_manager.resume_from_checkpoint", self._config.exp_manager.resume_from_checkpoint
        if not text:
            return None
        try:
            path = places.place(text)
            if not hf_checkpoint.is_one(path) and (pickle := hf_checkpoint.pickled(path)) is not None:
                raise CheckpointError(hf_checkpoint.REFUSAL.format(pickle))
            candidate = Candidate(path, _published(path) if hf_checkpoint.is_one(path) else read(path))
            self._verify(candidate)
            return candidate
        except CheckpointError as problem:
            remedy = "Give the directory of a complete checkpoint, or of a model of transformers."
            raise InputError([error(key, f"{problem}.", remedy)]) from None

    def _differences(self, candidate: Candidate) -> tuple[str, ...]:
        """What the resume takes from where; raises `InputError` for what it cannot go on with."""
        manifest = candidate.manifest
        if manifest.config is None:
            return resumption.describe(manifest.step, None)
        keys = resumption.compare(manifest.config, resumption.effective(self._config))
        if refused := [one for one in keys if one.is_refused]:
            raise InputError([_refusal(candidate, one) for one in refused])
        told = {one.key.rpartition(".")[2] for one in keys}
        beside = [one for one in self._architecture(candidate) if one.key.rpartition(" ")[2] not in told]
        batch = self._config.data.global_batch_size
        again = manifest.consumed_samples % batch
        return resumption.describe(manifest.step, (*(_with_position(one, again) for one in keys), *beside))

    def _architecture(self, candidate: Candidate) -> tuple[Difference, ...]:
        family = Family.of(self._config, tokenizer.vocabulary(self._config))
        return resumption.compare_architectures(candidate.manifest.architecture, asdict(family.config))

    def _compare(self, candidate: Candidate) -> None:
        """A run cannot take up the tensors of another architecture."""
        different = [
            f"{one.key.rpartition(' ')[2]} {one.before} there, {one.after} here"
            for one in self._architecture(candidate)
            if one.is_refused
        ]
        if different:
            raise InputError([error(
                "model" if self._config.model_source == "megatron" else "model.model_config",
                f"{candidate.path} is of another model: {'; '.join(different)}.",
                "Use another log directory, or the model it was written with.",
            )])  # fmt: skip


def _with_position(one: Difference, again: int) -> Difference:
    """A batch of another size begins at a whole number of such batches."""
    if one.key != "data.global_batch_size" or not again:
        return one
    return replace(one, note=f"the last {again} samples before this step are read again")


def _refusal(candidate: Candidate, one: Difference) -> Finding:
    return error(
        one.key,
        f"{candidate.path} was written with {json.dumps(one.before)}; its state means nothing for "
        f"{json.dumps(one.after)}, so it cannot be resumed.",
        f"Set it back, or begin at step 0 with the weights alone: another log directory, "
        f"exp_manager.resume_from_checkpoint: {candidate.path} and model.weight_init_only: True.",
    )


def _published(path: Path) -> Manifest:
    family = Family.bare(hf_checkpoint.config(path))
    return hf_checkpoint.manifest(path, family.kind, asdict(family.config))


def _lost(seen: EarlierRuns, found: str) -> str:
    return f"{seen.step} steps were finished and {found}: the job would begin again at step 0."


def _refuse_newer(there: Survey) -> None:
    """After a roll-back: an older checkpoint would do steps again that a later release has saved."""
    if newer := [one.reason for one in there.broken if one.is_newer]:
        remedy = "Start this run with that release, or move the checkpoint to another directory to go on without it."
        raise InputError([error("exp_manager.resume_if_exists", f"{newer[0]}.", remedy)])
