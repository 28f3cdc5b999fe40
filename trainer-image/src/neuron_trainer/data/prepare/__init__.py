"""`neuron-train data prepare`: text, JSON lines or parquet to what `data.train_dir` or `data.data_prefix` can name.

`request` (what is wanted), `inputs` (documents of a file), `vocabulary` (the tokenizer), `parts` (tokens, piece by
piece, by several processes), `outputs` (the two formats), `command` (all of it in order).
"""

from .command import main
from .request import PrepareRequest

__all__ = ["PrepareRequest", "main"]
