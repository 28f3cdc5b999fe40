"""Hostile inputs through the real command, in one process: everything up to the first process that would be started."""

import io
import json
import logging
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import huggingface_hub.constants
import yaml

from distributed.tiny import MODEL, config, write_rows
from hostile_inputs import LENGTH, Case
from neuron_api.contract import ExitCode
from neuron_trainer import __main__
from neuron_trainer.launcher.elastic import forkserver, supervisor

LIMIT = 20.0
"""Seconds of processor time that an answer may take."""
_FORBIDDEN = ("Traceback (most recent call last)", "object at 0x")


class AcceptedError(BaseException):
    """The processes would be started now."""


@dataclass(frozen=True)
class Verdict:
    """What came of a case."""

    case: Case
    kind: str
    """`refused`, `accepted`, or a fault: `traceback`, `hang`, `silent`, `wordless`."""
    message: str
    seconds: float

    @property
    def is_fault(self) -> bool:
        """Whether it breaks the rule."""
        return self.kind not in ("refused", "accepted")


def prepared(folder: Path) -> Any:
    """Writes what the cases start from; returns the configuration for a log directory."""
    import datasets

    datasets.disable_progress_bars()
    (folder / "model.json").write_text(json.dumps(MODEL))
    write_rows(folder / "data", rows=16)
    (folder / "words.txt").write_text("a b c and some words\n" * 200)
    common = ["--input", str(folder / "words.txt"), "--vocab-size", "260", "--format", "megatron"]
    assert __main__.main(["data", "prepare", *common, "--output", str(folder / "documents")]) == 0
    (folder / "documents.tokenizer").rename(folder / "tokenizer")
    (folder / "model.json").write_text(json.dumps({**MODEL, "vocab_size": 260}))

    def base(log_dir: Path, source: str = "hf") -> dict[str, Any]:
        values = config(folder, log_dir, trainer__devices=1, trainer__num_nodes=1,
                        distributed_strategy__tensor_model_parallel_size=1)  # fmt: skip
        values["distributed_strategy"]["sequence_parallel"] = False
        if source == "megatron":
            values["model_source"] = source
            values["model"] = {"num_layers": 2, "hidden_size": 32, "ffn_hidden_size": 64, "num_attention_heads": 4,
                               "encoder_seq_length": LENGTH, "max_position_embeddings": LENGTH,
                               "optim": {"name": "adamw", "lr": 1e-3}}  # fmt: skip
            values["data"] = {"micro_batch_size": 1, "global_batch_size": 2, "data_prefix": "",
                              "tokenizer": {"type": str(folder / "tokenizer")}}  # fmt: skip
        return values

    return base


@contextmanager
def alone() -> Iterator[io.StringIO]:
    """The command may change this process's signals, environment and log handlers; yields what it writes."""
    environ, root, written = dict(os.environ), logging.getLogger(), io.StringIO()
    handlers, level = list(root.handlers), root.level
    signals = {one: signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM)}

    def accept(*_: Any) -> None:
        raise AcceptedError

    try:
        with (
            mock.patch.object(forkserver, "start", lambda _: None),
            mock.patch.object(supervisor, "run", accept),
            mock.patch.object(huggingface_hub.constants, "HF_HUB_OFFLINE", True),  # a name is no file: nothing is asked
            redirect_stderr(written),
        ):
            yield written
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        root.handlers, root.level = handlers, level
        os.environ.clear()
        os.environ.update(environ)
        for one, handler in signals.items():
            signal.signal(one, handler)


def judge(case: Case, folder: Path) -> Verdict:
    """The command on the case, and what was accepted read again."""
    command = ["data", "prepare"] if case.command == "prepare" else [case.command]
    begun, code, fault = time.process_time(), None, ""
    with alone() as written:
        signal.signal(signal.SIGALRM, _give_up)
        signal.setitimer(signal.ITIMER_REAL, 30 * LIMIT)
        try:
            code = __main__.main([*command, *case.arguments])
        except AcceptedError:
            code = 0
        except TimeoutError:
            return Verdict(case, "hang", written.getvalue(), time.process_time() - begun)
        except BaseException:
            fault = traceback.format_exc()
    seconds = time.process_time() - begun
    return _verdict(case, folder, code, fault or written.getvalue(), seconds, is_raised=bool(fault))


def _verdict(case: Case, folder: Path, code: int | None, text: str, seconds: float, *, is_raised: bool) -> Verdict:
    if is_raised or any(word in text for word in _FORBIDDEN) or code not in (0, ExitCode.CONFIG):
        return Verdict(case, "traceback", text, seconds)
    if seconds > LIMIT:
        return Verdict(case, "hang", text, seconds)
    if code == ExitCode.CONFIG:
        return Verdict(case, "refused" if len(text.split()) > 3 else "wordless", text, seconds)
    try:
        wrong = case.check(folder)
    except Exception:
        wrong = f"accepted, and the second reading failed: {traceback.format_exc()}"
    return Verdict(case, "silent" if wrong else "accepted", wrong or text, seconds)


def _give_up(*_: Any) -> None:
    raise TimeoutError


def in_process_of_its_own(case: Case) -> Verdict:
    """As a user starts it; for cases that are refused."""
    command = ["data", "prepare"] if case.command == "prepare" else [case.command]
    begun = time.monotonic()
    done = subprocess.run([sys.executable, "-m", "neuron_trainer", *command, *case.arguments],
                          capture_output=True, text=True, check=False, timeout=30 * LIMIT)  # fmt: skip
    text, seconds = done.stderr, time.monotonic() - begun
    if done.returncode != ExitCode.CONFIG or any(word in text for word in _FORBIDDEN):
        return Verdict(case, "traceback", f"exit {done.returncode}: {text}", seconds)
    return Verdict(case, "refused", text, seconds)


def as_yaml(values: dict[str, Any]) -> bytes:
    """Of a configuration."""
    return yaml.safe_dump(values).encode()
