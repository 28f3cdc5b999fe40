"""Whole runs on the stand-in of a Neuron device: from the launcher to the end, killed, taken up, and split anew.

What a step does there, for every split, is `make test-device`; here are the trainer's own paths around it.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from neuron_api import contract

from . import devices
from .nodes import Gang, kill_worker, numbers, until, workers
from .ranks import train
from .tiny import config, write_config

pytestmark = pytest.mark.distributed

STEPS, EVERY = 12, 2
EQUAL: Final = 1e-5


def job(tiny: Path, log: Path, world: int, **changes: Any) -> dict[str, Any]:
    """A run that saves beside training."""
    return config(
        tiny, log, trainer__devices=world, trainer__num_nodes=1, trainer__max_steps=STEPS,
        distributed_strategy={"zero1": True}, exp_manager__async_checkpointing=True,
        exp_manager__checkpoint_callback_params__save_top_k=-1,
        exp_manager__checkpoint_callback_params__every_n_train_steps=EVERY, **changes,
    )  # fmt: skip


def losses(log: Path) -> dict[int, float]:
    return {step: values[0] for step, values in numbers(log).items()}


def saved(log: Path, step: int) -> Path:
    return next((log / contract.CHECKPOINTS_DIR).glob(f"*step={step}-*"))


@pytest.fixture(scope="module")
def on_cpu(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The log directory of the unbroken run of one process on the CPU."""
    log = tmp_path_factory.mktemp("cpu") / "log"
    train(1, [job(tiny, log, 1)])
    assert len(numbers(log)) == STEPS
    return log


def test_a_run_goes_on_with_another_split_and_on_another_device(tiny: Path, tmp_path: Path, on_cpu: Path) -> None:
    neuron = devices.standin()
    eager = {"model__compile": "eager"}  # graphs are a matter of test_device.py
    two, up, down, back = (tmp_path / name for name in ("two", "one-to-two", "two-to-one", "device-to-cpu"))
    train(2, [job(tiny, two, 2, **eager), job(tiny, up, 2, **eager)], [None, saved(on_cpu, 4)], neuron)
    train(1, [job(tiny, down, 1, data__num_workers=1, **eager)], [saved(two, 4)], neuron)
    train(2, [job(tiny, back, 2)], [saved(two, 4)])
    whole = losses(on_cpu)
    assert losses(two) == pytest.approx(whole, rel=EQUAL)
    for log in (up, down, back):
        assert losses(log) == pytest.approx({step: whole[step] for step in range(5, STEPS + 1)}, rel=EQUAL), log.name


def maps(pid: int) -> str:
    """The files that a process has mapped."""
    return Path(f"/proc/{pid}/maps").read_text()


def forkserver_of(pid: int) -> int:
    """The parent of a worker."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_a_launcher_waits_for_busy_cores_and_survives_a_kill_and_a_crash_in_the_teardown(
    tiny: Path, tmp_path: Path, on_cpu: Path, neuron_device: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (stale := tmp_path / "stale").touch()
    own = {
        "NEURON_STANDIN_STALE": str(stale),
        "NEURON_STANDIN_NODE": str(tmp_path / "node"),
        "NEURON_STANDIN_TEARDOWN": "crash",
        "NEURON_STANDIN_LOST_PEER": "abort",
        "NEURON_RT_VISIBLE_CORES": "4-5",
        contract.ENV_ACCELERATOR: "neuron",
    }
    for name, value in {**neuron_device, **own}.items():
        monkeypatch.setenv(name, value)
    log = tmp_path / "log"
    values = job(tiny, log, 2)
    with Gang(tmp_path, write_config(tmp_path / "config.yaml", values), 1) as gang:
        launcher = gang.start(0)
        until("the cores to be found busy", lambda: "a device is not free yet" in launcher.log.read_text(), gang=gang)
        stale.unlink()
        until(
            "a checkpoint",
            lambda: any(log.glob(f"{contract.CHECKPOINTS_DIR}/*/{contract.CHECKPOINT_MARKER}")),
            gang=gang,
        )
        ranks = workers(launcher)
        assert all("torch_neuronx" in maps(pid) for pid in ranks)
        assert "torch_neuronx" not in maps(forkserver_of(ranks[0])), "a process that forks has no runtime"
        assert "torch_neuronx" not in maps(launcher.process.pid)
        kill_worker(launcher)
        assert launcher.wait() == contract.ExitCode.SUCCESS, gang.logs()
    said = launcher.log.read_text()
    assert losses(log) == pytest.approx(losses(on_cpu), rel=EQUAL)
    assert "rank 1 failed" in said, "and rank 0, which was aborted for it, is not blamed"
    assert "ended by SIGKILL" in said
    assert "training resumes at step" in said
    assert "ended by SIGSEGV after its work was done" in said
    assert "Traceback" not in said
    starts = [json.loads(line) for line in (log / "starts.jsonl").read_text().splitlines()]
    assert len(starts) == 2, "the attempts on busy cores were none"
    assert {file.name for file in (tmp_path / "node").iterdir()} == {"core4", "core5"}
