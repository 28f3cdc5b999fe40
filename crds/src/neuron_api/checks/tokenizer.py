"""`data.tokenizer`: Megatron data needs its padding and end-of-document ids, fine-tuning all of it."""

from collections.abc import Iterator

from neuron_api.config import TokenizerConfig, TrainingConfig
from neuron_api.derive import alignment
from neuron_api.findings.finding import Finding
from neuron_api.findings.registry import make_finding


def check(config: TrainingConfig) -> Iterator[Finding]:
    """Yield the findings about a missing or incomplete tokenizer."""
    module = alignment.data_module(config.model_source, alignment.strategy(config))
    tokenizer = config.data.tokenizer
    if module != "HFDataModule" and tokenizer is None:
        yield make_finding(2411, "data.tokenizer", f"it is not set, and {module} needs it.")
    if tokenizer is None:
        return
    if module != "HFDataModule" and not (tokenizer.type or tokenizer.model or tokenizer.vocab_file):
        yield make_finding(2411, "data.tokenizer.type", f"it is not set, and {module} needs the tokenizer.")
    yield from _parts(tokenizer)


def _parts(tokenizer: TokenizerConfig) -> Iterator[Finding]:
    if (tokenizer.vocab_file is None) != (tokenizer.merge_file is None):
        missing = "merge_file" if tokenizer.merge_file is None else "vocab_file"
        yield make_finding(
            2412, f"data.tokenizer.{missing}", "it is not set, but the other of vocab_file and merge_file is."
        )
    if tokenizer.library == "sentencepiece" and tokenizer.model is None:
        yield make_finding(2413, "data.tokenizer.model", "it is not set, and library is sentencepiece.")
    if tokenizer.delimiter is not None:
        yield make_finding(2410, "data.tokenizer.delimiter", "tokenizers of tables are not supported.")
    if tokenizer.library == "megatron" and "/" in (tokenizer.type or ""):
        yield make_finding(2416, "data.tokenizer.library", "type is a directory: it is read as huggingface.")
