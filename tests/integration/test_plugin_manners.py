"""`kubectl neuron submit`, `list`, `top`, `describe`, `-o`, exit codes and completion, on a real API server."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from neuron_api import contract
from neuron_operator.cli.__main__ import main
from neuron_operator.kube import gateway as api

from .world import JOB, World, manifest

Say = Callable[..., str]

ROOT = Path(__file__).parents[2]
QUALIFIED = f"{contract.SINGULAR}.{contract.GROUP}"


@pytest.fixture
def say(world: World, capsys: pytest.CaptureFixture[str]) -> Say:
    """What a command prints; the exit code is wanted to be 0, or `code`."""

    def run(*arguments: str, code: int = 0) -> str:
        flags = ("--kubeconfig", str(world.plane.kubeconfig), "-n", world.namespace)
        assert main([*arguments, *flags]) == code
        printed = capsys.readouterr()
        return printed.err if code in (1, 2) else printed.out

    return run


@pytest.fixture
def nxdt_file(tmp_path: Path) -> str:
    """An NxDT file of the quickstart's configuration."""
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(manifest()["spec"]["config"]))
    return str(path)


CPU = ("--accelerator", "cpu")


async def test_an_nxdt_file_is_submitted_once_and_again_without_a_change(
    world: World, say: Say, nxdt_file: str
) -> None:
    flags = (*CPU, "--name", JOB, "--nodes", "2", "--storage", "training:/training", "--no-follow")
    assert say("submit", nxdt_file, *flags).startswith(f"{QUALIFIED}/{JOB} created\n")
    body = await world.cluster.get(api.JOB, world.namespace, JOB)
    assert body["spec"]["config"]["trainer"]["num_nodes"] == 2
    assert body["spec"]["storage"] == [{"claimName": "training", "mountPath": "/training"}]
    assert body["metadata"]["managedFields"][0]["manager"] == "kubectl-neuron"
    await world.reconcile()
    assert (await world.job()).status.phase == "Starting"
    assert say("submit", nxdt_file, *flags).startswith(f"{QUALIFIED}/{JOB} unchanged\n")
    other = say("submit", nxdt_file, *flags, "trainer.max_steps=7", code=2)
    assert f"there is another job {JOB} in namespace {world.namespace} (Starting): give --name" in other


async def test_a_dry_run_creates_nothing(world: World, say: Say, nxdt_file: str) -> None:
    flags = (*CPU, "--name", JOB)
    printed = yaml.safe_load(say("submit", nxdt_file, *flags, "--dry-run"))
    assert printed["metadata"]["name"] == JOB
    assert (
        say("submit", nxdt_file, *flags, "--dry-run=server") == f"{QUALIFIED}/{JOB} created (dry run of the server)\n"
    )
    assert say("submit", nxdt_file, *flags, "--dry-run=client", "-o", "name") == f"{QUALIFIED}/{JOB}\n"
    assert await world.cluster.find(api.JOB, world.namespace, JOB) is None


async def test_a_job_with_its_config_map_is_submitted_as_it_is(world: World, say: Say) -> None:
    file = str(ROOT / "examples" / "quickstart.yaml")
    assert json.loads(say("submit", file, "-o", "json"))["metadata"]["uid"]
    maps = api.Kind("v1", "configmaps")
    assert await world.cluster.find(maps, world.namespace, "quickstart-model") is not None
    assert say("submit", file).startswith(f"{QUALIFIED}/quickstart unchanged\n")
    assert "another job" in say("submit", file, "--nodes", "4", code=2)


async def test_what_would_be_rejected_is_not_submitted(world: World, say: Say, nxdt_file: str) -> None:
    printed = say("submit", nxdt_file, *CPU, "--name", JOB, "trainer.max_steps=none", code=2)
    assert "trainer.max_steps" in printed
    assert "the job was not submitted" in printed
    assert await world.cluster.find(api.JOB, world.namespace, JOB) is None
    assert "Not_legal" in say("submit", nxdt_file, *CPU, "--name", "Not_legal", code=2)


async def test_jobs_are_listed_ranked_described_and_given_as_data(world: World, say: Say) -> None:
    assert say("list") == f"there is no {contract.KIND} in namespace {world.namespace}\n"
    world.apply(manifest("waits"))
    await world.start()
    listed = say("list").splitlines()
    assert [line.split()[0] for line in listed] == ["NAME", JOB, "waits"]
    assert "20/240 (8 %)" in listed[1]
    assert say("get", "-o", "name") == f"{QUALIFIED}/{JOB}\n{QUALIFIED}/waits\n"
    ranked = [job["name"] for job in json.loads(say("top", "-o", "json"))["items"]]
    assert sorted(ranked) == [JOB, "waits"]
    assert world.namespace in say("top", "-A")
    assert say("top", f"{QUALIFIED}/{JOB}").splitlines()[1].startswith(f"{JOB}  Running")
    assert "Conditions:\n  " in say("describe", JOB)
    assert json.loads(say("status", JOB, "-o", "json"))["step"] == 20
    assert yaml.safe_load(say("why", JOB, "-o", "yaml"))["reason"] == "StepsAdvancing"
    assert json.loads(say("checkpoints", JOB, "-o", "json"))["checkpoints"][0]["step"] == 20
    assert json.loads(say("logs", JOB, "-o", "json")) == {"failure": None, "lines": []}
    assert say("status", JOB, "-o", "name") == f"{QUALIFIED}/{JOB}\n"
    assert json.loads(say("suspend", JOB, "-o", "json"))["spec"]["suspend"] is True


async def test_a_followed_job_that_fails_ends_with_3(world: World, say: Say) -> None:
    await world.start()
    await world.end(f"{JOB}-0-0", 2, "data.train_dir: there is no directory /training/data.")
    await world.reconcile()
    assert (await world.job()).status.phase == "Failed"
    say("status", JOB)
    assert "Failed" in say("status", JOB, "--watch", code=3)
    assert "Failed" in say("describe", JOB, "--watch", code=3)
    say("why", JOB, "-w", code=3)
    assert "not-there" in say("status", "not-there", "-w", code=1)


def test_kubectl_completes_the_plugin(world: World, tmp_path: Path) -> None:
    """kubectl itself asks `kubectl_complete-neuron`, as its scripts for bash, zsh and fish do."""
    world.apply(manifest())
    for program, module in (("kubectl-neuron", "__main__"), ("kubectl_complete-neuron", "completion")):
        script = tmp_path / program
        script.write_text(
            f"#!{sys.executable}\nimport sys\nfrom neuron_operator.cli.{module} import main\nsys.exit(main())\n"
        )
        script.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "KUBECONFIG": str(world.plane.kubeconfig)}

    def complete(*words: str) -> list[str]:
        command = [str(world.plane._kubectl), "__complete", "neuron", *words]
        done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
        return done.stdout.splitlines()

    assert complete("sta") == ["status", ":4"]
    assert complete("why", "-n", world.namespace, "ti") == ["tiny", ":4"]
    assert complete("status", "tiny", "--wa") == ["--watch", ":4"]
