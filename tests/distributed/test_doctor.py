"""The doctor uses the stand-in of a Neuron device as a worker would, within the rules of the device."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from neuron_trainer.doctor.operators import OPERATORS


def doctor(variables: Mapping[str, str], folder: Path, *arguments: str) -> dict[str, Any]:
    report = folder / "report.json"
    command = [sys.executable, "-m", "neuron_trainer", "doctor", "--accelerator", "neuron", "--processes", "2"]
    done = subprocess.run(
        [*command, "--report", str(report), *arguments],
        env=dict(variables), cwd=folder, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr  # Python, driver and devices are not there
    written: dict[str, Any] = json.loads(report.read_text())
    return {one["check"]: one for one in written["results"]}


def test_every_trial_succeeds_on_the_stand_in(neuron_device: dict[str, str], tmp_path: Path) -> None:
    found = doctor({**neuron_device, "NEURON_STANDIN_SEND": "0"}, tmp_path)
    trials = {
        name: found[name]["outcome"] for name in ("collective", "compile", "step", "fallback", "operators", *OPERATORS)
    }
    assert trials == dict.fromkeys(trials, "ok"), found
    assert "no send and receive" in found["collective"]["text"]
    assert found["torchneuron"]["outcome"] == "ok"
    assert found["devices"]["outcome"] == "FAILED"
