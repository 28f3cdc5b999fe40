"""Records of preferences: a prompt, the answer that was chosen, and the one that was rejected, as text or messages.

Messages may have the prompt as a field of its own, or both answers begin with it. A prompt of text before answers of
messages is what the user asks, unless the answers begin with the whole conversation, as those of UltraFeedback do.
"""

from collections.abc import Collection, Mapping
from itertools import takewhile
from typing import Any, Final, NamedTuple

from neuron_trainer.data.formats import records
from neuron_trainer.data.formats.errors import FormatError

from . import fields, messages
from .messages import Conversation, Turn

_ANSWERS: Final = ("chosen", "rejected")
_TUNING: Final = ("output", "completion", "messages", "conversations")
"""Fields of records that have one answer."""
_OTHERS: Final = {
    "question": "prompt",
    "query": "prompt",
    "instruction": "prompt",
    "input": "prompt",
    "accepted": "chosen",
    "preferred": "chosen",
    "preferred_output": "chosen",
    "non_preferred_output": "rejected",
}
"""Fields of other layouts, and their names here."""


class Pair(NamedTuple):
    """Two answers to one prompt."""

    place: str
    prompt: str
    chosen: str
    rejected: str

    @property
    def is_empty(self) -> bool:
        """Return whether an answer says nothing."""
        return not self.chosen.strip() or not self.rejected.strip()


class ConversationPair(NamedTuple):
    """Two conversations that begin alike; their answers are what is compared."""

    place: str
    chosen: Conversation
    rejected: Conversation

    @property
    def is_empty(self) -> bool:
        """Return whether an answer says nothing."""
        return self.chosen.is_empty or self.rejected.is_empty


def read(placed: records.Placed) -> tuple[Pair | ConversationPair, Collection[str]]:
    """Return a pair and the names of the fields that it is made of. Raises `FormatError`."""
    place, value, _ = placed
    if not isinstance(value, dict):
        raise FormatError(f"{place} is {records.kind(value)}, not a record with fields.", fields.PAIRS)
    prompt, has_messages = _prompt_field(value), any(messages.is_messages(value.get(name)) for name in _ANSWERS)
    _check_layout(value, place, () if has_messages else (prompt,))
    if has_messages or messages.is_messages(value.get(prompt)):
        return _conversations(value, prompt, place), (prompt, *_ANSWERS, "tools", "system")
    return Pair(place, *(fields.read_text(value, name, place) for name in (prompt, *_ANSWERS))), (prompt, *_ANSWERS)


def _prompt_field(value: Mapping[str, Any]) -> str:
    """Return where the prompt is: LLaMA-Factory writes it as a conversation."""
    return "conversations" if "prompt" not in value and "conversations" in value else "prompt"


def _check_layout(value: Mapping[str, Any], place: str, prompt: tuple[str, ...]) -> None:
    """Refuse a record without an answer, or without the prompt that it needs."""
    if empty := [name for name in (*prompt, *_ANSWERS) if name in value and value[name] is None]:
        raise FormatError(f"the field {empty[0]!r} in {place} is null, not text.", fields.PAIRS)
    lacking = [name for name in (*prompt, *_ANSWERS) if name not in value]
    if not lacking:
        return
    if set(_ANSWERS) <= set(lacking) and set(_TUNING) & set(value):
        remedy = "Records of one answer are for model_alignment_strategy.sft. "
    else:
        renames = [f"{name} to {own}" for name, own in _OTHERS.items() if name in value and own in lacking]
        remedy = f"Rename {', '.join(renames)}. " if renames else ""
    raise fields.missing(value, lacking, place, remedy + fields.PAIRS)


def _conversations(value: Mapping[str, Any], name: str, place: str) -> ConversationPair:
    """Return the pair of a record whose answers, or whose prompt, are messages."""
    chosen, rejected = (_answer(value, answer, place) for answer in _ANSWERS)
    prompt, shared = _prompt(value, name, place), _shared(chosen, rejected)
    has_question = any(turn.message["role"] == "user" for turn in chosen[:shared])
    if not (has_question and not messages.is_messages(value.get(name))):  # else text is a copy of the question
        if not prompt:
            raise FormatError(
                f"{place} has no prompt: 'chosen' and 'rejected' have no message of the user in common at their "
                "beginning.",
                fields.PAIRS,
            )
        shared = len(prompt)
        chosen, rejected = (_behind(prompt, turns, name, place) for turns in (chosen, rejected))
    tools = messages.read_tools(value, place)
    pair = (
        _conversation(turns, shared, answer, value, tools, place)
        for turns, answer in zip((chosen, rejected), _ANSWERS, strict=True)
    )
    return ConversationPair(place, *pair)


def _behind(prompt: list[Turn], answer: list[Turn], name: str, place: str) -> list[Turn]:
    """Return prompt and answer as one conversation; an answer may repeat the prompt."""
    if [turn.message for turn in answer[: len(prompt)]] == [turn.message for turn in prompt] and len(answer) > len(
        prompt
    ):
        return answer
    role, last = answer[0].message["role"], prompt[-1].message["role"]
    if role in ("user", "system", "developer") and last != messages.ASSISTANT:
        raise FormatError(
            f"{place} has an answer that begins with the role {role!r}, behind a {name!r} that ends with {last!r}.",
            "Begin both answers with a message of the assistant, or with all messages of the prompt.",
        )
    return [*prompt, *answer]


def _answer(value: Mapping[str, Any], name: str, place: str) -> list[Turn]:
    if messages.is_messages(value[name]):
        return messages.read(value[name], name, place)
    return [Turn({"role": messages.ASSISTANT, "content": fields.read_text(value, name, place)}, True)]


def _prompt(value: Mapping[str, Any], name: str, place: str) -> list[Turn]:
    if value.get(name) is None:
        return []
    if messages.is_messages(value[name]):
        return messages.read(value[name], name, place)
    return [Turn({"role": "user", "content": fields.read_text(value, name, place)}, False)]


def _shared(chosen: list[Turn], rejected: list[Turn]) -> int:
    """Return how many messages both have at their beginning; the last one of each is an answer."""
    pairs = zip(chosen[:-1], rejected[:-1], strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0].message == pair[1].message, pairs))


def _conversation(
    turns: list[Turn], shared: int, name: str, value: Mapping[str, Any], tools: Any, place: str
) -> Conversation:
    """Return a conversation whose messages behind the shared ones are learned where the assistant says them."""
    if turns[-1].message["role"] != messages.ASSISTANT:
        role = turns[-1].message["role"]
        raise FormatError(
            f"the last message of {name!r} in {place} is of the role {role!r}, not the assistant's.",
            "End both answers with a message of the assistant.",
        )
    learned = [*(Turn(turn.message, False) for turn in turns[:shared]), *turns[shared:]]
    return Conversation(place, messages.with_system(learned, value, place), tools)
