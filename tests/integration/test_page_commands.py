"""Blocks of the pages that are marked `run: cluster`, as somebody types them, on a real API server.

No kubelet runs here, so no pod does: statuses of the jobs that pages name are recorded ones (tests/data/sightings), and
logs are empty. Blocks of a page run in one shell; what the first pages install is there for the others.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from bounds import BOUND
from controlplane import toolchain
from controlplane.controlplane import ControlPlane
from page_blocks import ROOT, Block, all_blocks

from .world import manifest

MARK: Final = "run: cluster"
FIRST: Final = ("docs/tasks/install-with-helm.md", "docs/tasks/move-an-nxdt-file.md")
JOBS: Final = (("default", "quickstart"), ("team-a", "my-job"))
"""Jobs that pages name as if they had run for a while."""
NAMESPACES: Final = ("team-a", "team-b", "neuron-training-system")
SCHEDULERS: Final = [ROOT / "tests" / "data" / "schedulers" / name for name in ("kueue.yaml", "volcano.yaml")]
FILES: Final = ("examples", "crds", "helm", "tests")


def scripts() -> dict[str, list[Block]]:
    """The blocks by page, first pages first."""
    marked = [block for block in all_blocks() if block.mark == MARK]
    pages = dict.fromkeys([*FIRST, *(block.page for block in marked)])
    return {page: [block for block in marked if block.page == page] for page in pages}


@pytest.fixture(scope="module")
def shell(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Arguments of a subprocess that is somebody's shell: programs on the PATH, files of the repository beside it."""
    folder = tmp_path_factory.mktemp("pages")
    for name in FILES:
        (folder / name).symlink_to(ROOT / name)
    programs = folder / "bin"
    programs.mkdir()
    for name, path in toolchain.programs("kubectl", "helm").items():
        (programs / name).symlink_to(path)
    for name in ("kubectl-neuron", "python3"):
        (programs / name).symlink_to(Path(sys.executable).parent / name)
    (folder / "job.yaml").write_text(json.dumps(manifest("my-job")))
    control_plane.kubectl("create", "namespace", "team-a")
    for file in SCHEDULERS:
        control_plane.kubectl("apply", "-f", file)
    for namespace, name in JOBS:
        start(control_plane, namespace, name)
    yield {
        "cwd": folder,
        "env": {
            **os.environ,
            "PATH": f"{programs}:{os.environ['PATH']}",
            "HOME": str(folder),
            "KUBECONFIG": str(control_plane.kubeconfig),
            "REGISTRY": "registry.example",
        },
    }
    control_plane.kubectl("delete", "ntj", "--all", "--namespace", "default")
    for file in SCHEDULERS:
        control_plane.kubectl("delete", "-f", file)
    control_plane.kubectl("delete", "namespace", "--wait=false", "--ignore-not-found", *NAMESPACES)


def start(plane: ControlPlane, namespace: str, name: str) -> None:
    """A job that trains, as its recorded status says."""
    recorded = json.loads((ROOT / "tests" / "data" / "sightings" / "running.json").read_text())["job"]["status"]
    plane.kubectl("apply", "--namespace", namespace, "-f", "-", stdin=json.dumps(manifest(name)))
    body = json.loads(plane.kubectl("get", "ntj", name, "--namespace", namespace, "-o", "json"))
    plane.kubectl("replace", "--subresource=status", "-f", "-", stdin=json.dumps({**body, "status": recorded}))


@pytest.mark.parametrize("page", scripts())
def test_commands_of_a_page_work(page: str, shell: dict[str, Any]) -> None:
    script = "\n".join(["set -euo pipefail", *(block.text for block in scripts()[page])])
    done = subprocess.run(["bash", "-c", script], **shell, capture_output=True, text=True, check=False, timeout=BOUND)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
