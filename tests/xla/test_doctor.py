"""`neuron-train doctor` with PyTorch/XLA: its trials are made on a lazy device, here the CPU's.

It does not prove anything of a NeuronCore, nor collectives between processes.
"""

import json
from pathlib import Path

from neuron_trainer.__main__ import main
from neuron_trainer.doctor.operators import OPERATORS


def test_trials_of_a_lazy_device_end_well(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    assert main(["doctor", "--accelerator", "xla", "--processes", "1", "--report", str(file)]) == 1
    written = json.loads(file.read_text())
    outcomes = {result["check"]: result["outcome"] for result in written["results"]}
    assert outcomes["devices"] == outcomes["driver"] == "FAILED", "there is none here"
    assert [outcomes[name] for name in ("collective", "compile", "step", "fallback")] == ["ok"] * 4
    assert [outcomes[name] for name in ("operators", *OPERATORS)] == ["ok"] * 7
    assert written["trials"]["collective"]["values"] == {"processes": 1, "send": False}
