"""Whatever a file holds, `run` and `data prepare` read it or refuse it: exit code 2, words, no traceback, no wait.

The kind: every file that a user gives. The seeded part of `make test-inputs`, in this process up to where processes
would be started; what is accepted is read a second time by other means.
"""

from collections import Counter
from pathlib import Path

import pytest

import hostile_inputs
import hostile_run
from neuron_api.contract import ExitCode
from neuron_trainer import __main__

pytestmark = pytest.mark.slow

SEED, COUNT = 14, 60


def test_hostile_inputs_are_read_or_refused(tmp_path: Path) -> None:
    base = hostile_run.prepared(tmp_path)
    verdicts = [hostile_run.judge(case, tmp_path) for case in hostile_inputs.generate(SEED, COUNT, tmp_path, base)]
    faults = [f"{one.case.name}: {one.kind}\n{one.message}" for one in verdicts if one.is_fault]
    assert not faults, "\n\n".join(faults)
    kinds = Counter(one.kind for one in verdicts)
    assert kinds["accepted"] >= 5, "a generator that is never accepted shows nothing about what is read"
    assert kinds["refused"] >= 25


def test_paths_that_are_no_files_are_refused(tmp_path: Path) -> None:
    base = hostile_run.prepared(tmp_path)
    for path in hostile_inputs.specials(tmp_path):
        values = base(tmp_path / "log")
        sft = base(tmp_path / "log")
        sft["model_alignment_strategy"], sft["data"]["seq_length"] = {"sft": {}}, 32
        sft["data"] |= {"train_dir": f"{path}.jsonl", "tokenizer": {"type": str(tmp_path / "tokenizer")}}
        cases = [("run", (str(path),)), ("prepare", ("--input", str(path), "--output", "o", "--vocab-size", "260"))]
        for key in ("train_dir", "model_config", "tokenizer"):
            changed = base(tmp_path / "log")
            changed["model" if key == "model_config" else "data"] |= {key: str(path)}
            if key == "tokenizer":
                changed = {**sft, "data": {**sft["data"], "tokenizer": {"type": str(path)}}}
            file = tmp_path / f"{key}.yaml"
            file.write_bytes(hostile_run.as_yaml(changed))
            cases.append(("run", (str(file),)))
        assert values
        for command, arguments in cases:
            case = hostile_inputs.Case(f"{command} {arguments[0]} {path}", command, arguments, hostile_inputs.fine)
            verdict = hostile_run.judge(case, tmp_path)
            assert verdict.kind == "refused", (case.name, verdict.kind, verdict.message)


def test_the_command_line_is_refused_in_words(tmp_path: Path) -> None:
    """Numbers that are none or far too large."""
    (tmp_path / "a.txt").write_text("a b c " * 99)
    for more in (("--vocab-size", str(10**12)), ("--vocab-size", "-5"), ("--seq-length", "-1"),
                 ("--vocab-size", "260", "--seq-length", str(10**15)),
                 ("--vocab-size", "260", "--seq-length", "8", "--processes", "-1"),
                 ("--tokenizer", str(tmp_path / "a.txt"), "--seq-length", "8"),
                 ("--vocab-size", "260", "--seq-length", "8", "--output", str(tmp_path / "a.txt" / "x")),
                 ("--vocab-size", "260", "--seq-length", "8", "--output", str(tmp_path / ("n" * 300)))):  # fmt: skip
        arguments = ["data", "prepare", "--input", str(tmp_path / "a.txt"), "--output", str(tmp_path / "out"), *more]
        with hostile_run.alone() as written:
            assert __main__.main(arguments) == ExitCode.CONFIG
        assert "Traceback" not in written.getvalue()
        assert " E --" in written.getvalue(), (more, written.getvalue())
