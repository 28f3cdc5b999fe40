"""Two real `neuron-train run` in one directory: one trains, the other is refused with who holds it and what to do.

The kind: a second start while the first lives (seen at once on one machine), and after it was killed (not waited for).
What two hosts do is in tests/unit/trainer/test_lease.py, where time is not real and a hundred tries take seconds. Also
here: the checkpoints of two runs in one `dirpath`.
"""

import json
import signal
from pathlib import Path
from typing import Any

import yaml

from neuron_api import contract

from .nodes import Gang, last_step, until
from .tiny import config

STEPS = 2000


def job(tiny: Path, folder: Path, **changes: Any) -> Path:
    values = config(
        tiny, folder / "log", trainer__devices=1, trainer__num_nodes=1, trainer__max_steps=STEPS,
        distributed_strategy__tensor_model_parallel_size=1, distributed_strategy__sequence_parallel=False,
        exp_manager__checkpoint_callback_params__every_n_train_steps=5, **changes,
    )  # fmt: skip
    folder.mkdir(exist_ok=True)
    (folder / "run.yaml").write_text(yaml.safe_dump(values))
    return folder / "run.yaml"


def test_the_second_run_is_refused_and_a_dead_one_is_not_waited_for(tiny: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with Gang(tmp_path, job(tiny, tmp_path), 1) as first, Gang(tmp_path / "b", tmp_path / "run.yaml", 1) as second:
        (tmp_path / "b").mkdir()
        holder = first.start(0)
        until("the first to train", lambda: last_step(log) > 6, gang=first)
        refused = second.start(0)
        assert refused.wait() == contract.ExitCode.CONFIG
        said = refused.log.read_text()
        assert f"{log} is held by another run: process {holder.process.pid} on " in said
        assert "Stop that run, or give this one a directory of its own" in said
        assert "Traceback" not in said
        holder.kill()
        before = (log / contract.METRICS_FILE).read_bytes()
        again = second.start(0)
        until("the next one to train", lambda: b'"start": 2' in (log / contract.METRICS_FILE).read_bytes(), gang=second)
        assert "waiting at most" not in again.log.read_text(), "its process is gone, which can be seen on this machine"
        assert (log / contract.METRICS_FILE).read_bytes().startswith(before), "history was changed"
        again.process.send_signal(signal.SIGTERM)
        assert again.wait() == contract.ExitCode.PREEMPTED
    (lock,) = log.glob(".lock.*")
    assert json.loads(lock.read_text())["state"] == "released"
    starts = [json.loads(line) for line in (log / "starts.jsonl").read_text().splitlines()]
    assert len(starts) == 2, "the refused one has left no trace"


def test_two_runs_do_not_share_a_directory_of_checkpoints(tiny: Path, tmp_path: Path) -> None:
    shared = {"exp_manager__checkpoint_callback_params__dirpath": str(tmp_path / "shared")}
    one, two = tmp_path / "one", tmp_path / "two"
    with Gang(one, job(tiny, one, **shared), 1) as first, Gang(two, job(tiny, two, **shared), 1) as second:
        holder = first.start(0)
        until("the first to train", lambda: last_step(one / "log") > 1, gang=first)
        refused = second.start(0)
        assert refused.wait() == contract.ExitCode.CONFIG
        assert f"{tmp_path / 'shared'} is held by another run: process {holder.process.pid}" in refused.log.read_text()
