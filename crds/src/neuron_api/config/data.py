"""`data`: what is read, and in which batches. Keys of three data modules, chosen by model_source and strategy."""

from typing import Annotated, Any, Final, Literal

from pydantic import Field

from .markers import MegatronOnly, NoEffect, NotSupported, OnlyValues
from .section import AnyValue, Count, Flag, Number, OpenSection, Section

_RECORDS: Final = NoEffect("encoder_seq_length counts", unless="model_alignment_strategy")

DataPrefix = Annotated[str | tuple[Number | str, ...] | dict[str, Any], "untyped"]
"""`p`, `[p]`, `[weight, p, weight, p]` or `{train: [...], validation: [...], test: [...]}`."""


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


class DataConfig(OpenSection):
    """The data set and its batch sizes. Keys of your own are kept and passed to the data module."""

    micro_batch_size: Count = Field(ge=1)
    """Samples in one forward and backward pass of one data-parallel process. Required."""

    global_batch_size: Count = Field(ge=1)
    """Samples in one optimizer step over all processes; a multiple of micro_batch_size x data-parallel size.
    Required."""

    data_module: str | None = None
    """A class of your own that gives the samples, as package.module:Class, in the image or on PYTHONPATH; train_dir and
    data_prefix need not be there then, and keys of your own are attributes of its cfg.data. Default null: the data
    module that follows from model_source."""

    train_dir: str | None = None
    """Training data: a directory written by `neuron-train data prepare` or `datasets.save_to_disk` with input_ids
    and labels of equal length, and attention_mask where rows are padded, on the right; for fine-tuning a file of
    records: .jsonl, .json, .csv, .parquet or .arrow, also compressed (.gz, .bz2, .xz, .zst, .lz4), a directory of such
    files, or one of `datasets.save_to_disk` with records. Default null."""

    val_dir: str | None = None
    """Validation data, as train_dir; needed when limit_val_batches is not 0. Default null."""

    test_dir: str | None = None
    """Test data, as train_dir, for `neuron-train test`; a training does not read it. Default null."""

    shuffle_rows: Flag = False
    """Read the rows of train_dir, or the samples of data_module, in an order of each epoch's own, drawn from seed and
    epoch: the same on any number of processes and after a resume. Default False: in the order of the file, as upstream.
    Megatron data has dataloader_type in its place; records of fine-tuning are always shuffled."""

    num_workers: Count = Field(default=0, ge=0)
    """Worker processes of the loader; the batches do not depend on it. Default 0."""

    data_prefix: Annotated[DataPrefix | None, MegatronOnly()] = None
    """Megatron data: path prefix of .bin and .idx files, a list of weights and prefixes, or a mapping of such lists
    for train, validation and test. Default null."""

    index_mapping_dir: Annotated[str | None, MegatronOnly(with_records=True)] = None
    """Where the index files of Megatron data are kept. Default null: beside the .bin files, which must then be
    writable."""

    data_impl: Annotated[str, NoEffect("it has one legal value"), OnlyValues(("mmap",))] = "mmap"
    """Only mmap: how Megatron data is read. Default mmap."""

    splits_string: Annotated[str, MegatronOnly()] = "980,10,10"
    """Proportions of documents for training, validation and test; not used when data_prefix is a mapping. Default
    980,10,10, as in upstream's files."""

    seq_length: Annotated[Count | None, _RECORDS] = Field(default=None, ge=1)
    """Tokens per sample; with a fine-tuning strategy the length that records are padded or packed to. Default null:
    model.encoder_seq_length."""

    skip_warmup: Annotated[Flag, MegatronOnly()] = True
    """Do not read Megatron data into the page cache first. Default True."""

    dataloader_type: Annotated[Literal["single", "cyclic"], MegatronOnly()] = "single"
    """Order of Megatron data: one pass after the other (single), or shuffled in each epoch (cyclic). Default
    single."""

    reset_position_ids: Annotated[Flag, MegatronOnly()] = False
    """Megatron data: positions restart at 0 after each end of document. Default False."""

    reset_attention_mask: Annotated[Flag, MegatronOnly()] = False
    """Megatron data: no attention over the end of a document. The mask takes micro_batch_size x S x S bytes; with
    context parallel 4 or 2 times that over CP^2, one for each pair of parts. Default False."""

    eod_mask_loss: Annotated[Flag, MegatronOnly()] = False
    """No loss at end-of-document tokens. Default False."""

    validation_drop_last: Flag = True
    """Drop the last partial validation batch. Default True."""

    drop_last: Flag = True
    """Drop the last partial training batch. Default True."""

    no_seqlen_plus_one_input_tokens: Annotated[Flag, MegatronOnly()] = False
    """Samples of seq_length tokens rather than one more; the last label is masked. Default False."""

    pad_samples_to_global_batch_size: Flag = False
    """Fill the last batch with empty samples rather than drop it. Default False."""

    dataset_name: Annotated[str | None, NotSupported()] = None
    """Only null: templates by name are not supported."""

    subset_name: Annotated[str | None, NotSupported()] = None
    """Only null: templates by name are not supported."""

    prompt_name: Annotated[str | None, NotSupported()] = None
    """Only null: templates by name are not supported."""

    train_ds: Annotated[AnyValue, NotSupported()] = None
    """Only null: NeMo's data set section is not supported."""

    fine_tuning: Annotated[AnyValue, NotSupported()] = None
    """Only null: use model_alignment_strategy."""

    tokenizer: Annotated[TokenizerConfig | None, MegatronOnly(with_records=True)] = None
    """The tokenizer; needed for Megatron data and for fine-tuning. Default null."""

    dev_choose_samples: Count | None = Field(default=None, ge=1)
    """Fine-tuning: use only so many records of each split. Default null: all."""

    packing: Flag | None = None
    """The same as model_alignment_strategy.sft.packing, where that is absent. Default null."""

    use_sft_style_data_module: Flag | None = None
    """True means model_alignment_strategy.sft, where no strategy is given. Default null."""
