"""Bills of materials (CycloneDX): the packages of each image from its lock, and what the dashboard's page brings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from controlplane.locations import REPOSITORY
from releasebuild import environment

LOCKS = {
    "neuron-operator": REPOSITORY / "requirements" / "operator.lock",
    "neuron-trainer": REPOSITORY / "trainer-image" / "requirements" / "cpu.lock",
    "kubectl-neuron": REPOSITORY / "requirements" / "operator.lock",
}
_PAGE = REPOSITORY / "dashboard" / "package-lock.json"


def build(folder: Path, version: str) -> list[Path]:
    """Write one bill for each image, and one for the plugin."""
    bills = {lock: _bill(lock) for lock in dict.fromkeys(LOCKS.values())}
    paths = []
    for name, lock in LOCKS.items():
        path = folder / f"{name}_{version}.cdx.json"
        path.write_text(json.dumps(bills[lock], indent=2) + "\n")
        paths.append(path)
    return paths


def _bill(lock: Path) -> dict[str, Any]:
    command = ["requirements", lock, "--pyproject", REPOSITORY / "pyproject.toml", "--output-reproducible"]
    text = environment.run(environment.ensure() / "cyclonedx-py", *command, "--output-format", "JSON")
    bill: dict[str, Any] = json.loads(text)
    bill["components"] += page_components()
    return bill


def page_components() -> list[dict[str, Any]]:
    """Return the packages from npm that are part of the dashboard's page; tools of its tests are none of them."""
    packages = json.loads(_PAGE.read_text())["packages"]
    named = {path.rpartition("node_modules/")[2]: entry for path, entry in packages.items() if path}
    return [
        {
            "type": "library",
            "bom-ref": f"npm:{name}@{entry['version']}",
            "name": name,
            "version": entry["version"],
            "purl": f"pkg:npm/{name.replace('@', '%40')}@{entry['version']}",
        }
        for name, entry in sorted(named.items())
        if not entry.get("dev")
    ]
