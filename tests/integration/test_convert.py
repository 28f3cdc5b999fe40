"""What `kubectl neuron convert` makes of every real file is accepted by a real API server."""

from pathlib import Path

import pytest

from neuron_operator.cli.__main__ import main

from .world import ROOT, World

FILES = sorted((ROOT / "tests/data/configs").glob("*.yaml"))


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
async def test_the_job_is_accepted_and_stored_without_a_change(
    world: World, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["convert", "-f", str(file), "--name", file.stem.lower().replace("_", "-").replace(".", "-")]) == 0
    job = tmp_path / "job.yaml"
    job.write_text(capsys.readouterr().out)
    world.kubectl("create", "--save-config", "-f", str(job))
    assert world.kubectl("diff", "-f", str(job)) == ""
