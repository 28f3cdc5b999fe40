"""Records of all forms as tokens, in their order: a file may have texts and messages."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeVar

from neuron_api.findings.finding import error
from neuron_trainer.errors import InputError, TrainerError

from . import answers, tokens
from .answers import SplitRow
from .chat import ChatTemplate
from .layouts.messages import Conversation
from .layouts.preferences import ConversationPair, Pair
from .layouts.tuning import Record
from .tokens import TokenizedRow

_AT_ONCE: Final = 1000
"""Records that the tokenizer is given at once: it has threads of its own."""

Row = TypeVar("Row")


class Encoder:
    """A tokenizer for records."""

    def __init__(self, tokenizer: Any, name: str) -> None:
        """`name`: that of the tokenizer, for messages."""
        self._tokenizer, self._name = tokenizer, name
        self.special = tokens.Special.from_tokenizer(tokenizer)
        self._chat: ChatTemplate | None = None

    @property
    def has_written_messages(self) -> bool:
        """Return whether the chat template was needed."""
        return self._chat is not None

    def _template(self, first: str) -> ChatTemplate:
        """Return the chat template, which the record at the place `first` needs."""
        self._chat = self._chat or ChatTemplate(self._tokenizer, self._name, first)
        return self._chat

    def rows(self, records: Sequence[Record | Conversation]) -> Iterator[TokenizedRow]:
        """Yield the row of each record. Raises `FormatError` and `InputError`."""

        def write_texts(texts: list[Record]) -> Iterator[TokenizedRow]:
            return tokens.tokenize(texts, self._tokenizer, self.special)

        def write_messages(conversations: list[Conversation]) -> Iterator[TokenizedRow]:
            return self._template(conversations[0].place).tokenize(conversations)

        return self._in_order(records, Conversation, write_texts, write_messages)

    def pairs(self, pairs: Sequence[Pair | ConversationPair]) -> Iterator[tuple[SplitRow, SplitRow]]:
        """Yield the rows of both answers of each pair. Raises `FormatError` and `InputError`."""

        def write_texts(texts: list[Pair]) -> Iterator[tuple[SplitRow, SplitRow]]:
            return answers.tokenize(texts, self._tokenizer, self.special)

        def write_messages(conversations: list[ConversationPair]) -> Iterator[tuple[SplitRow, SplitRow]]:
            return answers.tokenize_conversations(conversations, self._template(conversations[0].place))

        return self._in_order(pairs, ConversationPair, write_texts, write_messages)

    def _in_order(
        self,
        records: Sequence[Any],
        conversation: type[Any],
        write_texts: Callable[[list[Any]], Iterator[Row]],
        write_messages: Callable[[list[Any]], Iterator[Row]],
    ) -> Iterator[Row]:
        try:
            for start in range(0, len(records), _AT_ONCE):
                batch = records[start : start + _AT_ONCE]
                chats = [record for record in batch if isinstance(record, conversation)]
                texts = write_texts([record for record in batch if not isinstance(record, conversation)])
                written = write_messages(chats) if chats else texts
                for record in batch:
                    yield next(written if isinstance(record, conversation) else texts)
        except TrainerError:
            raise
        except Exception as problem:  # a tokenizer whose files are damaged may fail in any way
            message = f"{self._name} fails on the records: {type(problem).__name__}: {problem}."
            raise InputError([error("data.tokenizer.type", message, "Save it with transformers again.")]) from None
