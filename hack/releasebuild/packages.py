"""Wheel and source distribution; the CustomResourceDefinition beside them as a file of its own."""

from __future__ import annotations

import shutil
from pathlib import Path

from controlplane.errors import ClusterError
from controlplane.locations import REPOSITORY
from releasebuild import environment
from releasebuild.project import commit_time

_DEFINITION = REPOSITORY / "crds" / "neurontrainingjobs.neurontraining.dev.yaml"


def build(folder: Path) -> Path:
    """Build both into the folder; return the wheel."""
    epoch = str(commit_time())
    environment.run(environment.ensure() / "hatchling", "build", "-d", folder, SOURCE_DATE_EPOCH=epoch)
    wheels = sorted(folder.glob("*.whl"))
    if len(wheels) != 1:
        raise ClusterError(f"{folder} has {len(wheels)} wheels: remove those of other versions, then build again.")
    return wheels[0]


def definition(folder: Path) -> Path:
    """Copy the CustomResourceDefinition."""
    return Path(shutil.copy(_DEFINITION, folder / _DEFINITION.name))
