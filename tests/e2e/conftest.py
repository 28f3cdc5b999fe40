"""Trials on the real local cluster: kubelet, containers, trainer. Only where asked for (`make test-faults`)."""

import json
import os
from pathlib import Path

import pytest
from rich.console import Console

from controlplane.locations import fingerprint
from trials.cluster_fixture import Ground, prepare
from trials.job import TrialJob

Numbers = dict[int, tuple[float, ...]]

if not os.environ.get("FAULTS_ON_CLUSTER"):
    collect_ignore_glob = ["test_*.py"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Pods take their time."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(1800))


@pytest.fixture(scope="session")
def ground() -> Ground:
    """The cluster stays up afterwards, as after the demo."""
    return prepare(Console(highlight=False, soft_wrap=True))


@pytest.fixture(scope="session")
def unbroken(ground: Ground) -> Numbers:
    """The numbers of a run that nobody disturbs; kept on the claim for the same image and configuration."""
    job = TrialJob(ground, "trial-unbroken")
    text = json.dumps([ground.trainer_image, job.manifest()], sort_keys=True)
    kept = ground.storage / f"unbroken-{fingerprint(text)}.json"
    if not kept.exists():
        with job:
            assert job.wait_end() == "Succeeded", job.why()
            assert job.restarts() == []
            found = job.numbers()
        assert list(found) == list(range(1, job.steps + 1))
        kept.write_text(json.dumps(list(found.items())))
    return {step: tuple(row) for step, row in json.loads(kept.read_text())}
