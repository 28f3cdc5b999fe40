"""Whatever is wrong with the input: exit code 2 and one sentence with the key and the remedy, before any process."""

import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from distributed.tiny import MODEL, write_config, write_rows
from neuron_api.contract import ExitCode
from neuron_trainer.launcher import start
from neuron_trainer.launcher.elastic import forkserver, supervisor

from .conftest import alone

Prepare = Callable[[Path, Path], dict[str, Any]]
"""From the tiny folder and a temporary one to changes of the configuration."""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Any]:
    """`neuron-train run` in this process, which gets back its signals, environment and log handlers."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    environ, root = dict(os.environ), logging.getLogger()
    logging_before = list(root.handlers), root.level
    monkeypatch.setattr(forkserver, "start", lambda _: None)
    monkeypatch.setattr(supervisor, "run", lambda *_: pytest.fail("processes were started"))

    def go(values: dict[str, Any], *overrides: str) -> tuple[int, list[str]]:
        capsys.readouterr()  # what `datasets` said while the case was prepared
        code = start.main(str(write_config(tmp_path / "config.yaml", values)), overrides)
        lines = [line for line in capsys.readouterr().err.splitlines() if " progress at http" not in line]
        return code, lines

    yield go
    root.handlers, root.level = logging_before
    os.environ.clear()
    os.environ.update(environ)
    for number, handler in handlers.items():
        signal.signal(number, handler)


@dataclass(frozen=True)
class Case:
    """One fault: how it is made, what the sentence must say."""

    name: str
    key: str
    says: str
    remedy: str
    changes: dict[str, Any] = field(default_factory=dict)
    prepare: Prepare | None = None


def _short_rows(_: Path, folder: Path) -> dict[str, Any]:
    write_rows(folder / "short", rows=16, length=24)
    return {"data__train_dir": str(folder / "short")}


def _long_rows(_: Path, folder: Path) -> dict[str, Any]:
    write_rows(folder / "long", rows=16, length=64)
    return {"data__train_dir": str(folder / "long"), "model__encoder_seq_length": 64}


def _few_rows(_: Path, folder: Path) -> dict[str, Any]:
    write_rows(folder / "few", rows=7)
    return {"data__train_dir": str(folder / "few")}


def _large_ids(_: Path, folder: Path) -> dict[str, Any]:
    write_rows(folder / "large", rows=16, vocabulary=200)
    return {"data__train_dir": str(folder / "large")}


def _no_data_set(_: Path, folder: Path) -> dict[str, Any]:
    (folder / "nothing").mkdir()
    return {"data__train_dir": str(folder / "nothing")}


def _file_in_the_way(_: Path, folder: Path) -> dict[str, Any]:
    (folder / "file").write_text("")
    return {"exp_manager__explicit_log_dir": str(folder / "file" / "log")}


def _no_json(_: Path, folder: Path) -> dict[str, Any]:
    (folder / "model.json").write_text("{")
    return {"model__model_config": str(folder / "model.json")}


def _model(folder: Path, **changes: Any) -> dict[str, Any]:
    (folder / "model.json").write_text(json.dumps({**MODEL, **changes}))
    return {"model__model_config": str(folder / "model.json")}


def _with_experts(_: Path, folder: Path) -> dict[str, Any]:
    return _model(folder, model_type="mixtral", num_local_experts=4)


CASES = [
    Case("no train_dir", "data.train_dir", "there is no directory /nowhere/data",
         "Write it with `neuron-train data prepare`.", {"data__train_dir": "/nowhere/data"}),
    Case("no data set in train_dir", "data.train_dir", "is not a data set",
         "Write it with `neuron-train data prepare`.", prepare=_no_data_set),
    Case("wrong row length", "data.train_dir", "row 0 of", "Prepare the data with --seq-length 32",
         prepare=_short_rows),
    Case("fewer rows than a batch", "data.train_dir", "has 7 rows, fewer than one global batch of 8",
         "Use more text, shorter rows or a smaller data.global_batch_size", prepare=_few_rows),
    Case("vocabulary too small", "data.train_dir", "the model's vocab_size is 96",
         "Use the tokenizer that belongs to the model.", prepare=_large_ids),
    Case("world not divisible", "distributed_strategy.tensor_model_parallel_size", "cannot be divided into groups of 2",
         "Change trainer.devices", {"trainer__devices": 3, "distributed_strategy__tensor_model_parallel_size": 2}),
    Case("heads not divisible by TP", "distributed_strategy.tensor_model_parallel_size",
         "4 attention heads cannot be divided over 8 processes", "Use a size that divides it",
         {"trainer__devices": 8, "distributed_strategy__tensor_model_parallel_size": 8}),
    Case("more copies than query heads", "distributed_strategy.kv_replicator",
         "2 key/value heads x 4 copies are more than the 4 query heads", "Leave kv_replicator out.",
         {"trainer__devices": 4, "distributed_strategy__tensor_model_parallel_size": 4, "model__qkv_linear": True,
          "distributed_strategy__kv_replicator": 4}),
    Case("more stages than layers", "distributed_strategy.pipeline_model_parallel_size",
         "2 layers are fewer than 4 stages", "Use fewer stages",
         {"trainer__devices": 4, "distributed_strategy__pipeline_model_parallel_size": 4}),
    Case("tokens that cannot be mixed evenly", "distributed_strategy.token_shuffle_group_size",
         "3 is no divisor of the 64 tokens of a micro-batch on a process", "Use one that is.",
         {"trainer__devices": 3, "data__global_batch_size": 6, "distributed_strategy__token_shuffle_group_size": 3,
          "model__moe": {"num_experts": 4, "top_k": 2, "capacity_factor": 1.0}}, prepare=_with_experts),
    Case("batch not divisible", "data.global_batch_size", "9", "", {"data__global_batch_size": 9}),
    Case("resume required and no checkpoint", "exp_manager.resume_ignore_no_checkpoint",
         "there is no complete checkpoint in", "For a first start set exp_manager.resume_ignore_no_checkpoint to True",
         {"exp_manager__resume_ignore_no_checkpoint": False}),
    Case("checkpoint to resume from is missing", "exp_manager.resume_from_checkpoint", "/nowhere/x.ckpt",
         "Give the directory of a complete checkpoint, or of a model of transformers.",
         {"exp_manager__resume_from_checkpoint": "/nowhere/x.ckpt"}),
    Case("unwritable log dir", "exp_manager.exp_dir", "cannot be written: Not a directory",
         "Give a directory on a volume that is mounted and writable.", prepare=_file_in_the_way),
    Case("unknown key", "trainer.max_step", "", "max_steps", {"trainer__max_step": 5}),
    Case("no model config", "model.model_config", "/nowhere/config.json cannot be read",
         "Give the path of a Hugging Face config.json.", {"model__model_config": "/nowhere/config.json"}),
    Case("model config is not JSON", "model.model_config", "is not JSON", "", prepare=_no_json),
    Case("rows longer than positions", "model.encoder_seq_length", "64 is more than max_position_embeddings 32",
         "Set model.max_position_embeddings, too.", prepare=_long_rows),
    Case("no such metric", "exp_manager.checkpoint_callback_params.monitor", "there is no metric 'loss'",
         "Use one of step, epoch", {"exp_manager__checkpoint_callback_params__monitor": "loss"}),
    Case("several nodes and no gang", "trainer.num_nodes", "2 nodes need NTJ_NODE_RANK",
         "On one machine add trainer.num_nodes=1", {"trainer__num_nodes": 2}),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_fault_is_one_sentence_and_exit_code_2(case: Case, run: Any, tiny: Path, tmp_path: Path) -> None:
    changes = {**case.changes, **(case.prepare(tiny, tmp_path) if case.prepare else {})}
    code, lines = run(alone(tiny, tmp_path / "log", **changes))
    said = "\n".join(lines)
    assert code == ExitCode.CONFIG, said
    assert len(lines) == 1, said
    assert f"E {case.key}" in lines[0]
    assert case.says in lines[0]
    assert case.remedy in lines[0]


YAML: dict[str, tuple[bytes, str]] = {
    "latin-1": (b"name: tiny\n# n\xe9e\n", "line 2 is not UTF-8 text (byte 0xe9): save the file as UTF-8."),
    "binary": (b"\x7fELF\x02\x01\x01\0\0", "the character U+007F, which YAML does not allow."),
    "NUL": (b"name: tiny\nseed: 1\0\n", "the character U+0000, which YAML does not allow."),
    "half of UTF-16": (b"\xff\xfen", "line 1 is not UTF-16 text"),
    "empty": (b"", "the text is empty."),
    "a list": (b"- a\n", "the text is not a mapping of keys."),
    "too large": (b"#" * 1_000_001, "the text has more than 1000000 bytes."),
    "gzip": (b"\x1f\x8b\x08\x00abc", "line 1 is not UTF-8 text (byte 0x8b)"),
}


@pytest.mark.parametrize("name", YAML)
def test_a_file_that_is_no_yaml_text_is_named_with_its_line(
    name: str, tmp_path: Path, run: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """The kind: a file of another encoding, or another file. A traceback was shown, which the operator restarts."""
    content, sentence = YAML[name]
    (tmp_path / "own.yaml").write_bytes(content)
    assert start.main(str(tmp_path / "own.yaml"), ()) == ExitCode.CONFIG
    (line,) = capsys.readouterr().err.splitlines()
    assert sentence in line
    assert f"{tmp_path}/own.yaml" in line


def test_a_mark_and_utf_16_are_read_and_a_pipe_is_not_waited_for(
    tiny: Path, tmp_path: Path, run: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, sentence in ((tmp_path / "pipe", "is not a regular file."), (tmp_path, "is a directory."),
                           (Path("/dev/zero"), "is not a regular file.")):  # fmt: skip
        assert start.main(str(path), ()) == ExitCode.CONFIG
        assert f"{path} {sentence} Give the path of a configuration in YAML." in capsys.readouterr().err
    text = yaml.safe_dump(alone(tiny, tmp_path / "log", data__train_dir="/nowhere"))
    for encoding in ("utf-8-sig", "utf-16"):
        (tmp_path / "own.yaml").write_bytes(text.encode(encoding))
        assert start.main(str(tmp_path / "own.yaml"), ()) == ExitCode.CONFIG
        assert "there is no directory /nowhere" in capsys.readouterr().err


def test_a_device_that_this_pytorch_does_not_have_is_named(
    run: Any, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NTJ_ACCELERATOR", "neuron")
    code, lines = run(alone(tiny, tmp_path / "run"))
    assert code == ExitCode.CONFIG
    assert "--accelerator: PyTorch" in lines[-1]
    assert "has no device 'neuron'. Use an image whose PyTorch has it" in lines[-1]
    assert not (tmp_path / "run").exists(), "a refused start leaves no folder"


def test_an_accelerator_that_does_not_exist_is_told_with_those_that_do(
    run: Any, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NTJ_ACCELERATOR", "tpu")
    code, lines = run(alone(tiny, tmp_path / "run"))
    assert code == ExitCode.CONFIG
    assert len(lines) == 1
    assert lines[0].endswith(" --accelerator: there is no accelerator 'tpu'. Use one of cpu, neuron, cuda, xla.")
    monkeypatch.setenv("NTJ_ACCELERATOR", "gpu")
    assert "there is no accelerator 'gpu'. Did you mean cuda?" in run(alone(tiny, tmp_path / "run"))[1][0]
    monkeypatch.setenv("NTJ_JOB_NAME", "one")
    assert "spec.platform.accelerator: there is no accelerator 'gpu'" in run(alone(tiny, tmp_path / "run"))[1][0]


def test_more_processes_than_devices_are_refused_before_any_starts(
    run: Any, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NTJ_ACCELERATOR", "cuda")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    code, lines = run(alone(tiny, tmp_path / "run"))
    assert code == ExitCode.CONFIG
    assert "trainer.devices: each of 1 processes needs a device, and PyTorch sees 0 of cuda." in lines[-1]


def test_an_unknown_key_is_answered_with_the_one_that_was_meant(run: Any, tiny: Path, tmp_path: Path) -> None:
    _, lines = run(alone(tiny, tmp_path / "log", trainer__max_step=5))
    assert "did you mean" in lines[0].lower()
    assert "max_steps" in lines[0]


def test_all_faults_that_names_show_are_told_at_once(run: Any, tiny: Path, tmp_path: Path) -> None:
    changes = {"data__train_dir": "/nowhere", "model__model_config": "/none", **_file_in_the_way(tiny, tmp_path)}
    code, lines = run(alone(tiny, tmp_path / "log", **changes))
    assert code == ExitCode.CONFIG
    said = "\n".join(lines)
    assert len(lines) == 3, said
    assert all(key in said for key in ("data.train_dir", "model.model_config", "exp_manager.exp_dir")), said


def test_all_faults_of_model_and_data_are_told_at_once(run: Any, tiny: Path, tmp_path: Path) -> None:
    changes = {**_short_rows(tiny, tmp_path), "model__encoder_seq_length": 64}
    code, lines = run(alone(tiny, tmp_path / "log", **changes))
    assert code == ExitCode.CONFIG
    said = "\n".join(lines)
    assert len(lines) == 2, said
    assert all(key in said for key in ("data.train_dir", "model.encoder_seq_length")), said


def test_a_fault_is_in_the_termination_message(
    run: Any, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = tmp_path / "termination-log"
    message.write_text("")
    monkeypatch.setattr(start.termination.write, "__defaults__", (str(message),))
    run(alone(tiny, tmp_path / "log", data__train_dir="/nowhere"))
    assert message.read_text().startswith("data.train_dir: there is no directory /nowhere.")


@pytest.mark.slow
def test_the_command_ends_with_2_and_no_traceback(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "neuron_trainer", "run", str(tmp_path / "no.yaml")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == ExitCode.CONFIG
    assert "no.yaml cannot be read: No such file or directory. Give the path of a configuration in YAML." in done.stderr
    assert len(done.stderr.splitlines()) == 1
