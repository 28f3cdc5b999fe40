"""`neuron-train generate RUN --prompt TEXT`: what a model says now, and beside it what its start says."""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from neuron_api.contract import ExitCode
from neuron_api.findings.finding import error
from neuron_trainer.checkpoint import hf_checkpoint, layout, manifest
from neuron_trainer.checkpoint.lora import base
from neuron_trainer.data.paths import expanded
from neuron_trainer.errors import CheckpointError, InputError
from neuron_trainer.storage import places

from . import convert, exports, prompts
from .language_model import Answer, LanguageModel, Sampling

BASE: Final = "base"
TUNED: Final = "tuned"


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """The arguments."""

    source: Path
    prompts: Sequence[str]
    file: str | None
    sampling: Sampling
    tokenizer: Path | None
    base: Path | None
    """Of adapters; None: the model that they name."""
    shows_base: bool
    shows_tuned: bool
    is_chat: bool
    output: str
    """`text` or `json`."""


def run(request: GenerateRequest) -> int:
    """Return an exit code; one sentence says what is wrong."""
    try:
        _check(request.sampling)
        texts = prompts.collect(request.prompts, request.file)
        checkpoint = convert.newest(request.source)
        folders = _folders(request, checkpoint)
        tokenizer = exports.find_tokenizer(checkpoint, request.tokenizer)
        models = {
            name: LanguageModel(exports.export(folder, request.base), tokenizer) for name, folder in folders.items()
        }
        begins = _reads_records(checkpoint)
        encoded = {
            name: [model.encode(text, is_chat=request.is_chat, begins=begins) for text in texts]
            for name, model in models.items()
        }  # all of them before the first answer: a prompt that is too long stops nothing in the middle
        for number, text in enumerate(texts):
            answers = {name: model.answer(encoded[name][number], request.sampling) for name, model in models.items()}
            _print(text, answers, request.output)
    except (CheckpointError, InputError, OSError, ValueError) as problem:
        print(f"neuron-train: {problem}", file=sys.stderr)  # noqa: T201
        return int(ExitCode.ERROR if isinstance(problem, OSError) else ExitCode.CONFIG)
    return int(ExitCode.SUCCESS)


def _check(sampling: Sampling) -> None:
    """Raise `InputError` for a number that means nothing."""
    if sampling.max_new_tokens < 1:
        raise InputError([error("", f"--max-new-tokens: {sampling.max_new_tokens} is less than 1.")])
    if sampling.temperature is not None and not sampling.temperature > 0:
        raise InputError(
            [
                error(
                    "",
                    f"--temperature: {sampling.temperature} is not above 0.",
                    "Leave it out for the most likely token each time.",
                )
            ]
        )
    if not 0 < sampling.top_p <= 1:
        raise InputError([error("", f"--top-p: {sampling.top_p} is not above 0 and at most 1.")])
    if sampling.top_p < 1 and sampling.temperature is None:
        raise InputError([error("", "--top-p draws tokens, and no --temperature is given.", "Add --temperature 1.")])


def _folders(request: GenerateRequest, checkpoint: Path) -> dict[str, Path]:
    """Return the models that are asked, by their name in the output."""
    folders = {BASE: request.base or _start(checkpoint)} if request.shows_base else {}
    if request.shows_tuned or not request.shows_base:
        folders[TUNED] = checkpoint
    return folders


def _start(checkpoint: Path) -> Path:
    """Return the weights that the run began with: the base of its adapters, if it has some."""
    entry = base.adapters_in(checkpoint)
    start = entry.base.source if entry is not None else _manager(checkpoint).get("resume_from_checkpoint")
    if not isinstance(start, str) or not start:
        raise CheckpointError(f"--base: {checkpoint} does not say what its run began with; give --base-model DIR")
    return convert.newest(places.place(start) if places.is_remote(start) else expanded(start))


def _manager(checkpoint: Path) -> dict[str, Any]:
    section = _config(checkpoint).get("exp_manager")
    return section if isinstance(section, dict) else {}


def _config(checkpoint: Path) -> dict[str, Any]:
    """Return the configuration of the run that wrote the checkpoint; empty for weights of others."""
    if hf_checkpoint.is_hf_checkpoint(checkpoint) or not layout.is_complete(checkpoint):
        return {}
    return dict(manifest.read(checkpoint).config or {})


def _reads_records(checkpoint: Path) -> bool:
    """Return whether the run trained on records, which begin with the beginning-of-text token alone."""
    return _config(checkpoint).get("model_alignment_strategy") is not None


def _print(prompt: str, answers: dict[str, Answer], output: str) -> None:
    for line in _json(prompt, answers) if output == "json" else _text(prompt, answers):
        print(line, flush=True)  # noqa: T201


def _json(prompt: str, answers: dict[str, Answer]) -> Iterator[str]:
    for name, answer in answers.items():
        values = {
            "prompt": prompt,
            "model": name,
            "answer": answer.text,
            "tokens": answer.tokens,
            "complete": answer.is_complete,
        }
        yield json.dumps(values, ensure_ascii=False)


def _text(prompt: str, answers: dict[str, Answer]) -> Iterator[str]:
    width = max(map(len, ("prompt", *answers)))
    yield f"{'prompt':<{width}}  {prompt}"
    for name, answer in answers.items():
        label = name if len(answers) > 1 else "answer"
        yield f"{label:<{width}}  {answer.text.strip()}{'' if answer.is_complete else ' …'}"
    yield ""
