"""Records for supervised fine-tuning: a question and its answer as text, or messages.

Texts are `input` and `output`, Alpaca's `instruction`, `input` and `output`, or `prompt` and `completion`. Messages are
in `messages` or `conversations`, or in `prompt` and `completion`; what the assistant says is learned.
"""

from collections.abc import Collection, Mapping
from typing import Any, Final, NamedTuple

from neuron_trainer.data.formats import records
from neuron_trainer.data.formats.errors import FormatError

from . import fields, messages
from .messages import Conversation, Turn

QUESTION: Final = ("instruction", "input")
"""Fields of what is asked."""
_LISTS: Final = ("messages", "conversations")
_OTHERS: Final = {
    "chosen": "pairs of answers are for model_alignment_strategy.dpo or orpo",
    "rejected": "pairs of answers are for model_alignment_strategy.dpo or orpo",
    "prompt": "rename prompt to input",
    "question": "rename question to input",
    "query": "rename query to input",
    "completion": "rename completion to output",
    "response": "rename response to output",
    "answer": "rename answer to output",
    "text": "plain text is for data prepare",
}
"""Fields of other layouts, and what to say of them."""


class Record(NamedTuple):
    """A question and its answer."""

    place: str
    input: str
    output: str

    @property
    def is_empty(self) -> bool:
        """Return whether the answer says nothing."""
        return not self.output.strip()


def read(placed: records.Placed) -> tuple[Record | Conversation, Collection[str]]:
    """Return a record and the names of the fields that it is made of. Raises `FormatError`."""
    place, value, _ = placed
    if not isinstance(value, dict):
        raise FormatError(f"{place} is {records.kind(value)}, not a record with fields.", fields.TUNING)
    for name in _LISTS:
        if value.get(name) is not None:
            turns = messages.with_system(messages.read(value[name], name, place), value, place)
            return _conversation(turns, value, place), (name, "tools", "system")
    if value.get("prompt") is not None and value.get("completion") is not None:
        return _completion(value, place), ("prompt", "completion", "tools")
    _check_layout(value, place)
    record = Record(place, question(value, place), fields.read_text(value, "output", place))
    return record, (*QUESTION, "output")


def _completion(value: Mapping[str, Any], place: str) -> Record | Conversation:
    """Return the record of `prompt` and `completion`; of messages in both, those of the completion are learned."""
    if not messages.is_messages(value["prompt"]):
        return Record(place, *(fields.read_text(value, name, place) for name in ("prompt", "completion")))
    prompt = [Turn(turn.message, False) for turn in messages.read(value["prompt"], "prompt", place)]
    return _conversation(prompt + messages.read(value["completion"], "completion", place), value, place)


def _conversation(turns: list[Turn], value: Mapping[str, Any], place: str) -> Conversation:
    if not any(turn.is_learned for turn in turns):
        raise FormatError(
            f"{place} has no message of the assistant that is learned.", "Add its answer, or leave the record out."
        )
    return Conversation(place, turns, messages.read_tools(value, place))


def _check_layout(value: Mapping[str, Any], place: str) -> None:
    """Refuse the fields of another layout, with what to do about them."""
    if "output" in value and set(QUESTION) & set(value):
        return
    if hints := list(dict.fromkeys(hint for name, hint in _OTHERS.items() if name in value)):
        raise FormatError(f"{place} has the fields {fields.names(value)}: {'; '.join(hints)}.", fields.TUNING)
    lacking = [] if set(QUESTION) & set(value) else ["input"]
    lacking += [] if "output" in value else ["output"]
    if lacking:
        raise fields.missing(value, lacking, place, fields.TUNING)


def question(value: Mapping[str, Any], place: str) -> str:
    """Return `instruction` and `input`, whichever there are: what is asked. Raises `FormatError`."""
    if value.get("instruction") is None:
        return fields.read_text(value, "input", place)
    instruction = fields.read_text(value, "instruction", place)
    context = fields.read_text(value, "input", place) if value.get("input") is not None else ""
    return f"{instruction}\n{context}" if context else instruction
