"""What `kubectl neuron convert` makes of every real file, and of ours in other shapes, a real API server accepts."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from neuron_api.loading.loader import load_object, load_text
from neuron_operator.cli.__main__ import main

from .world import ROOT, World

FILES = [*sorted((ROOT / "tests/data/configs").glob("*.yaml")), *sorted((ROOT / "tests/data/shapes").glob("*.yaml"))]
HASHES = {file: load_text(file.read_text()).hash for file in FILES}


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
async def test_the_job_is_accepted_and_stored_without_a_change(
    world: World, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = file.stem.lower().replace("_", "-").replace(".", "-")
    assert main(["convert", "--force", "-f", str(file), "--name", name]) == 0
    job = tmp_path / "job.yaml"
    job.write_text(capsys.readouterr().out)
    world.kubectl("create", "--save-config", "-f", str(job))
    assert world.kubectl("diff", "-f", str(job)) == ""
    assert stored(world) == yaml.safe_load(job.read_text())["spec"]["config"]


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
async def test_what_kubectl_apply_stores_is_the_same_configuration_as_the_text(
    world: World, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Though it leaves out what is null."""
    assert main(["convert", "--force", "-f", str(file), "--name", "applied"]) == 0
    job = tmp_path / "job.yaml"
    job.write_text(capsys.readouterr().out)
    assert "created" in world.kubectl("apply", "-f", str(job))
    assert world.kubectl("diff", "-f", str(job)) == ""
    assert "unchanged" in world.kubectl("apply", "-f", str(job))
    assert load_object(stored(world)).hash == HASHES[file] != ""


def stored(world: World) -> dict[str, Any]:
    """The configuration of the only job."""
    (job,) = json.loads(world.kubectl("get", "neurontrainingjobs", "-o", "json"))["items"]
    config: dict[str, Any] = job["spec"]["config"]
    return config
