"""What the losses of a gang are, once the failure table and the nodes have been asked; and pods that run on, though
their node is not to be trusted.

The table of exits (`failure`) says what Kubernetes knows; the failure table, what Neuron's texts and the nodes mean.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

from neuron_api.resource.job import NeuronTrainingJob
from neuron_api.resource.reasons import Reason
from neuron_api.resource.spec import NodePolicy
from neuron_api.resource.status import JobStatus, Restart, RestartScope
from neuron_operator.planning.failures import failure_table, signals
from neuron_operator.planning.failures.failure import PodFailure, Verdict
from neuron_operator.planning.failures.failure_table import FailureTable
from neuron_operator.planning.failures.gang import Gang
from neuron_operator.planning.failures.signals import Signal
from neuron_operator.planning.observation.observation import Observed, Pod

from . import exclusion, ledger

_VERDICTS = {
    failure_table.MinimumScope.PROCESS: Verdict.REPLACE,  # There are no processes left to restart.
    failure_table.MinimumScope.POD: Verdict.REPLACE,
    failure_table.MinimumScope.GANG: Verdict.GANG,
    failure_table.MinimumScope.STOP: Verdict.STOP,
}


def diagnose(gang: Gang, status: JobStatus, observed: Observed, table: FailureTable) -> Gang:
    """The gang with its losses as the table sees them, and those of pods that run on where they must not."""
    context = _Context(status, observed.job.spec.node_policy, gang.size)
    losses = [_with_signal(loss, observed, table, context) for loss in gang.losses]
    lost = {loss.index for loss in losses}
    return replace(gang, losses=(*losses, *_unhealthy_running_pods(gang, lost, observed, table, context)))


@dataclass(frozen=True, slots=True)
class _Context:
    status: JobStatus
    policy: NodePolicy
    size: int

    def counts(self, signal: Signal, node: str) -> bool:
        """Return whether a failure counts: one that would recur on the node is free only while the node can be
        avoided."""
        avoidable = exclusion.has_room(self.status, node, self.policy, self.size)
        return signal.counted or (signal.exclude and not avoidable)


def _with_signal(loss: PodFailure, observed: Observed, table: FailureTable, context: _Context) -> PodFailure:
    if loss.verdict is Verdict.STOP:
        return loss
    text_signal = signals.match_failure(table, loss.message, loss.exit_code, loss.pod_reason)
    signal = signals.strongest((text_signal, signals.match_node(table, observed.nodes.get(loss.node))))
    loss = replace(loss, neuron_code=signals.neuron_code(table, loss.message))
    if signal is None or not (loss.counted or signal.exclude):
        return loss  # What Kubernetes took needs no other reason.
    verdict = _VERDICTS[signal.restart_scope]
    if signal.restart_scope is failure_table.MinimumScope.PROCESS and loss.verdict is Verdict.GANG:
        verdict = Verdict.GANG
    counted = loss.counted and context.counts(signal, loss.node)
    return replace(loss, verdict=verdict, cause=signal.cause, counted=counted, signal=signal)


def _unhealthy_running_pods(
    gang: Gang, lost: set[int], observed: Observed, table: FailureTable, context: _Context
) -> Iterator[PodFailure]:
    """Pods whose processes were restarted in place after a failure that calls for more."""
    living = {pod.uid: pod for index, pod in gang.pods.items() if index not in lost and not pod.over}
    for entry in context.status.restarts:
        pod = living.get(entry.pod_uid)
        if (
            entry.restart_scope is not RestartScope.PROCESS
            or pod is None
            or pod.terminating
            or gang.records[pod.index].lost
        ):
            continue
        signal = signals.strongest((_recorded_signal(entry, table), _node_signal(entry, pod.node, observed, table)))
        if signal is None or signal.restart_scope is failure_table.MinimumScope.PROCESS:
            continue
        del living[entry.pod_uid]
        yield PodFailure(
            index=pod.index,
            verdict=_VERDICTS[signal.restart_scope],
            cause=signal.cause,
            counted=context.counts(signal, pod.node),
            pod=pod.name,
            uid=pod.uid,
            node=pod.node,
            exit_code=entry.exit_code,
            message="\n".join((*entry.log_tail, entry.message)),
            neuron_code=entry.neuron_code,
            signal=signal,
            rank=entry.rank,
            step=entry.step,
        )


def _recorded_signal(entry: Restart, table: FailureTable) -> Signal | None:
    """Return the signal by the rule of the line: a newer table does not judge old failures again."""
    rule = table.entry(entry.rule) if entry.rule else None
    return Signal(rule.name, rule.cause, rule.counted, rule.restart_scope, rule.exclude) if rule else None


def _node_signal(entry: Restart, node: str, observed: Observed, table: FailureTable) -> Signal | None:
    """Return the node's signal, where it proves a fault and no step has been finished since."""
    if entry.recovered_time is not None:
        return None
    signal = signals.match_node(table, observed.nodes.get(node))
    return signal if signal is not None and signal.exclude else None


def suspects(job: NeuronTrainingJob, own: Collection[Pod]) -> set[str]:
    """Nodes of pods that are not well, or are gone, or in which a process has failed since the last step; and slow
    ones that new pods avoid, whose host name is not known otherwise."""
    well = {pod.name for pod in own if pod.ready and not pod.terminating}
    names = {pod.node for pod in own if pod.name not in well}
    names |= {record.node for record in job.status.pods if record.name not in well}
    names |= {entry.node for entry in ledger.open_entries(job.status) if entry.attempt == job.status.attempt}
    names |= {entry.node for entry in job.status.excluded_nodes if entry.reason is Reason.STRAGGLER}
    return names - {""}
