"""The operator and its definition as they were at a commit, out of the repository's history."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from controlplane.errors import CommandFailed
from controlplane.shell import wait_until

from .world import JOB, ROOT, World

BEFORE_THE_RENAMES = "eccd7a768827a26cb10cbec1ded5e201272a3d36"
"""The commit before status fields were renamed (`rung` is `restartScope`, docs/upgrade.md); words were open already."""


@dataclass(frozen=True, slots=True)
class Release:
    """A checkout."""

    root: Path

    @property
    def definition(self) -> Path:
        return self.root / "crds" / "neurontrainingjobs.neurontraining.dev.yaml"

    @property
    def chart(self) -> Path:
        return self.root / "helm" / "neuron-training-operator"

    @property
    def variables(self) -> dict[str, str]:
        """With them `python -m neuron_operator` is this release's."""
        return {"PYTHONPATH": f"{self.root / 'operator' / 'src'}:{self.root / 'crds' / 'src'}"}


TODAY = Release(ROOT)


def checkout(commit: str, folder: Path) -> Release:
    """Return the commit's operator, definition and chart; skips the test in a clone without history."""
    if subprocess.run(["git", "-C", ROOT, "cat-file", "-e", commit], capture_output=True, check=False).returncode:
        pytest.skip(f"the repository has no commit {commit[:7]}: fetch its history")
    archive = ["git", "-C", ROOT, "archive", commit, "crds", "operator", "helm"]
    with subprocess.Popen(archive, stdout=subprocess.PIPE) as source:
        subprocess.run(["tar", "-x", "-C", folder], stdin=source.stdout, check=True)
    for package in ("crds/src/neuron_api", "operator/src/neuron_operator"):
        # Without it, today's package would be found, wherever it is on the path.
        (folder / package / "__init__.py").touch()
    return Release(folder)


def serve(world: World, release: Release, job: str = JOB) -> None:
    """Apply a definition; a moment after it was written the API server takes it into use. Needs a job to ask with."""
    world.plane.kubectl("apply", "-f", release.definition)
    wait_until("the definition to be served", lambda: _takes_numbers(world, job) is not (release is TODAY), seconds=120)


def _takes_numbers(world: World, job: str) -> bool:
    """Return whether the goodput is a number, as it was; today it is a decimal string."""
    probe = ("patch", "ntj", job, "--subresource=status", "--type=merge", "--dry-run=server")
    try:
        world.kubectl(*probe, "-p", '{"status": {"goodput": 0.5}}')
    except CommandFailed:
        return False
    return True
