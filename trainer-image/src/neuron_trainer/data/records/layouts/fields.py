"""Fields of a record: what a text field must be, and which layouts of records there are."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from neuron_trainer.data.formats import records, text
from neuron_trainer.data.formats.errors import FormatError

TUNING: Final = (
    'Each record is {"input": text, "output": text}, Alpaca\'s {"instruction": text, "input": text, "output": text}, '
    'or {"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": text}]}.'
)
PAIRS: Final = (
    'Each record is {"prompt": text, "chosen": text, "rejected": text}; each of the three may be a list of messages, '
    '{"role": "user", "content": text}, instead.'
)
_MAX_NAMES: Final = 10
"""Fields of a record that a message lists."""


def read_text(value: Any, name: str, place: str) -> str:
    """Return the text of a field. Raises `FormatError`."""
    return text.without_surrogates(records.field(value, name, place), place, "strict").text


def names(value: Mapping[str, Any]) -> str:
    """Return the names of a record's fields, for a message."""
    return ", ".join(map(repr, list(value)[:_MAX_NAMES])) or "none"


def missing(value: Mapping[str, Any], lacking: Sequence[str], place: str, remedy: str) -> FormatError:
    """Return the error for a record without these fields."""
    noun = "field" if len(lacking) == 1 else "fields"
    return FormatError(f"{place} has no {noun} {', '.join(map(repr, lacking))}; its fields: {names(value)}.", remedy)
