"""The example of a data module of one's own, on two processes: a killed rank, and the numbers of an unbroken run."""

from pathlib import Path

import pytest

from .nodes import Gang, kill_worker, last_step, metrics, numbers, until
from .tiny import config, write_config

pytestmark = pytest.mark.distributed

EXAMPLES = Path(__file__).parents[2] / "examples"
STEPS = 14


def _config(tiny: Path, folder: Path) -> Path:
    folder.mkdir()
    values = config(
        tiny, folder / "log", trainer__num_nodes=1, trainer__max_steps=STEPS, data__stride=3,
        data__data_module="counting:Counting", data__train_dir=None,
        distributed_strategy__tensor_model_parallel_size=1, distributed_strategy__sequence_parallel=False,
        exp_manager__checkpoint_callback_params__every_n_train_steps=3,
    )  # fmt: skip
    return write_config(folder / "config.yaml", values)


def test_an_interrupted_run_is_the_unbroken_one(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(EXAMPLES))
    unbroken, killed = tmp_path / "unbroken", tmp_path / "killed"
    with Gang(unbroken, _config(tiny, unbroken), num_nodes=1) as gang:
        assert gang.start(0).wait() == 0, gang.logs()
    with Gang(killed, _config(tiny, killed), num_nodes=1) as gang:
        launcher = gang.start(0)
        until("a step after a checkpoint", lambda: last_step(killed / "log") >= 5 or None, gang=gang)
        kill_worker(launcher)
        assert launcher.wait() == 0, gang.logs()
        assert "training resumes at step" in gang.logs()
    assert [line["step"] for line in metrics(killed / "log")] == list(range(1, STEPS + 1))
    assert numbers(killed / "log") == numbers(unbroken / "log")
    assert metrics(killed / "log")[-1]["loss"] < metrics(killed / "log")[0]["loss"]
