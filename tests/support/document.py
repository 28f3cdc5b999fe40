"""The document's own snippets (tests/data/configs/doc), where each belongs, and whole jobs made of them."""

from pathlib import Path
from textwrap import indent
from typing import Final

FOLDER: Final = Path(__file__).parents[1] / "data" / "configs" / "doc"

MOUNTS: Final = {
    "01-top-level": "",
    "02-trainer": "trainer",
    "03-exp-manager": "exp_manager",
    "04-distributed-strategy": "distributed_strategy",
    "05-data": "data",
    "06-model-hf": "model",
    "07-model-megatron": "model",
    "08-precision": "",
    "09-model-alignment-strategy": "",
}
"""Section that a snippet is the inside of; empty: it has its own heading."""

_HEAD: Final = "name: document\nmodel_source: {}\nseed: 1234\n"
_TAIL: Final = """\
compiler_flags: --model-type transformer
compiler_cache_url: /fsx/neuron_cache
aync_exec_max_inflight_requests: 3
bucket_size_collectives: 128
neuron_rt_exec_timeout: 100
neuron_experimental_compress_rg: False
"""
_HF_DATA: Final = "train_dir: /fsx/train\nval_dir: /fsx/val\n"
_MEGATRON_DATA: Final = """\
data_prefix: [1.0, /fsx/book_text_document]
index_mapping_dir: null
data_impl: mmap
splits_string: 980,10,10
seq_length: ${model.encoder_seq_length}
skip_warmup: True
num_workers: 1
dataloader_type: single
reset_position_ids: False
reset_attention_mask: False
eod_mask_loss: False
validation_drop_last: True
no_seqlen_plus_one_input_tokens: False
pad_samples_to_global_batch_size: False
tokenizer:
  library: huggingface
  type: /fsx/llama_tokenizer
  model: null
  vocab_file: null
  merge_file: null
  delimiter: null
  sentencepiece_legacy: False
  use_fast: False
"""


def fragment(name: str) -> str:
    """A snippet as it stands in the document."""
    return (FOLDER / f"{name}.yaml").read_text()


def repaired() -> str:
    """The Megatron snippet with the lines under `sched:` where they are meant."""
    before, head, below = fragment("07-model-megatron").partition("    sched:\n")
    assert head
    return f"{before}{head}{indent(below, '    ')}"


def hf_job() -> str:
    """The document's Hugging Face job: snippets 2 to 6 and 8 under the names of 1."""
    return _job("hf", fragment("06-model-hf"), _HF_DATA)


def megatron_job() -> str:
    """The same with the repaired Megatron model and data for it."""
    return _job("megatron", repaired(), _MEGATRON_DATA)


def _job(source: str, model: str, data: str) -> str:
    sections = {
        "trainer": fragment("02-trainer"),
        "exp_manager": fragment("03-exp-manager"),
        "distributed_strategy": fragment("04-distributed-strategy"),
        "data": fragment("05-data") + data,
        "model": model,
    }
    inner = "".join(f"{name}:\n{indent(text, '  ')}" for name, text in sections.items())
    return _HEAD.format(source) + inner + fragment("08-precision") + _TAIL
