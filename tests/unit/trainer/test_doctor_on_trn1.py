"""What the doctor says of a node with Trn1, whose packages are PyTorch/XLA's."""

from dataclasses import replace

import pytest

from neuron_api import contract
from neuron_trainer.__main__ import main
from neuron_trainer.doctor import checkup, trials
from neuron_trainer.doctor.result import Outcome

from .test_doctor import WELL, lines, listing

OK, FAILED = Outcome.OK, Outcome.FAILED


WELL_ON_TRN1 = replace(
    WELL,
    accelerator="xla",
    python=(3, 11),
    packages={
        "torch": "2.9.1", "torch-xla": "2.9.0", "torch-neuronx": "2.9.0.2.13.0", "libneuronxla": "2.2.15",
        "neuronx-cc": "2.23.1", "neuronx-distributed": "0.17.0", "neuron-training-operator": "0.1.0",
    },
    variables={contract.ENV_NUM_NODES: "2", contract.ENV_PROCESSES_PER_NODE: "32"},
    neuron_ls=listing(nc_count=2, instance_type="trn1.32xlarge", logical_neuroncore_config=1),
)  # fmt: skip
"""A pod of two on whole trn1.32xlarge nodes, with SDK 2.29."""


def test_on_trn1_all_is_well_with_the_packages_of_pytorch_xla() -> None:
    assert {result.outcome for result in checkup.examine(WELL_ON_TRN1)} == {OK}
    assert lines(WELL_ON_TRN1, "torch-xla")[0].text == "2.9.0, libneuronxla 2.2.15"


@pytest.mark.parametrize(
    ("check", "package", "version", "words"),
    [
        ("torch-xla", "libneuronxla", None, "without it the CPU computes. Use the image of target nxd"),
        ("torch-xla", "torch-xla", None, "not installed"),
        ("torch-xla", "torch-xla", "2.8.1", "torch-xla 2.8.1 is not for PyTorch 2.9.1"),
        ("torchneuron", "torch-neuronx", "2.14.3", "Install torch-neuronx 2.9.*: a newer one is TorchNeuron"),
        ("compiler", "neuronx-distributed", None, "neuronx-distributed not installed"),
    ],
)
def test_what_is_not_well_on_trn1_is_said(check: str, package: str, version: str | None, words: str) -> None:
    changed = replace(WELL_ON_TRN1, packages={**WELL_ON_TRN1.packages, package: version})
    (line,) = lines(changed, check)
    assert line.outcome is FAILED and words in str(line)


def test_the_device_that_the_operator_hands_to_a_pod_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """On Trn1 a command without options was wrong use."""
    monkeypatch.setattr(trials, "run", lambda *_: pytest.fail("a device was used"))
    for device in ("neuron", "xla", "cuda"):
        monkeypatch.setenv(contract.ENV_ACCELERATOR, device)
        assert main(["doctor", "--no-trials"]) == 1
