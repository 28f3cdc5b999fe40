"""`data.tokenizer`: which tokenizer, from where."""

from typing import Annotated, Literal

from .markers import NoEffect
from .section import Flag, Section


class TokenizerConfig(Section):
    """The tokenizer: padding and end-of-document ids for Megatron data, all of it for fine-tuning."""

    library: Literal["megatron", "huggingface", "sentencepiece"] | None = None
    """Which loader; megatron with a directory in type is read as huggingface. Default null: huggingface."""

    type: str | None = None
    """Directory or name of a Hugging Face tokenizer, or GPT2BPETokenizer. Default null."""

    model: str | None = None
    """Path of a sentencepiece model; needed for library sentencepiece. Default null."""

    vocab_file: str | None = None
    """Path of the vocabulary of a GPT-2 tokenizer; together with merge_file. Default null."""

    merge_file: str | None = None
    """Path of the merges of a GPT-2 tokenizer; together with vocab_file. Default null."""

    delimiter: Annotated[str | None, NoEffect("it has one legal value")] = None
    """Only null: tokenizers of tables are not supported."""

    sentencepiece_legacy: Annotated[Flag, NoEffect("token numbers do not depend on it")] = False
    """Allow special tokens in a sentencepiece model, as its older versions do; the numbers that are read from it do not
    depend on it. Default False."""

    use_fast: Flag = False
    """Use the fast implementation of a Hugging Face tokenizer. Default False, as in upstream's files."""
