"""Conversations as tokens by the tokenizer's chat template: what the assistant says has labels.

Nothing is added to what the template writes, no BOS and no EOS. Labels are where the template has marked them with
`{% generation %}`; without such marks a message's text is what the template adds when the message is there.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from neuron_api.findings.finding import error
from neuron_trainer.data.formats.errors import FormatError
from neuron_trainer.errors import InputError

from .layouts.messages import Conversation, Message
from .tokens import TokenizedRow

Span = tuple[int, int]
"""First character, and the one after the last."""

_MARKS: Final = re.compile(r"\{%-?\s*generation\s*-?%\}")
_PROBE: Final = "\u2402content\u2403"
"""In place of a message's content, to find where the template writes it; nobody's text has it."""
_REMEDY: Final = "Mark what the assistant says with {% generation %} and {% endgeneration %} in the template."


class ChatTemplate:
    """The chat template of a tokenizer."""

    def __init__(self, tokenizer: Any, name: str, first: str) -> None:
        """`name`: that of the tokenizer, for messages; `first`: the place of the first record that needs a template.
        Raises `InputError` where there is none."""
        self._tokenizer, self._name = tokenizer, name
        self._own_tokens = tuple(tokenizer.get_added_vocab())
        if not tokenizer.chat_template:
            raise self._fault(
                f"has no chat template, and {first} has messages, which need one.",
                "Put the model's chat_template.jinja into its directory, or write records of text.",
            )
        if not tokenizer.is_fast:
            raise self._fault(
                f"is not a fast tokenizer, and {first} has messages, which need one.", "Set use_fast: True."
            )

    def tokenize(self, conversations: Sequence[Conversation]) -> Iterator[TokenizedRow]:
        """Yield the rows in the order of the conversations, whole. Raises `FormatError`."""
        written = [self.write(conversation) for conversation in conversations]
        if not written:
            return
        encoded = self._tokenizer(
            [text for text, _ in written], add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )
        for ids, offsets, (_, spans) in zip(encoded["input_ids"], encoded["offset_mapping"], written, strict=True):
            yield TokenizedRow(np.array(ids, np.int32), _overlaps(np.array(offsets, np.int64).reshape(-1, 2), spans))

    def write(self, conversation: Conversation) -> tuple[str, list[Span]]:
        """Return the text of a conversation, and where in it is what the assistant says. Raises `FormatError`."""
        try:
            template = self._tokenizer.get_chat_template(None, conversation.tools)
            if _MARKS.search(template):
                return self._marked(template, conversation)
            return self._by_prefixes(conversation)
        except FormatError:
            raise
        except Exception as problem:  # a template is a program of its author's
            reason = str(problem).splitlines()[0][:200] if str(problem) else type(problem).__name__
            raise FormatError(
                f"the chat template of {self._name} refuses {conversation.place}: {reason}.",
                "Change the messages, or the template.",
            ) from None

    def _marked(self, template: str, conversation: Conversation) -> tuple[str, list[Span]]:
        from transformers.utils.chat_template_utils import render_jinja_template

        texts, marks = render_jinja_template(
            [conversation.messages],
            conversation.tools,
            chat_template=template,
            return_assistant_tokens_mask=True,
            **self._tokenizer.special_tokens_map,
        )
        spans: list[Span] = marks[0]
        turns = [turn for turn in conversation.turns if turn.message["role"] == "assistant"]
        if not all(turn.is_learned for turn in turns):
            if len(spans) != len(turns):
                raise self._unclear(conversation, "marks other parts than one for each message of the assistant")
            spans = [span for span, turn in zip(spans, turns, strict=True) if turn.is_learned]
        if not any(start < end for start, end in spans):
            raise self._unclear(conversation, "marks nothing with {% generation %}")
        return texts[0], spans

    def _by_prefixes(self, conversation: Conversation) -> tuple[str, list[Span]]:
        whole = self._render(conversation, conversation.messages)
        spans = [
            self._span(conversation, number, whole) for number, turn in enumerate(conversation.turns) if turn.is_learned
        ]
        return whole, spans

    def _span(self, conversation: Conversation, number: int, whole: str) -> Span:
        """Return where the text of a message is, from the end of the prompt for it to its end mark."""
        messages = conversation.messages
        start = self._start(conversation, number, whole)
        through = whole if number + 1 == len(messages) else self._render(conversation, messages[: number + 1])
        if start is not None and whole.startswith(through):
            return start, len(through)
        before, end = self._probed(conversation, number, whole)
        return before if start is None else min(start, before), end

    def _start(self, conversation: Conversation, number: int, whole: str) -> int | None:
        """Return where the prompt for a message ends; None where the template writes earlier messages in another way
        once others follow, or nothing without a message."""
        if not number:
            return None
        earlier = conversation.messages[:number]
        prompt = self._render(conversation, earlier, add_generation_prompt=True)
        if whole.startswith(prompt):
            return len(prompt)
        text = self._render(conversation, earlier)
        return max(len(text), _common(whole, prompt)) if whole.startswith(text) else None

    def _probed(self, conversation: Conversation, number: int, whole: str) -> Span:
        """Return where the content of a message is, with what ends it; by writing another content in its place."""
        messages = conversation.messages
        before, after = self._around(conversation, messages, number)
        _, mark = self._around(conversation, messages[: number + 1], number)
        end = len(whole) - len(after)
        if not whole.startswith(before) or not whole.endswith(after) or end < len(before):
            raise self._unclear(conversation, f"writes message {number + 1} in another way when others follow")
        return len(before), end + self._end_mark(whole[end:], mark)

    def _end_mark(self, rest: str, mark: str) -> int:
        """Return how much of the text behind a content ends its message; `mark` ends it where it is the last one.

        Of another text it is the token of the tokenizer's own that it begins with, or the lines that both have.
        """
        if rest.startswith(mark):
            return len(mark)
        own = max((len(token) for token in self._own_tokens if rest.startswith(token)), default=0)
        return own or rest.rfind("\n", 0, _common(rest, mark)) + 1

    def _around(self, conversation: Conversation, messages: list[Message], number: int) -> tuple[str, str]:
        """Return what the template writes before and behind a message's content, by writing another content."""
        probe = {**messages[number], "content": _PROBE}
        text = self._render(conversation, [*messages[:number], probe, *messages[number + 1 :]])
        before, probe_found, after = text.partition(_PROBE)
        if not probe_found:
            raise self._unclear(conversation, f"leaves out the content of message {number + 1}")
        return before, after

    def _render(self, conversation: Conversation, messages: list[Message], **options: bool) -> str:
        text: str = self._tokenizer.apply_chat_template(messages, conversation.tools, tokenize=False, **options)
        return text

    def _unclear(self, conversation: Conversation, reason: str) -> FormatError:
        return FormatError(f"the chat template of {self._name} {reason}, at {conversation.place}.", _REMEDY)

    def _fault(self, reason: str, remedy: str) -> InputError:
        return InputError([error("data.tokenizer.type", f"{self._name} {reason}", remedy)])


def _common(text: str, other: str) -> int:
    """Return the length of the common beginning."""
    if text.startswith(other):
        return len(other)
    return next(
        (place for place, (own, foreign) in enumerate(zip(text, other, strict=False)) if own != foreign), len(text)
    )


def _overlaps(offsets: NDArray[np.int64], spans: Sequence[Span]) -> NDArray[np.bool_]:
    """Return for each token, [n, 2] its first character and the one after its last, whether it is in a span in part."""
    is_label = np.zeros(len(offsets), dtype=np.bool_)
    for start, end in spans:
        is_label |= (offsets[:, 0] < end) & (offsets[:, 1] > start)
    return is_label
