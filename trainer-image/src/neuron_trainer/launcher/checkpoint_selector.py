"""Which checkpoint the next round resumes from: listed, decided (`resume`), and verified file by file."""

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from neuron_api import resumption
from neuron_api.config import TrainingConfig
from neuron_api.findings.finding import Finding, error
from neuron_api.resumption import Difference
from neuron_trainer.checkpoint import Candidate, hf_checkpoint, layout, retention, verify
from neuron_trainer.checkpoint.catalog import BrokenCheckpoint, Survey, survey
from neuron_trainer.checkpoint.lora import peft_directory
from neuron_trainer.checkpoint.manifest import Manifest, read
from neuron_trainer.data import tokenizer
from neuron_trainer.errors import CheckpointError, InputError, ProgressLostError
from neuron_trainer.models.family import Family
from neuron_trainer.run_directory import run_identity
from neuron_trainer.run_directory.log_dir import checkpoints
from neuron_trainer.run_directory.resume import (
    EarlierRuns,
    Origin,
    ResumeChoice,
    ResumeDecision,
    candidates_of_run,
    decide,
)
from neuron_trainer.storage import places

from . import adapter_check

log = logging.getLogger(__name__)

_MAX_NAMES: Final = 5


class CheckpointSelector:
    """Selects the checkpoint of each round.

    It remembers what it has verified: a checksum over 100 GB takes minutes, a restart should not.
    """

    def __init__(
        self,
        config: TrainingConfig,
        folder: Path,
        job_uid: str,
        earlier: Callable[[], EarlierRuns] = EarlierRuns,
        *,
        is_test: bool = False,
    ) -> None:
        """`is_test`: nothing in the directory may be changed."""
        self.run_id = run_identity.read(folder)
        """The run of the directory; the caller changes it when it begins another."""
        self._is_test = is_test
        self._config, self._folder, self._job_uid = config, checkpoints(config, folder), job_uid
        self._verified: set[tuple[Path, datetime]] = set()
        self._earlier = earlier

    def decide(self) -> ResumeDecision:
        """Decide without reading shards.

        Raises `InputError` where a checkpoint is required and there is none, and `ProgressLostError` where finished
        steps would be done again from step 0.
        """
        return self._decide(survey(self._folder))

    def _decide(self, contents: Survey) -> ResumeDecision:
        earlier = self._earlier()
        if self._config.exp_manager.resume_if_exists:
            _refuse_newer(contents)
        candidates = [candidate for candidate in contents.complete if candidate.is_resumable]
        decision = decide(self._config, candidates, self._explicit, self._job_uid, earlier, self.run_id)
        reasons = "".join(f"; {broken.reason}" for broken in contents.broken)
        if decision.origin is Origin.LOST:
            raise ProgressLostError(_lost(earlier, f"there is no complete checkpoint in {self._folder}{reasons}"))
        if decision.origin is Origin.MISSING:
            message = f"resume_if_exists is set and there is no complete checkpoint in {self._folder}{reasons}."
            remedy = "Set resume_ignore_no_checkpoint to True to start from scratch."
            raise InputError([error("exp_manager.resume_ignore_no_checkpoint", message, remedy)])
        return decision

    def finished(self) -> Candidate | None:
        """Return a whole checkpoint at the last step: there is nothing to do, unless resume_past_end is set."""
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
        """Choose for the next round: the newest candidate that is what its manifest says.

        Others that are newer, or whose step cannot be read, are skipped, named in the log, and moved aside.
        """
        contents = survey(self._folder)
        self._warn_of_foreign(contents)
        decision, broken = self._decide(contents), list(contents.broken)
        for candidate in decision.candidates:
            try:
                self._verify(candidate)
            except CheckpointError as problem:
                broken.append(BrokenCheckpoint(candidate.path, str(problem), was_complete=True))
                continue
            self._check_architecture(candidate)
            self._check_form(candidate)
            weights_only = decision.origin is Origin.WEIGHTS or self._has_weights_alone(candidate)
            if is_explicit := decision.origin in (Origin.WEIGHTS, Origin.EXPLICIT):
                weights_only |= adapter_check.begins_anew(self._config, candidate)
            adapter_check.check(
                self._config, self._family(), candidate, is_explicit=is_explicit, weights_only=weights_only
            )
            if weights_only and not (earlier := self._earlier()).may_begin_again:
                raise ProgressLostError(_lost(earlier, f"{candidate.path} holds weights alone"))
            text = () if weights_only else self._differences(candidate)
            return self._choice(str(candidate.path), weights_only, broken, text)
        if decision.candidates:
            self._refuse(decision, [item.reason for item in broken])
        return self._choice(None, False, broken)

    def _warn_of_foreign(self, contents: Survey) -> None:
        """Name what another run left in this directory: it is neither resumed from nor removed."""
        own = candidates_of_run(contents.complete, self._job_uid, self.run_id)
        if others := [candidate.path.name for candidate in contents.complete if candidate not in own]:
            names = ", ".join(others[:_MAX_NAMES]) + "…" * (len(others) > _MAX_NAMES)
            log.warning(
                "%s has checkpoints of another run, which are left alone: %s. To continue from one, name it in "
                "exp_manager.resume_from_checkpoint.",
                self._folder,
                names,
            )

    def _refuse(self, decision: ResumeDecision, damages: list[str]) -> None:
        """Raise, since no checkpoint of a run that has some is whole."""
        problem = f"every checkpoint in {decision.candidates[0].path.parent} is damaged ({'; '.join(damages)})"
        if not (earlier := self._earlier()).may_begin_again:
            raise ProgressLostError(_lost(earlier, problem))
        remedy = "Restore one, or remove them to start from scratch."
        raise InputError([error("exp_manager.resume_if_exists", f"{problem}.", remedy)])

    def _choice(
        self, checkpoint: str | None, weights_only: bool, broken: list[BrokenCheckpoint], text: tuple[str, ...] = ()
    ) -> ResumeChoice:
        for item in broken:
            log.error("checkpoint skipped: %s", item.reason)
        if not self._is_test:
            retention.move_aside(self._folder, broken)
        return ResumeChoice(checkpoint, weights_only, "; ".join(item.reason for item in broken), text, self.run_id)

    def _check_form(self, candidate: Candidate) -> None:
        """Warn where the files have another form than `load_xser` says: the form is read from the files (A8)."""
        by_tensor = candidate.manifest.by_tensor
        if peft_directory.is_peft(candidate.path):
            return
        if not hf_checkpoint.is_hf_checkpoint(candidate.path) and by_tensor != self._config.exp_manager.load_xser:
            form = "a file for each tensor" if by_tensor else "a file for each process"
            log.warning("exp_manager.load_xser: %s was written with %s; it is read so.", candidate.path, form)

    def _has_weights_alone(self, candidate: Candidate) -> bool:
        if candidate.is_resumable:
            return False
        log.warning(
            "%s holds weights alone: the optimizer, the schedule and the position in the data begin again.",
            candidate.path,
        )
        return True

    def _verify(self, candidate: Candidate) -> None:
        if hf_checkpoint.is_hf_checkpoint(candidate.path) or peft_directory.is_peft(candidate.path):
            return  # it has no checksums; its headers were read
        version = (candidate.path, candidate.manifest.time)
        if version not in self._verified or not layout.is_complete(candidate.path):
            verify(candidate.path)
            self._verified.add(version)

    def _explicit(self) -> Candidate | None:
        """Return the checkpoint of `resume_from_checkpoint`, verified; None where the key is not set."""
        key, text = "exp_manager.resume_from_checkpoint", self._config.exp_manager.resume_from_checkpoint
        if not text:
            return None
        try:
            path = places.place(text)
            is_hf = hf_checkpoint.is_hf_checkpoint(path)
            if not is_hf and (pickle := hf_checkpoint.pickled(path)) is not None:
                raise CheckpointError(hf_checkpoint.REFUSAL.format(pickle))
            is_peft = not is_hf and peft_directory.is_peft(path)
            candidate = Candidate(
                path, _hf_manifest(path) if is_hf else self._peft_manifest(path) if is_peft else read(path)
            )
            self._verify(candidate)
            return candidate
        except CheckpointError as problem:
            remedy = "Give the directory of a complete checkpoint, or of a model of transformers."
            raise InputError([error(key, f"{problem}.", remedy)]) from None

    def _peft_manifest(self, path: Path) -> Manifest:
        family = self._family()
        return peft_directory.manifest(path, family.kind, asdict(family.config))

    def _differences(self, candidate: Candidate) -> tuple[str, ...]:
        """Return what the resume takes from where, a line each; raises `InputError` for what it cannot go on with."""
        manifest = candidate.manifest
        if manifest.config is None:
            return resumption.describe(manifest.step, None)
        keys = resumption.compare(manifest.config, resumption.effective(self._config))
        if refused := [difference for difference in keys if difference.is_refused]:
            raise InputError([_refusal(candidate, difference) for difference in refused])
        names = {difference.key.rpartition(".")[2] for difference in keys}
        beside = [
            difference for difference in self._architecture(candidate) if difference.key.rpartition(" ")[2] not in names
        ]
        again = manifest.consumed_samples % self._config.data.global_batch_size
        return resumption.describe(
            manifest.step, (*(_with_position(difference, again) for difference in keys), *beside)
        )

    def _architecture(self, candidate: Candidate) -> tuple[Difference, ...]:
        return resumption.compare_architectures(candidate.manifest.architecture, asdict(self._family().config))

    def _family(self) -> Family:
        return Family.from_config(self._config, tokenizer.vocabulary(self._config))

    def _check_architecture(self, candidate: Candidate) -> None:
        """Raise `InputError` for a checkpoint of another architecture: its tensors do not fit this run."""
        different = [
            f"{difference.key.rpartition(' ')[2]} {difference.before} there, {difference.after} here"
            for difference in self._architecture(candidate)
            if difference.is_refused
        ]
        if different:
            key = "model" if self._config.model_source == "megatron" else "model.model_config"
            message = f"{candidate.path} is of another model: {'; '.join(different)}."
            remedy = "Use another log directory, or the model it was written with."
            raise InputError([error(key, message, remedy)])


def _with_position(difference: Difference, again: int) -> Difference:
    """Note that a batch of another size begins at a whole number of such batches."""
    if difference.key != "data.global_batch_size" or not again:
        return difference
    return replace(difference, note=f"the last {again} samples before this step are read again")


def _refusal(candidate: Candidate, difference: Difference) -> Finding:
    return error(
        difference.key,
        f"{candidate.path} was written with {_shown(difference.before)}; its state means nothing for "
        f"{_shown(difference.after)}, so it cannot be resumed.",
        _remedy(candidate, difference),
    )


def _shown(value: Any) -> str:
    """Return a value of the configuration; of a section only that there is one."""
    return "the section" if isinstance(value, Mapping) else json.dumps(value)


def _remedy(candidate: Candidate, difference: Difference) -> str:
    """Return how to go on; adapters of another shape are of no use, so they begin anew beside their base."""
    if difference.key.startswith("model_alignment_strategy.peft."):
        return "Set it back, or begin at step 0 with new adapters: another log directory, and the same start weights."
    return (
        f"Set it back, or begin at step 0 with the weights alone: another log directory, "
        f"exp_manager.resume_from_checkpoint: {candidate.path} and model.weight_init_only: True."
    )


def _hf_manifest(path: Path) -> Manifest:
    family = Family.without_run(hf_checkpoint.config(path))
    return hf_checkpoint.manifest(path, family.kind, asdict(family.config))


def _lost(earlier: EarlierRuns, problem: str) -> str:
    return f"{earlier.step} steps were finished and {problem}: the job would begin again at step 0."


def _refuse_newer(contents: Survey) -> None:
    """Raise after a roll-back: an older checkpoint would do steps again that a later release has saved."""
    if newer := [broken.reason for broken in contents.broken if broken.is_newer]:
        remedy = "Start this run with that release, or move the checkpoint to another directory to continue without it."
        raise InputError([error("exp_manager.resume_if_exists", f"{newer[0]}.", remedy)])
