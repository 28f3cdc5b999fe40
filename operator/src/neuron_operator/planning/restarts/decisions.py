"""Which decision is due: the end of the job, a restart, a suspension, another number of nodes, or other nodes. The
first case that applies decides.

A decision is only written into the status; the next plan acts on what was saved. The cases are in order: what the pods
say comes before the clock, the clock before the spec, and a hang is only a hang where nothing else explains it.
"""

from collections.abc import Callable
from dataclasses import replace

from neuron_api.resource.status import JobStatus
from neuron_operator.planning.context import PlanContext
from neuron_operator.planning.failures import hang
from neuron_operator.planning.observation.waiting import Wait
from neuron_operator.planning.scheduling import registry
from neuron_operator.planning.status import compilation, progress, spikes, stragglers
from neuron_operator.planning.status.conditions import End, Facts

from . import budget, checkpoint_gate, deadlines, diagnosis, exclusion, ladder, ledger, resizing, suspension
from .ladder import RestartDecision
from .suspension import SuspensionFacts

# ---- what is new since the last plan ---------------------------------------------------------------------------------


def record_news(context: PlanContext) -> PlanContext:
    """Return the context with what is new: pods, progress, process failures, recoveries, losses, excluded nodes."""
    status = _with_progress(context)
    gang = diagnosis.diagnose(context.gang, status, context.observed, context.options.failures)
    context = replace(context, status=status, gang=gang)
    return context.with_status(_with_exclusions(context, context.job.status, status))


def _with_progress(context: PlanContext) -> JobStatus:
    gang = context.gang
    status = context.status.model_copy(update={"pods": gang.sorted_records})
    reports = progress.trusted(context.observed, gang)
    report = reports.get(0)
    status = ledger.record_process_failures(status, reports, gang.pods, context.options.failures, context.now)
    max_steps = context.accepted.config.trainer.max_steps
    status = progress.update(status, report, gang.pods[0].uid if report else "", max_steps if max_steps > 0 else None)
    status = spikes.update(stragglers.update(status, report, gang.records), report)
    return ledger.close_recovered(status, report)


def _with_exclusions(context: PlanContext, before: JobStatus, after: JobStatus) -> JobStatus:
    """Return `after` with the nodes that new pods avoid, by the lines of the ledger that `before` does not have."""
    observed = context.observed
    policy, size = context.job.spec.node_policy, context.gang.size
    return exclusion.update(before, after, context.options.failures, observed.nodes, policy, size, context.now)


# ---- the cases -------------------------------------------------------------------------------------------------------


def decide(context: PlanContext) -> RestartDecision | None:
    """Return the first decision that is due; None: the job goes on as it is."""
    cases = (_by_pods, _by_deadline, _by_suspend, resizing.decide, _by_hang, _by_exclusion, _by_attempt)
    decision = _first(context, *cases)
    if decision is None:
        return None
    return replace(decision, status=_with_exclusions(context, context.status, decision.status))


def decide_refused(context: PlanContext) -> RestartDecision | None:
    """Return the decision about a job whose configuration is refused; its pods may end, nothing is restarted."""
    return _first(context, _by_completion, _by_deadline, _by_suspend)


Case = Callable[[PlanContext], RestartDecision | None]


def _first(context: PlanContext, *cases: Case) -> RestartDecision | None:
    return next((decision for case in cases if (decision := case(context)) is not None), None)


def _by_completion(context: PlanContext) -> RestartDecision | None:
    is_complete = context.gang.size and context.gang.over
    return RestartDecision(context.status, ladder.COMPLETED) if is_complete else None


def _by_pods(context: PlanContext) -> RestartDecision | None:
    """Decide by the pods; those that were told to stop cannot fail by that."""
    status, policy = context.status, context.job.spec.restart_policy
    if suspension.is_stopping(status):
        return ladder.decide_end(context.gang, status)
    if status.checkpoint_gate:
        released = checkpoint_gate.released(status, policy)
        return RestartDecision(released) if released else None
    return ladder.decide_restart(context.gang, status, policy, context.accepted.config, context.now)


def _by_deadline(context: PlanContext) -> RestartDecision | None:
    end = deadlines.exceeded(_deadlines(context), context.now)
    return RestartDecision(context.status, end) if end else None


def _by_suspend(context: PlanContext) -> RestartDecision | None:
    return suspension.decide(context.job.spec, context.status, context.now, _suspension_facts(context))


def _by_hang(context: PlanContext) -> RestartDecision | None:
    status, gang, spec = context.status, context.gang, context.job.spec
    if status.suspension is not None or status.checkpoint_gate is not None:
        return None
    if len(gang.pods) < gang.size or any(pod.terminating for pod in gang.pods.values()):
        return None  # They wait for a pod that is coming.
    report = progress.trusted(context.observed, gang).get(0)
    description = hang.detect_hang(report, status.progress, spec.hang_policy)
    if not description:
        return None
    return ladder.restart_hung_gang(description, status, spec, context.accepted.config, context.now)


def _by_exclusion(context: PlanContext) -> RestartDecision | None:
    if suspension.is_stopping(context.status):
        return None
    status = exclusion.mark_stale_pods(context.status, context.gang, context.now)
    return RestartDecision(status) if status else None


def _by_attempt(context: PlanContext) -> RestartDecision | None:
    """The attempt that the pods' labels name is saved before anything is done in it."""
    is_new = context.status.attempt != context.job.status.attempt
    return RestartDecision(context.status) if is_new else None


# ---- what the rest of a plan asks ------------------------------------------------------------------------------------


def is_suspended(status: JobStatus) -> bool:
    """Return whether the job was stopped by spec.suspend."""
    return suspension.is_stopping(status)


def is_stopping(status: JobStatus) -> bool:
    """Return whether the pods of the job are to go, or are gone: it is suspended, or its checkpoint gate is closed."""
    return suspension.is_stopping(status) or status.checkpoint_gate is not None


def backoff_seconds(context: PlanContext) -> float:
    """Return the seconds until pods may be created; 0: now."""
    return budget.backoff_seconds(context.status, context.now)


def seconds_until_deadline(context: PlanContext) -> float | None:
    """Return the seconds until the next deadline; None: there is none."""
    return deadlines.seconds_until_next(_deadlines(context), context.now)


def seconds_until_due(context: PlanContext) -> tuple[float | None, ...]:
    """Return the seconds until each thing that the clock alone brings: a stop, a deadline, the end of an exclusion, a
    change of the number of nodes."""
    return (
        suspension.seconds_until_stop(context.job.spec, context.status, context.now),
        seconds_until_deadline(context),
        exclusion.seconds_until_next(context.status, context.gang, context.now),
        resizing.seconds_until_due(context),
    )


def facts(
    context: PlanContext, *, wait: Wait | None = None, end: End | None = None, asks_scheduler: bool = False
) -> Facts:
    """Return what phase and conditions are made from; `asks_scheduler`: whether pods of the gang may wait for it."""
    job, status, gang = context.job, context.status, context.gang
    is_same_attempt = status.attempt == gang.attempt
    admission = context.admission if asks_scheduler or not registry.adapter_for(job) else None
    return Facts(
        generation=job.metadata.generation,
        config=context.validation,
        nodes=gang.size,
        existing=len(gang.pods) if is_same_attempt else 0,
        ready=gang.ready if is_same_attempt else 0,
        wait=wait,
        stepping=context.is_stepping,
        compiling=compilation.sentence(phase) if (phase := context.compilation) else "",
        restart=ledger.last_open(status),
        end=end,
        gate=checkpoint_gate.wait(status),
        pause=suspension.pause(job.spec, status, _suspension_facts(context)),
        admission=admission,
    )


def _suspension_facts(context: PlanContext) -> SuspensionFacts:
    return SuspensionFacts(context.config, stepping=context.is_stepping, active=bool(context.active_pods))


def _deadlines(context: PlanContext) -> tuple[deadlines.Deadline, ...]:
    spec, status, gang = context.job.spec, context.status, context.gang
    return deadlines.active_deadlines(
        spec, status, gang, context.admission, stepping=context.is_stepping, phase=context.compilation
    )
