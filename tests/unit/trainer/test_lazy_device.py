"""PyTorch/XLA's devices: the variables of a process, and that its device is one of those of all processes.

torch_xla is a module that enforces three of its rules: without a replication set there is one process, how many there
are is asked once, and an all-reduce of one process is a copy. It does not prove what the Neuron runtime does.
"""

import sys
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from neuron_trainer import accelerators
from neuron_trainer.accelerators import lazy
from neuron_trainer.errors import DeviceError

RANK, WORLD = 5, 8


@dataclass
class Runtime:
    """What torch_xla has of a process."""

    kind: str = "NEURON"
    processes: int = WORLD
    ordinal: int = RANK
    missing: int = 0
    """Processes whose part does not come to a sum."""
    replicated: list[Any] = field(default_factory=list)
    asked: int | None = None
    groups: list[list[list[int]]] = field(default_factory=list)

    def set_replication(self, own: Any, devices: list[Any]) -> None:
        """As `xm.set_replication`, which takes the devices of this process."""
        assert devices == [own]
        self.replicated = devices

    def world_size(self) -> int:
        """As `xr.world_size`."""
        if self.asked is None:
            self.asked = self.processes if self.replicated else 1
        return self.asked

    def all_reduce(self, _: str, values: torch.Tensor, groups: list[list[int]], *, pin_layout: bool) -> torch.Tensor:
        """As `xm.all_reduce`."""
        assert not pin_layout
        self.groups.append(groups)
        return values.clone() if self.world_size() == 1 else values * (self.processes - self.missing)


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Runtime:
    """The modules of it."""
    own = Runtime()
    package, core = ModuleType("torch_xla"), ModuleType("torch_xla.core")
    module, model = ModuleType("torch_xla.runtime"), ModuleType("torch_xla.core.xla_model")
    vars(package).update(device=lambda: torch.device("cpu"), runtime=module, core=core, __path__=[])
    vars(core).update(xla_model=model, __path__=[])
    vars(module).update(
        world_size=own.world_size, global_ordinal=lambda: own.ordinal, addressable_device_count=lambda: 1
    )
    vars(model).update(set_replication=own.set_replication, all_reduce=own.all_reduce, xla_device_hw=lambda _: own.kind)
    for each in (package, core, module, model):
        monkeypatch.setitem(sys.modules, each.__name__, each)
    monkeypatch.setenv("PJRT_DEVICE", "NEURON")
    return own


def test_the_first_thing_of_a_device_is_one_sum_over_all_processes(runtime: Runtime) -> None:
    assert lazy.join(torch.device("cpu"), RANK, WORLD) == ""
    assert runtime.groups == [[list(range(WORLD))]]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"kind": "CPU"}, "the device is a CPU, and PJRT_DEVICE says NEURON"),
        ({"processes": 1}, "the runtime has 1 processes, and the job 8"),
        ({"ordinal": 0}, "the runtime takes this process for number 0, and the job for rank 5"),
        ({"missing": 1}, "a sum of 1 over 8 processes is 7"),
        ({"asked": 1}, "the runtime has 1 processes, and the job 8"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_device_that_is_not_the_one_of_this_rank_is_told(
    changes: dict[str, Any], problem: str, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in changes.items():
        setattr(runtime, name, value)
    assert lazy.join(torch.device("cpu"), RANK, WORLD) == problem
    monkeypatch.setattr("torch.distributed.get_rank", lambda: RANK)
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: WORLD)
    monkeypatch.setattr(torch, "get_device_module", lambda _: lazy)
    monkeypatch.setattr(torch, "device", lambda _: SimpleNamespace(type="xla"))
    monkeypatch.setattr(torch, "ones", lambda *_, **__: SimpleNamespace(device=SimpleNamespace(type="xla")))
    monkeypatch.setattr(lazy, "join", lambda *_: problem)
    with pytest.raises(DeviceError, match=f"^xla: rank 5 of 8: {problem}. Check that each process has a core"):
        accelerators.open_device(accelerators.get("xla"))


def prepared(**given: str) -> dict[str, str]:
    """The variables of rank 5 of 8, on the second of two nodes of four."""
    ranks = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4", "MASTER_ADDR": "127.0.0.1"}
    environ = ranks | given
    lazy.prepare(environ)
    return {name: value for name, value in environ.items() if ranks.get(name) != value}


def test_the_runtime_knows_this_process_by_numbers_that_do_not_grow_with_the_cluster() -> None:
    assert prepared(NEURON_PJRT_PROCESSES_NUM_DEVICES="1,1", NEURON_RT_NUM_CORES="4") == {
        "PJRT_DEVICE": "NEURON",
        "XLA_USE_BF16": "0",
        "XLA_DOWNCAST_BF16": "0",
        "NEURON_PJRT_PROCESS_INDEX": "5",
        "NEURON_PJRT_WORLD_SIZE": "8",
        "PJRT_LOCAL_PROCESS_RANK": "1",
        "PJRT_LOCAL_PROCESS_COUNT": "4",
        "TORCHELASTIC_RUN_ID": "neuron-train",
        "NEURON_RT_ROOT_COMM_ID": "127.0.0.1:62182",
    }


def test_variables_that_make_bf16_of_masters_reach_no_process() -> None:
    made = prepared(XLA_USE_BF16="1", XLA_DOWNCAST_BF16="1")
    assert (made["XLA_USE_BF16"], made["XLA_DOWNCAST_BF16"]) == ("0", "0")


def test_the_cores_of_a_container_are_left_to_torch_xla() -> None:
    assert prepared(NEURON_RT_VISIBLE_CORES="4-7")["NEURON_RT_VISIBLE_CORES"] == "4-7"
    with pytest.raises(DeviceError, match=r"VISIBLE_CORES=4-6 has 3 cores, and this node has 4 processes"):
        prepared(NEURON_RT_VISIBLE_CORES="4-6")


def test_runtimes_meet_at_an_address_and_not_at_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"{'long-job' * 8}-0.{'long-job' * 8}.team.svc"
    known = [(10, 1, 6, "", ("fd00::7", 0, 0, 0)), (2, 1, 6, "", ("10.0.0.7", 0))]
    monkeypatch.setattr("socket.getaddrinfo", lambda host, *_, **__: known if host == name else [])
    assert prepared(MASTER_ADDR=name)["NEURON_RT_ROOT_COMM_ID"] == "10.0.0.7:62182"
    assert prepared(MASTER_ADDR=name, NEURON_RT_ROOT_COMM_ID="10.0.0.9:1")["NEURON_RT_ROOT_COMM_ID"] == "10.0.0.9:1"
    del known[1]
    assert lazy.root(name) == "[fd00::7]:62182"


def test_a_first_node_without_an_address_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any, **__: Any) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setattr("socket.getaddrinfo", unknown)
    with pytest.raises(DeviceError, match="the name of the first node, job-0, is not resolved: Name or service"):
        prepared(MASTER_ADDR="job-0")
