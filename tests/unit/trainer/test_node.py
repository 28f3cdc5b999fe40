"""A launcher knows its place from the contract's variables, or is alone."""

from pathlib import Path

import pytest

from neuron_api import contract
from neuron_api.loading import yaml_text
from neuron_api.loading.loader import load_text
from neuron_api.resource.spec import CompileMode, FromScratch
from neuron_trainer.errors import InputError
from neuron_trainer.launcher.node import NodeIdentity, size_overrides
from neuron_trainer.run_directory.resume import EarlierRuns

from .conftest import alone, typed

POD = {
    contract.ENV_JOB_NAME: "job",
    contract.ENV_JOB_UID: "uid-1",
    contract.ENV_ATTEMPT: "2",
    contract.ENV_NODE_RANK: "3",
    contract.ENV_NUM_NODES: "4",
    contract.ENV_PROCESSES_PER_NODE: "32",
    contract.ENV_RENDEZVOUS_ENDPOINT: "job-0000.job.ns.svc:41000",
    contract.ENV_MAX_PROCESS_RESTARTS: "5",
    contract.ENV_REJOIN_TIMEOUT: "60",
    contract.ENV_ACCELERATOR: "neuron",
    contract.ENV_SEEN_STEP: "41",
    contract.ENV_SEEN_CHECKPOINT: "40",
    contract.ENV_FROM_SCRATCH: "Never",
}


def test_a_pod_knows_its_place(tiny: Path, tmp_path: Path) -> None:
    node = NodeIdentity.from_environment(typed(alone(tiny, tmp_path, trainer__num_nodes=4)), POD)
    assert node == NodeIdentity(
        rank=3, num_nodes=4, processes=32, host="job-0000.job.ns.svc", port=41000, is_in_pod=True,
        progress_port=contract.PROGRESS_PORT, max_process_restarts=5, rejoin_timeout=60, accelerator="neuron",
        job_uid="uid-1", attempt=2, earlier=EarlierRuns(41, True, FromScratch.NEVER), compile_mode=CompileMode.NEVER,
    )  # fmt: skip
    assert not node.is_host
    assert node.address is None


def test_a_pod_reads_the_devices_as_the_operator_did(tiny: Path, tmp_path: Path) -> None:
    """A total in the file, divided by the operator: the hash of the operator's configuration is the pod's."""
    text = yaml_text.dump(alone(tiny, tmp_path, trainer__devices=4))
    assert load_text(text, size_overrides({contract.ENV_PROCESSES_PER_NODE: "2"})).hash == (
        load_text(text.replace("devices: 4", "devices: 2")).hash
    )
    assert size_overrides({}) == ()


def test_without_variables_a_launcher_is_alone(tiny: Path, tmp_path: Path) -> None:
    node = NodeIdentity.from_environment(typed(alone(tiny, tmp_path, trainer__devices=3)), {})
    assert (node.rank, node.num_nodes, node.processes, node.accelerator) == (0, 1, 3, "cpu")
    assert node.is_host
    assert node.earlier == EarlierRuns(0, False, FromScratch.BEFORE_FIRST_CHECKPOINT)
    assert not node.is_in_pod
    assert node.progress_port == 0, "any free port"


def test_several_nodes_that_are_not_described_are_refused(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"trainer\.num_nodes: 2 nodes need NTJ_NODE_RANK"):
        NodeIdentity.from_environment(typed(alone(tiny, tmp_path, trainer__num_nodes=2)), {})


def test_addresses_on_loopback_sort_as_the_ranks_do(tiny: Path, tmp_path: Path) -> None:
    config = typed(alone(tiny, tmp_path))
    one_machine = {contract.ENV_RENDEZVOUS_ENDPOINT: "127.0.0.1:41000", contract.ENV_NUM_NODES: "9"}
    addresses = [
        NodeIdentity.from_environment(config, {**one_machine, contract.ENV_NODE_RANK: str(rank)}).address or ""
        for rank in range(9)
    ]
    assert addresses[0] == "127.0.0.1"
    assert addresses == sorted(addresses)
    assert len(set(addresses)) == 9
