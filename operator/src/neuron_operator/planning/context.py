"""What the functions of one plan look at: what was observed, and what has been worked out from it so far."""

from dataclasses import dataclass, replace
from datetime import datetime

from neuron_api.config import TrainingConfig
from neuron_api.resource.job import NeuronTrainingJob
from neuron_api.resource.status import CompilationStatus, JobStatus, TopologyStatus

from .failures import gang as gangs
from .failures.gang import Gang
from .observation.observation import Observed, Pod
from .options import Options
from .scheduling import admission
from .scheduling.adapter import Admission
from .status import compilation, node_count, progress
from .validation.validation import Accepted, Refused


@dataclass(frozen=True, slots=True)
class PlanContext:
    """One job at one moment. A later step gets a context with a newer status or gang; nothing is changed in place."""

    observed: Observed
    options: Options
    now: datetime
    validation: Accepted | Refused
    status: JobStatus
    """The job's status, with what this plan has added so far."""
    gang: Gang

    @property
    def job(self) -> NeuronTrainingJob:
        """The job as it was read; its `status` is the status before this plan."""
        return self.observed.job

    @property
    def accepted(self) -> Accepted:
        """The validation of a job whose configuration is accepted; only asked for in those cases."""
        assert isinstance(self.validation, Accepted)
        return self.validation

    @property
    def config(self) -> TrainingConfig | None:
        """The configuration; None where it is refused."""
        return self.validation.config if isinstance(self.validation, Accepted) else None

    @property
    def admission(self) -> Admission | None:
        """The scheduler's answer about the attempt; None while no pod of it lives."""
        return admission.decide_admission(self.observed, self.gang, self.now)

    @property
    def active_pods(self) -> list[Pod]:
        """Pods that still hold something: containers beside the trainer do, too."""
        return active_pods(self.observed)

    @property
    def is_stepping(self) -> bool:
        """Return whether the pods that exist now have finished a step."""
        return bool(self.gang.pods) and progress.is_stepping(self.status, self.gang.pod_zero_uid)

    @property
    def compilation(self) -> CompilationStatus | None:
        """The compile phase that the pods are in; None: they are in none."""
        return compilation.running(self.status, self.gang.pod_zero_uid) if self.gang.pods else None

    def with_status(self, status: JobStatus) -> "PlanContext":
        """Return the context with another status."""
        return replace(self, status=status)


def active_pods(observed: Observed) -> list[Pod]:
    """Return the pods that still hold something: containers beside the trainer do, too."""
    return [pod for pod in observed.pods if pod.occupied or not pod.over]


def for_accepted(observed: Observed, options: Options, now: datetime, validation: Accepted) -> PlanContext:
    """Return the context of a job that may run: its hash, shape and attempt are in the status."""
    attempt = max((observed.job.status.attempt, *(pod.attempt for pod in observed.pods)))
    nodes = node_count.of_attempt(observed, validation, attempt)
    validation = validation.with_nodes(nodes, observed.job.spec)
    status = _with_identity(observed, validation, attempt)
    gang = gangs.assemble(observed, status, nodes)
    return PlanContext(observed, options, now, validation, status, gang)


def for_refused(observed: Observed, options: Options, now: datetime, validation: Refused) -> PlanContext:
    """Return the context of a job whose configuration is refused: pods that run already are still followed."""
    status = observed.job.status
    gang = gangs.assemble(observed, status, status.topology.nodes if status.topology else 0)
    if gang.size:
        status = status.model_copy(update={"pods": gang.sorted_records})
    return PlanContext(observed, options, now, validation, status, gang)


def _with_identity(observed: Observed, accepted: Accepted, attempt: int) -> JobStatus:
    """A status that was lost (restored from a backup) is found again by the attempts in the pods' labels."""
    before, shape, devices = observed.job.status, accepted.topology, accepted.devices
    topology = TopologyStatus(
        nodes=shape.num_nodes,
        processes_per_node=shape.processes_per_node,
        world_size=shape.world_size,
        tensor_parallel=shape.tensor_parallel,
        data_parallel=shape.data_parallel,
        micro_batches=shape.micro_batches,
        neuron_devices_per_node=devices.neuron,
        efa_per_node=devices.efa,
    )
    elastic = node_count.status(observed.job, accepted, shape.num_nodes)
    update = {"config_hash": accepted.hash, "topology": topology, "elastic": elastic, "attempt": attempt}
    if attempt != before.attempt:
        update["pods"] = ()
    return before.model_copy(update=update)
