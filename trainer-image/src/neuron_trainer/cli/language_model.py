"""A model in a directory of `transformers` that continues texts; `transformers` does the generating."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from neuron_trainer.errors import CheckpointError


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are chosen."""

    max_new_tokens: int
    temperature: float | None
    """None: the most likely token each time."""
    top_p: float
    """Tokens are drawn from the most likely ones that have this probability together; 1: from all."""
    seed: int


@dataclass(frozen=True, slots=True)
class Answer:
    """The continuation of a prompt."""

    text: str
    tokens: list[int]
    is_complete: bool
    """Whether the model ended it; else `max_new_tokens` did."""


class LanguageModel:
    """The weights and the tokenizer of a directory; raises `CheckpointError`."""

    def __init__(self, folder: Path, tokenizer: Path) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer, logging  # seconds of imports

        logging.set_verbosity_error()
        logging.disable_progress_bar()
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(tokenizer, local_files_only=True)
            model: Any = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, dtype="auto")
        except (KeyboardInterrupt, SystemExit, MemoryError):
            raise
        except BaseException as problem:  # whatever damaged files lead the libraries to, their Rust halves' panics too
            text = next(iter(str(problem).splitlines()), type(problem).__name__)
            raise CheckpointError(f"{folder} cannot be loaded by transformers: {text}") from None
        self._model = model.eval()

    def encode(self, prompt: str, *, is_chat: bool, begins: bool) -> list[int]:
        """Return the tokens of a prompt; `begins`: it follows the beginning-of-text token alone, as records do in
        training, else what the tokenizer puts around a text. Raises `CheckpointError` where it is too long."""
        ids = self._chat(prompt) if is_chat else self._text(prompt, begins=begins)
        limit = self._limit
        if not ids or (limit is not None and len(ids) >= limit):
            bound = f"1 to {limit - 1}" if limit is not None else "1 or more"
            raise CheckpointError(f"the prompt {prompt[:40]!r} has {len(ids)} tokens: the model takes {bound}")
        return ids

    @property
    def _limit(self) -> int | None:
        """Return the tokens of prompt and answer together; None: any number."""
        return getattr(self._model.config, "max_position_embeddings", None)

    def answer(self, ids: list[int], sampling: Sampling) -> Answer:
        """Return the continuation of the tokens of a prompt."""
        ends, limit = self._ends(), self._limit or len(ids) + sampling.max_new_tokens
        settings = self._settings(sampling, min(sampling.max_new_tokens, limit - len(ids)), ends)
        tensor = torch.tensor([ids])
        torch.manual_seed(sampling.seed)
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            whole = self._model.generate(tensor, attention_mask=torch.ones_like(tensor), generation_config=settings)
        tokens = [int(token) for token in whole[0, len(ids) :]]
        text = self._tokenizer.decode(tokens, skip_special_tokens=True)
        return Answer(text, tokens, bool(tokens) and tokens[-1] in ends)

    def _text(self, prompt: str, *, begins: bool) -> list[int]:
        ids = self._tokenizer(prompt, add_special_tokens=not begins)["input_ids"]
        start = self._tokenizer.bos_token_id if begins else None
        return list(ids) if start is None else [start, *ids]

    def _chat(self, prompt: str) -> list[int]:
        if not getattr(self._tokenizer, "chat_template", None):
            raise CheckpointError(
                "--chat: the tokenizer has no chat template; leave --chat out, or give --tokenizer DIR"
            )
        turns = [{"role": "user", "content": prompt}]
        ids = self._tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=False)
        return list(ids)

    def _ends(self) -> list[int]:
        """Return the tokens that end a text: the tokenizer's and the model's own."""
        own = self._model.generation_config.eos_token_id
        ends = [self._tokenizer.eos_token_id, *(own if isinstance(own, list) else [own])]
        return list(dict.fromkeys(end for end in ends if end is not None))

    def _settings(self, sampling: Sampling, count: int, ends: list[int]) -> Any:
        from transformers import GenerationConfig

        drawn = (
            {}
            if sampling.temperature is None
            else {
                "do_sample": True,
                "temperature": sampling.temperature,
                "top_p": sampling.top_p,
                "top_k": 0,
            }
        )
        padding = self._tokenizer.pad_token_id
        return GenerationConfig(
            max_new_tokens=count,
            eos_token_id=ends or None,
            pad_token_id=padding if padding is not None else next(iter(ends), None),
            **drawn,
        )
