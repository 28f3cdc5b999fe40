"""Which checkpoint the next round takes up: found, decided (`resume`), and verified file by file."""

import logging
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Final

from neuron_api.config import TrainingConfig
from neuron_api.findings import error
from neuron_trainer.checkpoint import Candidate, complete, layout, published, storage, verify
from neuron_trainer.checkpoint.manifest import Manifest, read
from neuron_trainer.data import tokenizer
from neuron_trainer.errors import CheckpointError, InputError, ProgressLostError
from neuron_trainer.log_dir import checkpoints
from neuron_trainer.models.family import Family
from neuron_trainer.resume import Choice, Decision, Origin, Seen, decide

log = logging.getLogger(__name__)

_SIZES: Final = (
    "vocab_size", "hidden_size", "intermediate_size", "ffn_hidden_size", "num_hidden_layers", "num_layers",
    "num_attention_heads", "num_key_value_heads", "num_kv_heads", "head_dim", "kv_channels", "tie_word_embeddings",
)  # fmt: skip
"""Of a family's config, those that the shapes of its tensors follow from."""


class Chooser:
    """Remembers what it has verified: a checksum over 100 GB takes minutes, a restart should not."""

    def __init__(self, config: TrainingConfig, folder: Path, job_uid: str, seen: Callable[[], Seen] = Seen) -> None:
        self._config, self._folder, self._job_uid = config, checkpoints(config, folder), job_uid
        self._verified: set[tuple[Path, datetime]] = set()
        self._seen = seen

    def decide(self) -> Decision:
        """Without reading shards; raises `InputError` where a checkpoint is required and there is none, and
        `ProgressLostError` where finished steps would be done again from step 0."""
        seen = self._seen()
        found = [candidate for candidate in complete(self._folder) if candidate.is_resumable]
        decision = decide(self._config, found, self._given, self._job_uid, seen)
        if decision.origin is Origin.LOST:
            raise ProgressLostError(_lost(seen, f"there is no complete checkpoint in {self._folder}"))
        if decision.origin is Origin.MISSING:
            raise InputError([error(
                "exp_manager.resume_ignore_no_checkpoint",
                f"resume_if_exists is set and there is no complete checkpoint in {self._folder}.",
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

    def choose(self) -> Choice:
        """For the next round: the newest candidate that is what its manifest says.

        Damaged ones are passed over, aloud.
        """
        decision, damaged = self.decide(), list[str]()
        for candidate in decision.candidates:
            try:
                self._verify(candidate)
            except CheckpointError as problem:
                log.error("checkpoint passed over: %s", problem)
                damaged.append(str(problem))
                continue
            self._compare(candidate)
            self._compare_form(candidate)
            weights_only = decision.origin is Origin.WEIGHTS or self._has_weights_alone(candidate)
            if weights_only and not (seen := self._seen()).may_begin_again:
                raise ProgressLostError(_lost(seen, f"{candidate.path} holds weights alone"))
            return Choice(str(candidate.path), weights_only, "; ".join(damaged))
        if decision.candidates and not (seen := self._seen()).may_begin_again:
            told = f"every checkpoint in {decision.candidates[0].path.parent} is damaged ({'; '.join(damaged)})"
            raise ProgressLostError(_lost(seen, told))
        if decision.candidates:
            raise InputError([error(
                "exp_manager.resume_if_exists",
                f"every checkpoint in {decision.candidates[0].path.parent} is damaged.",
                "Restore one, or remove them to start from scratch.",
            )])  # fmt: skip
        return Choice()

    def _compare_form(self, candidate: Candidate) -> None:
        """The form is read from the files (A8)."""
        if not published.is_one(candidate.path) and candidate.manifest.by_tensor != self._config.exp_manager.load_xser:
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
        if published.is_one(candidate.path):
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
            path = storage.place(text)
            candidate = Candidate(path, _published(path) if published.is_one(path) else read(path))
            self._verify(candidate)
            return candidate
        except CheckpointError as problem:
            remedy = "Give the directory of a complete checkpoint, or of a model of transformers."
            raise InputError([error(key, f"{problem}.", remedy)]) from None

    def _compare(self, candidate: Candidate) -> None:
        """A run cannot take up the tensors of another architecture."""
        family = Family.of(self._config, tokenizer.vocabulary(self._config))
        wanted, found = asdict(family.config), candidate.manifest.architecture
        sizes = [size for size in _SIZES if size in wanted]
        if different := [f"{k} {found.get(k)} there, {wanted[k]} here" for k in sizes if found.get(k) != wanted[k]]:
            raise InputError([error(
                "model" if self._config.model_source == "megatron" else "model.model_config",
                f"{candidate.path} is of another model: {'; '.join(different)}.",
                "Use another log directory, or the model it was written with.",
            )])  # fmt: skip


def _published(path: Path) -> Manifest:
    family = Family.bare(published.config(path))
    return published.manifest(path, family.kind, asdict(family.config))


def _lost(seen: Seen, found: str) -> str:
    return f"{seen.step} steps were finished and {found}: the job would begin again at step 0."
