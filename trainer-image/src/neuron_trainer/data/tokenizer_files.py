"""The files of a Hugging Face tokenizer in a directory, which may hold other things: weights, rows of a data set."""

from pathlib import Path
from typing import Final

TOKENIZER: Final = "tokenizer.json"
CONFIG: Final = "tokenizer_config.json"
_OTHERS: Final = (
    "special_tokens_map.json", "added_tokens.json", "chat_template.jinja", "chat_template.json", "vocab.json",
    "merges.txt", "vocab.txt", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "tekken.json",
)  # fmt: skip


def of_directory(folder: Path) -> list[Path]:
    """Those that are there; none where the directory has no tokenizer."""
    found = [folder / name for name in (TOKENIZER, CONFIG, *_OTHERS) if (folder / name).is_file()]
    return (
        found if any(path.name in (TOKENIZER, "tokenizer.model", "vocab.json", "vocab.txt") for path in found) else []
    )
