"""Local runs of neuron_client with the real trainer: suspended and resumed, killed, refused; the example notebook."""

import ast
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bounds import BOUND
from distributed import tiny
from neuron_client import FindingsError, JobExistsError, JobFailedError, JobNotFoundError, NeuronTrainingClient

ROOT = Path(__file__).parents[2]


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[NeuronTrainingClient]:
    (tmp_path / "model.json").write_text(json.dumps(tiny.MODEL))
    tiny.write_rows(tmp_path / "data", rows=64)
    monkeypatch.chdir(tmp_path)
    with NeuronTrainingClient(backend="local", folder=tmp_path / "jobs") as made:
        yield made
        for job in made.list():
            made.delete(job)


def configuration(folder: Path, steps: int) -> dict[str, Any]:
    """One process; relative paths begin where the client was called, and exp_dir is not used."""
    config = tiny.config(Path(), folder, **{
        "trainer__devices": 1, "trainer__num_nodes": 1, "trainer__max_steps": steps,
        "distributed_strategy__tensor_model_parallel_size": 1, "distributed_strategy__sequence_parallel": False,
    })  # fmt: skip
    del config["exp_manager"]["explicit_log_dir"]
    return config | {"exp_manager": {**config["exp_manager"], "exp_dir": "elsewhere", "resume_if_exists": False}}


def test_a_local_run_is_suspended_resumed_by_another_process_and_deleted(
    client: NeuronTrainingClient, tmp_path: Path
) -> None:
    job = client.train(configuration(tmp_path, steps=1000))
    assert (job.name, job.phase, job.max_steps) == ("tiny", "Starting", 1000)
    with pytest.raises(JobExistsError, match="there is a job tiny"):
        client.train(configuration(tmp_path, steps=1000))
    follower = client.metrics(job, follow=True)
    assert [next(follower).step for _ in range(3)] == [1, 2, 3]
    assert client.get(job).phase == "Running"
    assert client.suspend(job).phase in ("Suspending", "Suspended")
    job = client.wait(job, "Suspended", timeout=BOUND)
    assert job.step >= 3
    assert job.checkpoint_step == job.step
    assert sum(1 for _ in follower) == job.step - 3, "the last steps, then the end"

    other = NeuronTrainingClient(backend="local", folder=tmp_path / "jobs")  # as after a restart of the notebook
    record = tmp_path / "jobs" / "tiny" / "job.json"
    values = json.loads(record.read_text())
    last = job.step + 3
    record.write_text(json.dumps({**values, "overrides": [*values["overrides"], f"trainer.max_steps={last}"]}))
    other.resume("tiny")
    done = other.wait("tiny", timeout=BOUND)
    assert (done.phase, done.step, done.restarts, done.steps_lost) == ("Succeeded", last, 1, 0)
    assert [row.step for row in other.metrics(done)] == list(range(1, last + 1))
    assert [event.reason for event in other.events(done)] == ["Started", "Suspending", "Started", "Ended"]
    assert any(f"training resumes at step {job.step}" in line for line in other.logs(done))
    assert next(iter(other.logs(done, tail=1))).endswith(f"training has ended at step {last} of {last}")
    assert not (tmp_path / "elsewhere").exists()
    client.delete(done)
    assert list((tmp_path / "jobs").iterdir()) == []
    with pytest.raises(JobNotFoundError, match="there is no job tiny"):
        client.get("tiny")


def test_a_run_that_was_killed_says_so_and_can_be_resumed(client: NeuronTrainingClient, tmp_path: Path) -> None:
    job = client.train(configuration(tmp_path, steps=1000), name="killed")
    job = client.wait(job, lambda job: job.checkpoint_step is not None, timeout=BOUND)
    launcher = json.loads((tmp_path / "jobs" / "killed" / "launcher.json").read_text())["pid"]
    os.kill(launcher, signal.SIGKILL)
    with pytest.raises(JobFailedError, match="killed is Failed: ended by SIGKILL; resume continues from its newest"):
        client.wait(job, timeout=BOUND)
    client.resume(job)
    client.delete(job)  # while it starts
    assert client.list() == ()


def test_what_the_trainer_refuses_is_the_message_of_the_job(client: NeuronTrainingClient, tmp_path: Path) -> None:
    config = configuration(tmp_path, steps=5)
    with pytest.raises(FindingsError, match=r"seed: .*NTJ-1401"):
        client.train({key: value for key, value in config.items() if key != "seed"})
    assert client.list() == ()
    config["data"]["train_dir"] = "no-such-folder"
    job = client.train(config)
    with pytest.raises(JobFailedError, match=r"tiny is Failed: exit code 2: .*no-such-folder"):
        client.wait(job, timeout=BOUND)


def cells() -> list[str]:
    notebook = json.loads((ROOT / "examples" / "notebook.ipynb").read_text())
    assert all(cell.get("outputs", []) == [] for cell in notebook["cells"]), "outputs are not kept in the repository"
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]


def run_cell(source: str, names: dict[str, Any]) -> Any:
    """Execute a cell as a notebook does, and return the value of its last line where that is an expression."""
    tree = ast.parse(source)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), names)
    return eval(compile(ast.Expression(last.value), "cell", "eval"), names) if isinstance(last, ast.Expr) else None


def test_the_example_notebook_runs_from_the_first_cell_to_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("README.md", "docs", "examples"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    shown = [value for source in cells() if (value := run_cell(source, names)) is not None]
    html = [value._repr_html_() for value in shown if hasattr(value, "_repr_html_")]
    assert any("<progress" in text for text in html)
    assert names["client"].list() == ()
