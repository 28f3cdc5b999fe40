"""Messages of a record as a chat template takes them: OpenAI's `role` and `content`, or `from` and `value`."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from neuron_trainer.data.formats import records, text
from neuron_trainer.data.formats.errors import FormatError

FORM: Final = 'A message is {"role": "user", "content": text}, or {"from": "human", "value": text}.'
ASSISTANT: Final = "assistant"
ROLES: Final = ("system", "developer", "user", ASSISTANT, "tool", "function")
SENDERS: Final[Mapping[str, str]] = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": ASSISTANT,
    "assistant": ASSISTANT,
    "model": ASSISTANT,
    "chatgpt": ASSISTANT,
    "bot": ASSISTANT,
    "bing": ASSISTANT,
    "bard": ASSISTANT,
    "tool": "tool",
    "observation": "tool",
    "function_response": "tool",
}
"""Values of `from`, and the roles that they are."""

Message = dict[str, Any]


class Turn(NamedTuple):
    """A message, and whether its text is learned."""

    message: Message
    is_learned: bool

    @property
    def is_empty(self) -> bool:
        """Return whether it says nothing and calls nothing."""
        return not str(self.message.get("content", "")).strip() and not self.message.get("tool_calls")


class Conversation(NamedTuple):
    """The messages of a record, of which some are learned."""

    place: str
    turns: Sequence[Turn]
    tools: Sequence[Any] | None = None
    """What the assistant may call, for the template."""

    @property
    def messages(self) -> list[Message]:
        """Return the messages alone."""
        return [turn.message for turn in self.turns]

    @property
    def is_empty(self) -> bool:
        """Return whether a message that is learned says nothing."""
        return any(turn.is_learned and turn.is_empty for turn in self.turns)


def is_messages(value: Any) -> bool:
    """Return whether a field holds messages rather than text: a list, or a single message."""
    return isinstance(value, list | dict)


def read(value: Any, name: str, place: str) -> list[Turn]:
    """Return the messages in a field of a record, at least one. Raises `FormatError`."""
    value = [value] if isinstance(value, dict) else value
    if not isinstance(value, list):
        raise FormatError(f"the field {name!r} in {place} is {records.kind(value)}, not a list of messages.", FORM)
    if not value:
        raise FormatError(f"the list {name!r} in {place} has no messages.", FORM)
    return [_turn(message, f"message {number} of {name!r} in {place}") for number, message in enumerate(value, start=1)]


def read_tools(value: Mapping[str, Any], place: str) -> Sequence[Any] | None:
    """Return the field `tools` of a record: a list, or its JSON text. Raises `FormatError`."""
    tools = value.get("tools")
    if isinstance(tools, str):
        tools = records.parse(tools, f"the field 'tools' in {place}") if tools.strip() else None
    if tools is not None and not (isinstance(tools, list) and all(isinstance(tool, dict) for tool in tools)):
        raise FormatError(f"the field 'tools' in {place} is not a list of objects.", "Write JSON schemas of functions.")
    return tools or None


def with_system(turns: list[Turn], value: Mapping[str, Any], place: str) -> list[Turn]:
    """Return the messages behind that of the field `system`, where a record has one. Raises `FormatError`."""
    if not value.get("system"):
        return turns
    if turns[0].message["role"] == "system":
        raise FormatError(f"{place} has a field 'system' and a message of the system.", "Keep one of them.")
    system = text.without_surrogates(records.field(value, "system", place), place, "strict").text
    return [Turn({"role": "system", "content": system}, False), *turns]


def _turn(value: Any, place: str) -> Turn:
    if not isinstance(value, dict):
        raise FormatError(f"{place} is {records.kind(value)}, not an object.", FORM)
    message = {name: content for name, content in value.items() if content is not None}
    is_learned = _weight(message, place)
    role = _role(message, place)
    body = "value" if "value" in message and "content" not in message else "content"
    content = _content(message.pop(body, None), message, f"the field {body!r} of {place}")
    return Turn({"role": role, "content": content, **message}, is_learned and role == ASSISTANT)


def _role(message: Message, place: str) -> str:
    """Take role or sender out of a message."""
    name = "from" if "from" in message and "role" not in message else "role"
    if name not in message:
        fields = ", ".join(map(repr, message)) or "none"
        raise FormatError(f"{place} has no field 'role'; its fields: {fields}.", FORM)
    role, roles = message.pop(name), SENDERS if name == "from" else {role: role for role in ROLES}
    if not isinstance(role, str) or role not in roles:
        noun = "role" if name == "role" else "sender"
        raise FormatError(f"{place} has the {noun} {role!r}.", f"Write one of {', '.join(roles)}.")
    return roles[role]


def _weight(message: Message, place: str) -> bool:
    """Take OpenAI's `weight` out of a message: 0 means that it is not learned."""
    weight = message.pop("weight", 1)
    if weight not in (0, 1):
        raise FormatError(f"{place} has the weight {weight!r}.", "Write 1, or 0 for an answer that is not learned.")
    return bool(weight)


def _content(value: Any, message: Message, place: str) -> str:
    """Return the text of a message; of parts of text, all of them one after the other."""
    if value is None and message.get("tool_calls"):
        return ""
    if isinstance(value, list):
        value = "".join(_part(part, place) for part in value)
    if not isinstance(value, str):
        raise FormatError(f"{place} is {records.kind(value)}, not text.", FORM)
    return text.without_surrogates(value, place, "strict").text


def _part(part: Any, place: str) -> str:
    if isinstance(part, dict) and isinstance(part.get("text"), str) and part.get("type", "text") == "text":
        return str(part["text"])
    kind = part.get("type") if isinstance(part, dict) else None
    raise FormatError(f"{place} has a part {json.dumps(kind or part)[:60]}, not text.", "Only text can be learned.")
