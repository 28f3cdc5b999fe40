"""Which node this launcher is, from the variables of the contract; without them, a single node."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from neuron_api import contract, memory_copies
from neuron_api.config import TrainingConfig
from neuron_api.findings.finding import error
from neuron_api.loading import device_count
from neuron_api.platform import node_counts
from neuron_api.resource.accelerator import Accelerator
from neuron_api.resource.spec import CompileMode, FromScratch, MemoryCheckpoints
from neuron_trainer.errors import InputError
from neuron_trainer.run_directory.resume import EarlierRuns

from . import device_environment

_MAX_RESTARTS: Final = 3
_REJOIN_TIMEOUT: Final = 600
_ACCELERATORS: Final = tuple(device_environment.CONSTANT)
_LOOPBACK: Final = "127."
_NO_EARLIER_RUNS: Final = EarlierRuns()


def size_overrides(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the overrides that a pod loads its configuration with: `trainer.devices` as the operator read it (A1), and
    the nodes of this attempt, which may be others than the file's (`spec.elasticPolicy`)."""
    devices, nodes = environ.get(contract.ENV_PROCESSES_PER_NODE), environ.get(contract.ENV_NUM_NODES)
    return (
        *((device_count.as_override(int(devices)),) if devices else ()),
        *((node_counts.as_override(int(nodes)),) if nodes else ()),
    )


@dataclass(frozen=True, slots=True)
class NodeIdentity:
    """Which node this launcher is, and its limits."""

    rank: int
    num_nodes: int
    processes: int
    host: str
    """Where node 0's store is."""
    port: int
    is_in_pod: bool
    progress_port: int
    max_process_restarts: int
    rejoin_timeout: int
    """Seconds to wait for a lost peer."""
    accelerator: str
    job_uid: str
    attempt: int
    compile_mode: CompileMode = CompileMode.AUTO
    memory: MemoryCheckpoints | None = None
    """Copies of the state in shared memory; None: none are made."""
    earlier: EarlierRuns = _NO_EARLIER_RUNS
    """What the operator has observed of earlier runs; nothing without one."""

    @property
    def accelerator_key(self) -> str:
        """Return where the user has said what the accelerator is."""
        return _accelerator_key(self.is_in_pod)

    @property
    def is_host(self) -> bool:
        """Return whether the rendezvous store is on this node."""
        return self.rank == 0

    @property
    def address(self) -> str | None:
        """Return how other nodes reach this one; None: its own fully qualified name. On loopback each node takes an
        address of its own (all of 127.0.0.0/8 is local)."""
        return f"{_LOOPBACK}0.{self.rank >> 8}.{self.rank % 256 + 1}" if self.host.startswith(_LOOPBACK) else None

    @classmethod
    def from_environment(cls, config: TrainingConfig, environ: Mapping[str, str] = os.environ) -> "NodeIdentity":
        """Read the contract's variables; raises `InputError` when several nodes are configured and none described."""
        num_nodes = int(environ.get(contract.ENV_NUM_NODES, "1"))
        if config.trainer.num_nodes > 1 and contract.ENV_RENDEZVOUS_ENDPOINT not in environ:
            message = (
                f"{config.trainer.num_nodes} nodes need {contract.ENV_NODE_RANK}, {contract.ENV_NUM_NODES} and "
                f"{contract.ENV_RENDEZVOUS_ENDPOINT} in the environment of each, as the operator sets them."
            )
            remedy = "On one machine add trainer.num_nodes=1, and trainer.devices=1 for one process."
            raise InputError([error("trainer.num_nodes", message, remedy)])
        host, _, port = environ.get(contract.ENV_RENDEZVOUS_ENDPOINT, "127.0.0.1:0").rpartition(":")
        in_pod = contract.ENV_JOB_NAME in environ
        return cls(
            rank=int(environ.get(contract.ENV_NODE_RANK, "0")),
            num_nodes=num_nodes,
            processes=int(environ.get(contract.ENV_PROCESSES_PER_NODE, str(config.trainer.devices))),
            host=host,
            port=int(port),
            is_in_pod=in_pod,
            progress_port=int(environ.get(contract.ENV_PROGRESS_PORT, str(contract.PROGRESS_PORT if in_pod else 0))),
            max_process_restarts=int(environ.get(contract.ENV_MAX_PROCESS_RESTARTS, str(_MAX_RESTARTS))),
            rejoin_timeout=int(environ.get(contract.ENV_REJOIN_TIMEOUT, str(_REJOIN_TIMEOUT))),
            accelerator=_accelerator(environ.get(contract.ENV_ACCELERATOR, "cpu"), _accelerator_key(in_pod)),
            job_uid=environ.get(contract.ENV_JOB_UID, ""),
            attempt=int(environ.get(contract.ENV_ATTEMPT, "0")),
            compile_mode=_compile_mode(environ, in_pod=in_pod),
            memory=_memory(environ, config),
            earlier=_earlier_runs(environ),
        )


def _compile_mode(environ: Mapping[str, str], *, in_pod: bool) -> CompileMode:
    """Return whether graphs are compiled before training; an operator that says nothing does not know the phase, and
    would take it for a load that hangs."""
    name = environ.get(contract.ENV_COMPILE_MODE, CompileMode.NEVER if in_pod else CompileMode.AUTO)
    if name not in list(CompileMode):
        remedy = f"Use one of {', '.join(CompileMode)}."
        raise InputError([error("spec.compilePolicy.mode", f"there is no mode {name!r}.", remedy)])
    return CompileMode(name)


def _memory(environ: Mapping[str, str], config: TrainingConfig) -> MemoryCheckpoints | None:
    """Return which copies are made in shared memory; raises `InputError` for a run that cannot have them."""
    if (every := environ.get(contract.ENV_MEMORY_EVERY_STEPS)) is None:
        return None
    try:
        chosen = MemoryCheckpoints(every_steps=int(every), replicas=int(environ.get(contract.ENV_MEMORY_REPLICAS, "0")))
    except ValueError:
        message = f"everySteps is {every!r}, and replicas {environ.get(contract.ENV_MEMORY_REPLICAS, '0')!r}."
        raise InputError([error(memory_copies.KEY, message, "Use a whole number from 1, and 0 or 1.")]) from None
    if findings := memory_copies.check(chosen, config):
        raise InputError(findings)
    return chosen


def _accelerator_key(in_pod: bool) -> str:
    return "spec.platform.accelerator" if in_pod else "--accelerator"


def _accelerator(name: str, key: str) -> str:
    if name not in _ACCELERATORS:
        near = Accelerator.meant_by(name)
        hint = f"Did you mean {near.device}? " if near else ""
        remedy = f"{hint}Use one of {', '.join(_ACCELERATORS)}."
        raise InputError([error(key, f"there is no accelerator {name!r}.", remedy)])
    return name


def _earlier_runs(environ: Mapping[str, str]) -> EarlierRuns:
    return EarlierRuns(
        step=int(environ.get(contract.ENV_SEEN_STEP, "0")),
        saved=contract.ENV_SEEN_CHECKPOINT in environ,
        from_scratch=FromScratch(environ.get(contract.ENV_FROM_SCRATCH, _NO_EARLIER_RUNS.from_scratch.value)),
    )
