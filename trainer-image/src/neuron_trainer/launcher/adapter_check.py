"""Whether a run can take up what it is to start from, where one of the two has adapters (LoRA)."""

from typing import Final

from neuron_api.checks.adapters import SECTION
from neuron_api.config import PeftConfig, TrainingConfig
from neuron_api.derive import alignment
from neuron_api.findings.finding import Finding, error
from neuron_trainer.checkpoint import Candidate
from neuron_trainer.checkpoint.lora import base, peft_directory
from neuron_trainer.checkpoint.lora.entry import AdapterEntry
from neuron_trainer.errors import CheckpointError, InputError
from neuron_trainer.models import lora
from neuron_trainer.models.family import Family

KEY: Final = "exp_manager.resume_from_checkpoint"


def begins_anew(config: TrainingConfig, candidate: Candidate) -> bool:
    """Return whether a run with adapters begins at step 0 from what `resume_from_checkpoint` names: from a base, or
    with `load_lora_from_ckpt` from adapters."""
    peft = alignment.adapters(config)
    return peft is not None and (peft.load_lora_from_ckpt or base.adapters_in(candidate.path) is None)


def check(
    config: TrainingConfig, model: Family, candidate: Candidate, *, is_explicit: bool, weights_only: bool
) -> None:
    """Raise `InputError` where a checkpoint's adapters are not the run's, or have no base."""
    entry = base.adapters_in(candidate.path) if weights_only else candidate.manifest.adapters
    peft = alignment.adapters(config)
    if peft is None:
        finding = _without_section(candidate, entry)
    elif entry is None:
        finding = _without_adapters(candidate) if is_explicit and peft.load_lora_from_ckpt else None
    else:
        finding = _adapters(peft, candidate, entry, weights_only=weights_only)
        finding = finding or _sources(config, peft, model, candidate, entry)
    if finding is not None:
        raise InputError([finding])


def _without_section(candidate: Candidate, entry: AdapterEntry | None) -> Finding | None:
    if entry is None or entry.is_merged:
        return None
    remedy = (
        f"Set {SECTION} as it was, or merge them with their base: neuron-train checkpoint convert "
        f"{candidate.path} TARGET --to hf."
    )
    return error(KEY, f"{candidate.path} has adapters, and this run trains all weights.", remedy)


def _without_adapters(candidate: Candidate) -> Finding:
    key, remedy = f"{SECTION}.load_lora_from_ckpt", "Give a checkpoint that has some, or set it to False."
    return error(key, f"{candidate.path} has no adapters.", remedy)


def _adapters(peft: PeftConfig, candidate: Candidate, entry: AdapterEntry, *, weights_only: bool) -> Finding | None:
    if peft_directory.is_peft(candidate.path) and not peft.load_lora_from_ckpt:
        message, remedy = f"{candidate.path} has adapters and no model.", f"Set {SECTION}.load_lora_from_ckpt to True."
        return error(KEY, message, remedy)
    if weights_only and (different := entry.differences(peft, of_peft=peft_directory.is_peft(candidate.path))):
        message = f"{candidate.path} has other adapters: {', '.join(different)}."
        return error(SECTION, message, "Set these keys as they were.")
    return None


def _sources(
    config: TrainingConfig, peft: PeftConfig, model: Family, candidate: Candidate, entry: AdapterEntry
) -> Finding | None:
    try:
        if entry.base.is_drawn:
            base.check_drawn(entry.base, base.drawn(model), candidate.path)
        elif entry.is_merged or not entry.holds_base:
            base.locate(entry.base, config, candidate.path)
        if peft_directory.is_peft(candidate.path):
            peft_directory.selected(candidate.path, list(lora.summary(model.on_meta(), peft).shapes))
    except CheckpointError as problem:
        return error(KEY, f"{problem}.", "Give adapters of this run's base and targets.")
    return None
