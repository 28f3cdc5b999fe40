"""Fine-tuning on records: which tokens there are and which of them are learned; a run is the one of transformers."""

import gzip
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
import transformers
import yaml

from distributed.tiny import MODEL
from key_cases import text_with
from neuron_trainer import run_config
from neuron_trainer.data import source, tokenizer
from neuron_trainer.data.formats.errors import FormatError
from neuron_trainer.data.records import build
from neuron_trainer.data.records.files import RecordFiles
from neuron_trainer.data.samples import Part
from neuron_trainer.errors import InputError
from neuron_trainer.ipc.worker_channel import Start
from neuron_trainer.models.family import Family
from neuron_trainer.preflight import preflight

from .conftest import alone, train, typed
from .test_loop import checkpoint_at, lines, numbers

pytestmark = [pytest.mark.usefixtures("one_process"), pytest.mark.slow]
WORDS = [f"w{n}" for n in range(90)]
SPECIAL = ["<s>", "</s>", "<pad>", "<unk>"]
LENGTH = 32


def text(start: int, count: int) -> str:
    return " ".join(WORDS[(start + 3 * n) % len(WORDS)] for n in range(count))


RECORDS = [{"input": text(n, 2 + n % 5), "output": text(n + 1, 3 + n % 9)} for n in range(40)]


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer whose tokens are words."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    made = Tokenizer(models.WordLevel({word: n for n, word in enumerate([*SPECIAL, *WORDS])}, "<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # type: ignore[assignment]
    begin, end, padding, unknown = SPECIAL
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token=begin, eos_token=end, pad_token=padding, unk_token=unknown
    )
    folder = tmp_path_factory.mktemp("words")
    fast.save_pretrained(str(folder))
    return folder


def as_lines(path: Path, records: list[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(one) + "\n" for one in records))


def as_list(path: Path, records: list[dict[str, str]]) -> None:
    path.write_text(json.dumps(records))


def as_arrow(path: Path, records: list[dict[str, str]]) -> None:
    datasets.Dataset.from_list(records).save_to_disk(str(path.parent / "saved"))
    (path.parent / "saved" / "data-00000-of-00001.arrow").rename(path)


def tuned(tiny: Path, words: Path, folder: Path, records: Any = RECORDS, **changes: Any) -> dict[str, Any]:
    """The tiny job on records, `packing` among the changes."""
    folder.mkdir(exist_ok=True)
    file = changes.pop("file", folder / "train.jsonl")
    if not file.exists():
        as_lines(file, records)
    values = alone(tiny, folder / "log", data__train_dir=str(file), data__seq_length=LENGTH, **{
        key: value for key, value in changes.items() if key != "packing"})  # fmt: skip
    values["data"]["tokenizer"] = {"library": "huggingface", "type": str(words)}
    values["model_alignment_strategy"] = {"sft": {"packing": changes.get("packing", False)}}
    return values


def rows(values: dict[str, Any], part: Part = "train") -> list[tuple[list[int], list[int]]]:
    """Ids and labels of all samples."""
    found = source.samples(run_config.with_record_length(typed(values)), part, is_builder=True)
    taken = found.take(range(len(found)))
    return list(zip(taken["input_ids"].tolist(), taken["labels"].tolist(), strict=True))


def plain(words: Path, record: dict[str, str]) -> tuple[list[int], list[int]]:
    """A record as B-13 writes it, by the tokenizer itself."""
    made = transformers.AutoTokenizer.from_pretrained(str(words))
    asked = made.encode("<s> " + record["input"], add_special_tokens=False)
    answer = made.encode(record["output"] + " </s>", add_special_tokens=False)
    return [*asked, *answer], [*[-100] * len(asked), *answer]


# ---- tokens ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("suffix", "write"), [
    ("jsonl", as_lines), ("json", as_lines), ("json", as_list), ("arrow", as_arrow),
])  # fmt: skip
def test_a_record_is_a_row_whose_answer_is_learned(
    suffix: str, write: Callable[[Path, Any], None], tiny: Path, words: Path, tmp_path: Path
) -> None:
    file = tmp_path / f"train.{suffix}"
    write(file, RECORDS)
    found = rows(tuned(tiny, words, tmp_path, file=file))
    assert len(found) == len(RECORDS)
    for (ids, labels), record in zip(found, RECORDS, strict=True):
        wanted, learned = plain(words, record)
        rest = LENGTH - len(wanted)
        assert ids == wanted + [2] * rest
        assert labels == learned + [-100] * rest


def as_csv(path: Path, records: list[dict[str, str]]) -> None:
    path.write_text("input,output\n" + "".join(f"{one['input']},{one['output']}\n" for one in records))


def as_parquet(path: Path, records: list[dict[str, str]]) -> None:
    datasets.Dataset.from_list(records).to_parquet(str(path))


@pytest.mark.parametrize(("name", "write"), [
    ("a.ndjson", as_lines), ("a.JSONL", as_lines), ("list.jsonl", as_list), ("list.JSON", as_list),
    ("bom.jsonl", lambda path, records: path.write_text("\ufeff" + json.dumps(records))),
    ("blank.json", lambda path, records: path.write_text("\n  " + json.dumps(records, indent=2))),
    ("wide.jsonl", lambda path, records: path.write_text("\n".join(map(json.dumps, records)), encoding="utf-16")),
    ("a.jsonl.gz", lambda path, records: path.write_bytes(gzip.compress(json.dumps(records).encode()))),
    ("a.csv", as_csv), ("a.parquet", as_parquet),
])  # fmt: skip
def test_records_are_read_from_every_form_of_file(
    name: str, write: Callable[[Path, Any], None], tiny: Path, words: Path, tmp_path: Path
) -> None:
    write(tmp_path / name, RECORDS)
    assert len(typed(tuned(tiny, words, tmp_path, file=tmp_path / name)).data.train_dir or "") > 0
    assert rows(tuned(tiny, words, tmp_path, file=tmp_path / name)) == rows(tuned(tiny, words, tmp_path / "plain"))


def test_an_alpaca_record_asks_its_instruction_and_its_input(
    tiny: Path, words: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The instruction was dropped without a word. Looked at: no input, an empty one, null, no instruction at all;
    fields that nothing reads are reported at every start, also when the tokens come from the cache."""
    records = [
        {"instruction": text(0, 3), "input": text(5, 2), "output": text(9, 4), "id": 7},
        {"instruction": text(1, 3), "input": "", "output": text(9, 4), "source": "web"},
        {"instruction": text(2, 3), "output": text(9, 4), "id": 0},
        {"instruction": text(3, 3), "input": None, "output": text(9, 4)},
        {"input": text(4, 3), "output": text(9, 4)},
    ] * 2
    asked = [f"{text(0, 3)} {text(5, 2)}", *(text(n, 3) for n in range(1, 5))] * 2
    values = tuned(tiny, words, tmp_path, records)
    for (ids, labels), question in zip(rows(values), asked, strict=True):
        wanted, learned = plain(words, {"input": question, "output": text(9, 4)})
        assert ids[: len(wanted)] == wanted
        assert labels[: len(wanted)] == learned
    for _ in range(2):
        caplog.clear()
        preflight.check(run_config.with_record_length(typed(values)), 1, tmp_path / "log")
        assert "in 8 records the question is `instruction`, a line end and `input`" in caplog.text
        assert "fields that are not used: id (in 4), source (in 2)" in caplog.text


def test_packed_rows_have_every_record_once_with_its_own_labels(tiny: Path, words: Path, tmp_path: Path) -> None:
    """Behind each record an EOS that is not learned; no record is torn, and none would have fit into the row before."""
    found = rows(tuned(tiny, words, tmp_path, packing=True))
    assert len(found) < len(RECORDS) / 1.5
    left = [plain(words, record) for record in RECORDS]
    for number, (ids, labels) in enumerate(found):
        at = 0
        while left and ids[at : at + len(left[0][0])] == left[0][0]:
            wanted, learned = left.pop(0)
            end = at + len(wanted)
            assert (labels[at:end], ids[end], labels[end]) == (learned, 1, -100)
            at = end + 1
        assert ids[at:] == [2] * (LENGTH - at)
        assert labels[at:] == [-100] * (LENGTH - at)
        assert number == len(found) - 1 or at + len(left[0][0]) + 1 > LENGTH
    assert left == []


@pytest.mark.parametrize(("packing", "kept", "told"), [
    (False, [5 + 3 + 2, LENGTH, LENGTH], "4 records are 3 samples of 32 tokens; 1 truncated, 1 dropped."),
    (True, [5 + 3 + 3], "4 records are 1 samples of 32 tokens; 0 truncated, 3 dropped."),
])  # fmt: skip
def test_long_records_are_cut_or_left_out_and_counted(
    packing: bool, kept: list[int], told: str, tiny: Path, words: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With BOS and EOS: 10, 32, 42 and 36 tokens, of the last 34 before the answer."""
    sizes = [(5, 3), (10, 20), (20, 20), (33, 1)]
    records = [{"input": text(0, asked), "output": text(9, answer)} for asked, answer in sizes]
    values = tuned(tiny, words, tmp_path, records, packing=packing)
    with caplog.at_level(logging.INFO):
        build.check(run_config.with_record_length(typed(values)), "train", 96)
    found = rows(values)
    assert [sum(token != 2 for token in ids) for ids, _ in found] == kept
    assert told in caplog.text


def test_only_the_first_records_of_each_split_are_used(tiny: Path, words: Path, tmp_path: Path) -> None:
    for most, counts in ((9, (9, 9)), (30, (30, 12)), (None, (40, 12))):
        values = tuned(tiny, words, tmp_path, data__dev_choose_samples=most)
        values["data"]["val_dir"] = str(tmp_path / "val.jsonl")
        as_lines(tmp_path / "val.jsonl", RECORDS[:12])
        assert (len(rows(values)), len(rows(values, "validation"))) == counts


def test_a_file_is_tokenised_once(tiny: Path, words: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And again when its contents, or what is made of them, are others."""
    values = tuned(tiny, words, tmp_path)
    before = rows(values)
    with monkeypatch.context() as patched:
        patched.setattr(tokenizer, "hugging_face", lambda _: pytest.fail("it was tokenised again"))
        assert rows(values) == before
    as_lines(tmp_path / "train.jsonl", RECORDS[5:])
    assert rows(values) == before[5:]
    values["model_alignment_strategy"]["sft"]["packing"] = True
    assert len(rows(values)) < len(before) / 1.5


# ---- a run ----------------------------------------------------------------------------------------------------------


def test_the_loss_is_that_of_transformers_on_the_answers(tiny: Path, words: Path, tmp_path: Path) -> None:
    values = tuned(tiny, words, tmp_path, trainer__max_steps=1)
    found = lines(train(values))[0]["loss"]
    config = typed(values)
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**MODEL)).float()
    family = Family.from_config(config)
    model.load_state_dict({name: family.init_parameter(name, p.shape) for name, p in model.named_parameters()})
    order = torch.randperm(len(RECORDS), generator=torch.Generator().manual_seed(config.seed))[:8].tolist()
    losses = []
    for start in range(0, 8, 2):
        ids, labels = zip(*(rows(values)[index] for index in order[start : start + 2]), strict=True)
        with torch.no_grad():
            losses.append(model(input_ids=torch.tensor(ids), labels=torch.tensor(labels)).loss)
    assert found == pytest.approx(torch.stack(losses).mean().item(), rel=1e-5)


@pytest.mark.parametrize("packing", [False, True])
def test_an_interrupted_run_is_the_unbroken_one_and_learns(
    packing: bool, tiny: Path, words: Path, tmp_path: Path
) -> None:
    """Over two epochs, each in an order of its own."""
    steps = {"trainer__max_steps": 12, "exp_manager__checkpoint_callback_params__every_n_train_steps": 1,
             "exp_manager__checkpoint_callback_params__save_top_k": -1, "packing": packing}  # fmt: skip
    unbroken = train(tuned(tiny, words, tmp_path / "a", **steps))
    for step in (2, 7):
        found = train(tuned(tiny, words, tmp_path / f"b{step}", **steps), Start(1, str(checkpoint_at(unbroken, step))))
        assert numbers(found) == numbers(unbroken)[step:]
    assert lines(unbroken)[-1]["loss"] < lines(unbroken)[0]["loss"] - 0.1


def test_the_model_runs_at_the_length_of_the_records(tiny: Path, words: Path, tmp_path: Path) -> None:
    values = tuned(tiny, words, tmp_path, trainer__max_steps=2)
    short = train({**values, "data": {**values["data"], "seq_length": 24}})
    config = run_config.with_record_length(typed({**values, "data": {**values["data"], "seq_length": 24}}))
    assert config.model.encoder_seq_length == 24
    assert source.samples(config, "train", is_builder=True).take([0])["input_ids"].shape == (1, 24)
    assert len(lines(short)) == 2


def test_a_start_records_how_many_records_there_are(tiny: Path, words: Path, tmp_path: Path) -> None:
    """In the history, for those who look at the run later: of both parts, with what was cut and dropped."""
    long = {"input": "w1", "output": text(9, 40)}
    as_lines(tmp_path / "val.jsonl", [*RECORDS[:10], long, {"input": text(0, 40), "output": "w1"}])
    validating = {"trainer__limit_val_batches": 1, "trainer__val_check_interval": 1, "trainer__max_steps": 1}
    values = tuned(tiny, words, tmp_path, data__val_dir=str(tmp_path / "val.jsonl"), **validating)
    starts = (train(values) / "starts.jsonl").read_text().splitlines()
    assert json.loads(starts[0])["records"] == {
        "train": {"records": 40, "samples": 40, "truncated": 0, "dropped": 0},
        "validation": {"records": 12, "samples": 11, "truncated": 1, "dropped": 1},
    }


SMALL = {
    "trainer.devices": 1, "trainer.max_steps": 3, "trainer.log_every_n_steps": 1,
    "trainer.val_check_interval": 3, "trainer.limit_val_batches": 1,
    "distributed_strategy": {"sequence_parallel": False, "tensor_model_parallel_size": 1, "kv_replicator": None},
    "exp_manager.resume_from_checkpoint": None, "compiler_cache_url": None, "data.num_workers": 0,
    "data.micro_batch_size": 2, "data.global_batch_size": 8, "model.encoder_seq_length": LENGTH,
    "model.max_position_embeddings": LENGTH, "model.num_layers": 2, "model.hidden_size": 32,
}  # fmt: skip
SIZES = {
    "hf_llama3_8B_SFT_config": {"data.seq_length": 24},
    "megatron_llama2_7B_SFT_config": {
        "model.ffn_hidden_size": 64, "model.num_attention_heads": 4, "model.num_kv_heads": 2,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", SIZES)
def test_a_published_file_trains_when_it_is_made_small(name: str, tiny: Path, words: Path, tmp_path: Path) -> None:
    as_lines(tmp_path / "train.jsonl", RECORDS * 2)
    places = {
        "data.train_dir": str(tmp_path / "train.jsonl"), "data.val_dir": str(tmp_path / "train.jsonl"),
        "data.tokenizer.type": str(words), "exp_manager.explicit_log_dir": str(tmp_path / "log"),
    }  # fmt: skip
    values = yaml.safe_load(text_with(name, SMALL, SIZES[name], places))
    if name.startswith("hf"):
        values["model"]["model_config"] = str(tiny / "model.json")
    preflight.check(run_config.with_record_length(typed(values)), 1, tmp_path / "log")
    found = lines(train(values))
    assert [line["step"] for line in found] == [1, 2, 3]


# ---- what is told ---------------------------------------------------------------------------------------------------


def not_json(path: Path) -> None:
    path.write_text('{"input": "a", "output": "b"}\nnothing\n')


def no_output(path: Path) -> None:
    path.write_text('{"input": "a", "output": "b"}\n{"prompt": "a", "output": "b"}\n')


@pytest.mark.parametrize(
    ("content", "says"), [("", "is empty"), (" \n\n", "is empty"), ("A text.", "it is plain text")]
)
def test_a_file_without_a_form_of_records_is_told_the_forms(content: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text(content)
    with pytest.raises(FormatError) as refused:
        RecordFiles(tmp_path / "train.txt", "train").checksum()
    assert says in refused.value.message
    assert all(suffix in refused.value.remedy for suffix in (".jsonl", ".csv", ".parquet", ".arrow", ".gz"))


@pytest.mark.parametrize(("write", "changes", "says"), [
    (None, {"data__train_dir": "/nowhere/a.jsonl"}, "data.train_dir: /nowhere/a.jsonl cannot be read: No such file"),
    (not_json, {}, "train.jsonl is not JSON: Expecting value (column 1). Each record is"),
    (no_output, {}, "line 2 of "),
    (no_output, {}, "has the fields 'prompt', 'output': rename prompt to input. Each record is"),
    (lambda path: path.write_text(""), {}, "has no records"),
    (lambda path: path.write_text('{"messages": []}'), {}, "the list 'messages' in line 1 of "),
    (lambda path: path.write_text('{"input": "a", "chosen": "b", "rejected": "c"}'), {},
     "pairs of answers are for model_alignment_strategy.dpo or orpo."),
    (lambda path: path.write_text('{"input": "a", "output": 5}'), {}, "the field 'output' in line 1 of "),
    (lambda path: path.write_text('{"input": "a", "output": "b", "output": "c"}'), {}, "'output' is there twice"),
    (lambda path: path.write_text('{"input": "a",\n "output": b}'), {}, "line 1 of "),
    (lambda path: path.write_text('{"input": "a", "output": "\\ud83d"}'), {}, "half of a surrogate pair"),
    (lambda path: path.write_text('[{"input": "a", "output": "b"},\n{"input": "a"}]'), {}, "line 2 of "),
    (lambda path: path.write_bytes(b'{"input": "n\xe9e", "output": "b"}'), {},
     "continuation byte. Save the file as UTF-8."),
    (lambda path: path.write_bytes(b"\x1f\x8b broken"), {}, "cannot be "),
    (lambda path: path.write_text("A text."), {}, "line 1 of "),
    (lambda path: path.mkdir(), {}, "is a directory without a file of records"),
    (os.mkfifo, {}, "is not a regular file"),
    (lambda path: as_lines(path, [{"input": text(0, 40), "output": "w1"}] * 9), {"data__seq_length": LENGTH},
     "fits into 32 tokens with a part of its answer. Use a larger data.seq_length."),
    (lambda path: as_lines(path, RECORDS[:7]), {}, "its records are 7 samples, fewer than one global batch of 8"),
    (None, {"words": True}, "data.tokenizer.type: there is no directory /nowhere"),
])  # fmt: skip
def test_a_fault_is_told_before_anything_starts(
    write: Callable[[Path], None] | None, changes: dict[str, Any], says: str, tiny: Path, words: Path, tmp_path: Path
) -> None:
    if write is not None:
        write(tmp_path / "train.jsonl")
    values = tuned(tiny, Path("/nowhere") if changes.pop("words", False) else words, tmp_path)
    for key, value in changes.items():
        values["data"][key.removeprefix("data__")] = value
    with pytest.raises(InputError) as raised:
        preflight.check(typed(values), 1, tmp_path / "log")
    assert says in str(raised.value)


def test_a_token_that_the_model_does_not_have_is_told(tiny: Path, words: Path, tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text(json.dumps({**MODEL, "vocab_size": 64}))
    values = tuned(tiny, words, tmp_path, model__model_config=str(tmp_path / "model.json"))
    with pytest.raises(InputError, match=r"data.tokenizer.type: it gave token id \d+, the model's vocab_size is 64"):
        preflight.check(typed(values), 1, tmp_path / "log")
