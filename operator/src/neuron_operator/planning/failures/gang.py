"""The pods of the current attempt by index, beside what the status remembers of them.

The status is what shows a lost pod after an operator restart: a record without its pod is a loss, unless it is marked
as lost already.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from neuron_api.resource.status import JobStatus, PodStatus
from neuron_operator.planning.observation.observation import Observed, Pod

from . import failure
from .failure import PodFailure


@dataclass(frozen=True, slots=True)
class Gang:
    """All places of one attempt."""

    size: int
    attempt: int
    pods: Mapping[int, Pod]
    """What is there."""
    records: Mapping[int, PodStatus]
    """What the status says, brought up to date with what is there."""
    losses: tuple[PodFailure, ...]
    """Not in the ledger yet."""

    @property
    def missing(self) -> tuple[int, ...]:
        """Places to be filled: they have no pod, and no loss that the ledger does not have yet."""
        unrecorded = {loss.index for loss in self.losses}
        return tuple(
            index
            for index in range(self.size)
            if index not in self.pods and index not in unrecorded and not self.succeeded(index)
        )

    @property
    def over(self) -> bool:
        """Return whether every pod has succeeded."""
        return all(self.succeeded(index) for index in range(self.size))

    @property
    def sorted_records(self) -> tuple[PodStatus, ...]:
        """The records as the status holds them."""
        return tuple(record for _, record in sorted(self.records.items()))

    @property
    def ready(self) -> int:
        """Pods that are up."""
        return sum(1 for pod in self.pods.values() if pod.ready and not pod.terminating)

    @property
    def pod_zero_uid(self) -> str:
        """UID of the pod that hosts the rendezvous, unless it is lost; its report stands after it has succeeded."""
        record = self.records.get(0)
        return record.uid if record and not record.lost else ""

    def succeeded(self, index: int) -> bool:
        """Return whether the pod at this place has ended with 0, be it there or not."""
        record = self.records.get(index)
        return record is not None and record.succeeded


def assemble(observed: Observed, status: JobStatus, size: int) -> Gang:
    """The gang of the attempt that the status names."""
    own = (pod for pod in observed.pods if pod.attempt == status.attempt and not pod.is_standby)
    pods = {pod.index: pod for pod in own if pod.index < size}
    before = records_by_index(status)
    records: dict[int, PodStatus] = {}
    losses: list[PodFailure] = []
    for index in range(size):
        record, loss = _place(index, before.get(index), pods.get(index), observed.lost_nodes)
        if record is not None:
            records[index] = record
        if loss is not None:
            losses.append(loss)
    return Gang(size, status.attempt, pods, records, tuple(losses))


def records_by_index(status: JobStatus) -> dict[int, PodStatus]:
    """Records by index, which is the last part of a pod's name."""
    return {int(record.name.rpartition("-")[2]): record for record in status.pods}


def _place(
    index: int, record: PodStatus | None, pod: Pod | None, lost_nodes: frozenset[str]
) -> tuple[PodStatus | None, PodFailure | None]:
    if pod is None:
        if record is None or record.lost or record.succeeded:
            return record, None
        gone = record.node in lost_nodes
        return record, failure.vanished(index, record.name, record.uid, record.node, node_lost=gone)
    if record is not None and record.uid == pod.uid and (record.lost or record.succeeded):
        return record, None
    if record is not None and record.uid != pod.uid and not (record.lost or record.succeeded):
        gone = record.node in lost_nodes
        return record, failure.vanished(index, record.name, record.uid, record.node, node_lost=gone)
    current = PodStatus(name=pod.name, uid=pod.uid, node=pod.node, ready=pod.ready, succeeded=pod.succeeded)
    return current, failure.classify_exit(pod, node_lost=pod.node in lost_nodes)
