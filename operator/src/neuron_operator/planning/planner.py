"""plan(observed, options, now) -> Plan: the table of cases. Level-triggered: only what exists counts.

    being deleted                nothing: garbage collection does the rest
    over                         never started again; what still runs is ended, what has expired is deleted
    configuration refused        nothing is started; pods that run may end
    a decision is due            it is written down, and nothing else is done (`restarts.decisions`)
    suspended, or held           its pods are ended
    else                         missing pods are created, lost ones deleted (`objects.attempt`)

A plan either decides or acts, never both (write-ahead): attempt numbers, the ledger and the end of the job are saved
before anything is done under them. Making it twice from the same input changes nothing.
"""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from . import context as contexts
from .context import PlanContext
from .objects import attempt, cleanup, standby
from .observation.observation import Observed
from .observation.waiting import Wait
from .options import Options
from .plan import Plan
from .restarts import decisions
from .status import conditions
from .status.conditions import End, Facts
from .validation import validation
from .validation.validation import Refused


def plan(observed: Observed, options: Options, now: datetime) -> Plan:
    """Return what this pass is to do."""
    planned = _planned(observed, options, now)
    releases = cleanup.releases(observed, planned.draft)
    return replace(planned, releases=releases) if releases else planned


def _planned(observed: Observed, options: Options, now: datetime) -> Plan:
    job = observed.job
    if job.metadata.deletion_timestamp is not None:
        return Plan(job.status, Facts(0, None), is_final=True)
    if job.status.finished:
        return _over(observed, options, now)
    result = validation.validate(job, observed.config, options)
    if isinstance(result, Refused):
        return _refused(contexts.for_refused(observed, options, now, result))
    context = decisions.record_news(contexts.for_accepted(observed, options, now, result))
    if decision := decisions.decide(context):
        return _draft(context.with_status(decision.status), end=decision.end, requeue_after=0.0)
    if decisions.is_stopping(context.status):
        return _stopped(context)
    return _act(context)


def _over(observed: Observed, options: Options, now: datetime) -> Plan:
    """Never started again. What still runs is ended, containers beside the trainer too; the rest stays for its logs."""
    job = observed.job
    deletes, requeue_after = cleanup.cleanup(observed, options.wait_seconds, now)
    end = conditions.recorded_end(job.status)
    if end is None:  # Somebody else wrote the status.
        return Plan(job.status, Facts(0, None), is_final=True, deletes=deletes, requeue_after=requeue_after)
    facts = Facts(job.metadata.generation, None, nodes=len(job.status.pods), end=end)
    return Plan(job.status, facts, deletes=deletes, requeue_after=requeue_after)


def _refused(context: PlanContext) -> Plan:
    """Nothing is started. Pods that run already are left alone, they have what they need, and may end."""
    decision = decisions.decide_refused(context)
    if decision and decision.end is None:
        return _draft(context.with_status(decision.status), requeue_after=0.0)
    if decision is None and decisions.is_suspended(context.status):
        return _stopped(context)
    source_may_come = isinstance(context.validation, Refused) and context.validation.may_resolve
    times = (context.options.wait_seconds if source_may_come else None, decisions.seconds_until_deadline(context))
    return replace(
        _draft(context, end=decision.end if decision else None, requeue_after=_earliest(times)),
        deletes=attempt.standby_deletes(context),
        annotations=attempt.annotations(context),
    )


def _stopped(context: PlanContext) -> Plan:
    """The pods of a job that is suspended or held are ended; those that had ended stay for their logs."""
    active = context.active_pods
    if not active:
        context = context.with_status(context.status.model_copy(update={"pods": ()}))
    times = (context.options.wait_seconds if active else None, decisions.seconds_until_deadline(context))
    return replace(
        _draft(context, requeue_after=_earliest(times)),
        deletes=attempt.stop_deletes(context),
        annotations=attempt.annotations(context),
    )


def _act(context: PlanContext) -> Plan:
    """Create the pods that are missing, delete those that are lost or of another attempt; or say what is waited for."""
    missing, others = context.gang.missing, attempt.other_pods(context)
    wait, backoff = attempt.creation_wait(context), decisions.backoff_seconds(context)
    # A standby pod only sleeps: nothing waits for one on a node that no longer answers.
    may_create = not (any(not pod.is_standby for pod in others) or wait or backoff)
    if may_create and missing and context.status.start_time is None:
        return _start(context)
    creates = attempt.creates(context) if may_create else ()
    wait = wait or attempt.start_wait(context)
    times = (backoff if missing else None, attempt.seconds_until_due(context), *decisions.seconds_until_due(context))
    return replace(
        _draft(context, wait=wait, asks_scheduler=True),
        deletes=attempt.deletes(context),
        applies=attempt.applies(context) if context.gang.pods or creates else (),
        annotations=attempt.annotations(context),
        creates=creates,
        standbys=standby.creates(context),
        requeue_after=_next_look(context, times, expects_change=bool(others or wait or creates)),
    )


def _start(context: PlanContext) -> Plan:
    """Fix the configuration: that is saved before anything is made from it.

    The pods are counted already: one write less for every job, and wrong for as long as a request takes.
    """
    draft = _draft(
        context.with_status(context.status.model_copy(update={"start_time": context.now})), requeue_after=0.0
    )
    existing = draft.facts.existing + len(context.gang.missing)
    return replace(draft, facts=replace(draft.facts, existing=existing))


def _draft(
    context: PlanContext,
    *,
    wait: Wait | None = None,
    end: End | None = None,
    asks_scheduler: bool = False,
    requeue_after: float | None = None,
) -> Plan:
    facts = decisions.facts(context, wait=wait, end=end, asks_scheduler=asks_scheduler)
    status = context.status
    if context.gang.size:
        status = status.model_copy(update={"ready_nodes": facts.ready})
    return Plan(status, facts, requeue_after=requeue_after)


def _next_look(context: PlanContext, times: Iterable[float | None], *, expects_change: bool) -> float | None:
    """Return seconds; None where every change comes as an event. `times`: until something is due by the clock."""
    options, pods = context.options, context.gang.pods.values()
    poll = options.poll_seconds if any(pod.running for pod in pods) else None
    wait = options.wait_seconds if expects_change or any(pod.terminating for pod in pods) else None
    return _earliest((*times, poll, wait))


def _earliest(times: Iterable[float | None]) -> float | None:
    return min(filter(None, times), default=None)
