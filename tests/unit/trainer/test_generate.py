"""`neuron-train generate`: the tokens are those of the trainer's own model, and what cannot be asked says why."""

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
import torch
import transformers

from distributed.tiny import MODEL
from neuron_trainer.__main__ import main
from neuron_trainer.convert import hugging_face, native
from neuron_trainer.models.family import Family

from .conftest import alone, train
from .test_loop import checkpoint_at

ORACLES: Final = Path(__file__).parents[2] / "data" / "alignment"
PROMPTS: Final = ("keep your", "what")
Ask = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of transformers with a tokenizer."""
    path = tmp_path_factory.mktemp("published")
    shutil.copy(ORACLES / "weights" / "config.json", path / "config.json")
    shutil.copy(ORACLES / "weights" / "base.safetensors", path / "model.safetensors")
    for file in (ORACLES / "tokenizer").iterdir():
        shutil.copy(file, path / file.name)
    return path


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """The answers of the command; exports go to a directory of the test."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)

    def answers(source: Path, *arguments: object) -> list[dict[str, Any]]:
        assert main(["generate", str(source), "-o", "json", *map(str, arguments)]) == 0, capsys.readouterr().err
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return answers


def own_model(values: dict[str, Any], weights: dict[str, Any]) -> torch.nn.Module:
    family = Family.without_run(values)
    model = family.on_meta().to_empty(device="cpu")
    model.load_state_dict({name: load() for name, load in weights.items()}, strict=False)
    family.tie(model)
    return model.eval()


def greedy(model: torch.nn.Module, ids: list[int], count: int, ends: int) -> list[int]:
    """The likeliest token each time, by the trainer's own modules."""
    tokens: list[int] = []
    with torch.no_grad():
        while len(tokens) < count and ends not in tokens:
            tokens.append(int(model(torch.tensor([[*ids, *tokens]]))[0, -1].argmax()))
    return tokens


def test_greedy_tokens_are_our_own_models_likeliest_ones(folder: Path, ask: Ask) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = own_model(json.loads((folder / "config.json").read_text()), hugging_face.read(folder))
    found = ask(folder, *(word for prompt in PROMPTS for word in ("--prompt", prompt)), "--max-new-tokens", 12)
    assert [one["prompt"] for one in found] == list(PROMPTS)
    for one in found:
        ids = tokenizer(one["prompt"])["input_ids"]
        assert ids[0] == tokenizer.bos_token_id
        assert one["tokens"] == greedy(model, ids, 12, tokenizer.eos_token_id)
        assert one["answer"] == tokenizer.decode(one["tokens"], skip_special_tokens=True)


@pytest.mark.usefixtures("one_process")
def test_a_run_is_asked_by_its_newest_checkpoint(tiny: Path, tmp_path: Path, folder: Path, ask: Ask) -> None:
    (tmp_path / "model.json").write_text(json.dumps({**MODEL, "vocab_size": 128}))
    run = train(alone(
        tiny, tmp_path / "run", trainer__max_steps=2, model__model_config=str(tmp_path / "model.json"),
        exp_manager__checkpoint_callback_params__every_n_train_steps=1, precision__type="fp32",
    ))  # fmt: skip
    [found] = ask(run, "--prompt", PROMPTS[0], "--max-new-tokens", 8, "--tokenizer", folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = own_model({**MODEL, "vocab_size": 128}, native.read(checkpoint_at(run, 2)))
    assert found["tokens"] == greedy(model, tokenizer(PROMPTS[0])["input_ids"], 8, tokenizer.eos_token_id)
    exports = sorted(tmp_path.glob("neuron-train-*/*"))
    assert len(exports) == 1
    written = (exports[0] / "model.safetensors").stat().st_mtime_ns
    assert ask(run, "--prompt", PROMPTS[0], "--max-new-tokens", 8, "--tokenizer", folder) == [found]
    assert (exports[0] / "model.safetensors").stat().st_mtime_ns == written, "the export is used again"


def test_drawn_tokens_are_the_seeds(folder: Path, ask: Ask) -> None:
    def drawn(*more: object) -> list[int]:
        [found] = ask(folder, "--prompt", PROMPTS[0], "--max-new-tokens", 16, *more)
        tokens: list[int] = found["tokens"]
        return tokens

    hot = ("--temperature", 2, "--seed")
    assert drawn(*hot, 1) == drawn(*hot, 1)
    assert len({tuple(drawn(*hot, seed)) for seed in range(4)}) > 1
    assert drawn("--temperature", 1, "--top-p", 1e-6) == drawn(), "the likeliest token alone is left"


def test_prompts_come_from_a_file_records_or_standard_input(
    folder: Path, ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lines.txt").write_text("keep\n\nwhat is\n")
    (tmp_path / "records.jsonl").write_text(
        '{"prompt": "keep", "chosen": "a"}\n\n{"input": "what is", "output": "b"}\n'
    )
    monkeypatch.setattr("sys.stdin", io.StringIO("keep\nwhat is\n"))
    sources = (("--prompts", tmp_path / "lines.txt"), ("--prompts", tmp_path / "records.jsonl"), ("--prompts", "-"))
    found = [ask(folder, *source, "--max-new-tokens", 2) for source in sources]
    assert [one["prompt"] for one in found[0]] == ["keep", "what is"]
    assert found[0] == found[1] == found[2]


def test_a_chat_template_is_used_where_it_is_asked_for(folder: Path, ask: Ask, tmp_path: Path) -> None:
    chat = shutil.copytree(folder, tmp_path / "chat")
    values = json.loads((chat / "tokenizer_config.json").read_text())
    values["chat_template"] = "{% for m in messages %}what{{ m['content'] }}{% endfor %}"
    (chat / "tokenizer_config.json").write_text(json.dumps(values))
    [asked] = ask(chat, "--prompt", " keep", "--chat", "--max-new-tokens", 6)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = own_model(json.loads((folder / "config.json").read_text()), hugging_face.read(folder))
    ids = tokenizer("what keep", add_special_tokens=False)["input_ids"]
    assert asked["tokens"] == greedy(model, ids, 6, tokenizer.eos_token_id)


def test_text_output_shows_prompt_and_answer(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", str(folder), "--prompt", "keep", "--max-new-tokens", "3"]) == 0
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first == "prompt  keep"
    assert second.startswith("answer  ")


@pytest.mark.parametrize(("arguments", "code", "words"), [
    (["--prompt", "a", "--temperature", "0"], 2, "--temperature: 0.0 is not above 0"),
    (["--prompt", "a", "--temperature", "1", "--top-p", "2"], 2, "--top-p: 2.0"),
    (["--prompt", "a", "--top-p", "0.5"], 2, "no --temperature is given"),
    (["--prompt", "a", "--max-new-tokens", "0"], 2, "--max-new-tokens: 0"),
    (["--prompt", " "], 2, "there is no prompt"),
    (["--prompts", "/nowhere"], 2, "--prompts: /nowhere: No such file"),
    (["--prompt", "a", "--chat"], 2, "the tokenizer has no chat template"),
    (["--prompt", "what " * 70], 2, "the model takes 1 to 63"),
    (["--prompt", "a", "--base"], 2, "does not say what its run began with"),
    (["--prompt", "a", "--tokenizer", "/nowhere"], 2, "/nowhere has no tokenizer.json"),
])  # fmt: skip
def test_what_cannot_be_asked_is_one_sentence(
    arguments: list[str], code: int, words: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["generate", str(folder), *arguments]) == code
    error = capsys.readouterr().err
    assert words in error
    assert "Traceback" not in error


def test_a_source_without_a_model_is_named(
    tmp_path: Path, trained: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def error(source: Path, *more: str) -> str:
        assert main(["generate", str(source), "--prompt", "a", *more]) != 0
        return capsys.readouterr().err

    assert f"there is no directory {tmp_path / 'none'}" in error(tmp_path / "none")
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    assert "has no complete checkpoint" in error(tmp_path / "run")
    assert "no tokenizer was found" in error(trained)
    bare = shutil.copytree(folder, tmp_path / "bare")
    (bare / "model.safetensors").write_bytes(b"no weights")
    assert "cannot be loaded by transformers" in error(bare)


def test_a_file_of_prompts_names_the_line(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "records.jsonl").write_text('{"prompt": "keep\u2028it"}\n{"text": "keep"}\n')
    assert main(["generate", str(folder), "--prompts", str(tmp_path / "records.jsonl")]) == 2
    assert "records.jsonl line 2 has no prompt" in capsys.readouterr().err


def test_the_question_of_a_record_is_the_one_of_training(folder: Path, ask: Ask, tmp_path: Path) -> None:
    records = [{"instruction": "keep", "input": "it", "output": "a"}, {"instruction": "keep", "input": ""}]
    (tmp_path / "alpaca.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    answers = ask(folder, "--prompts", tmp_path / "alpaca.jsonl", "--max-new-tokens", 1)
    assert [answer["prompt"] for answer in answers] == ["keep\nit", "keep"]


def test_no_prompt_is_answered_when_a_later_one_is_too_long(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", str(folder), "--prompt", "keep", "--prompt", "what " * 70]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "the prompt 'what what" in captured.err
