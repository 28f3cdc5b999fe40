"""plan(observed, options, now) -> Plan: the readable table of cases. Level-triggered: only what is there counts.

A pass either decides or acts, never both (write-ahead): attempt numbers, the ledger and the end of the job are saved
before anything is done under them. Running it twice on the same input changes nothing.
"""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import Final

from neuron_api.resource.job import NeuronTrainingJob
from neuron_api.resource.reasons import ConditionType, Reason
from neuron_api.resource.status import JobStatus, Phase, PodStatus, TopologyStatus

from .failures import gang as gangs
from .failures import hang
from .failures.gang import Gang
from .objects import children, desired, expiry, groups, release
from .observation import waiting
from .observation.observation import Observed, Pod
from .options import Options
from .plan import Create, Delete, Plan, PlanOutcome
from .restarts import budget, checkpoint_gate, deadlines, diagnosis, exclusion, ladder, ledger, suspension
from .restarts.suspension import SuspendContext
from .scheduling import admission, default_scheduler
from .scheduling import registry as schedulers
from .status import conditions, progress
from .status.conditions import End, Facts
from .validation import validation
from .validation.validation import Accepted, Refused

HUNG_GRACE_SECONDS: Final = 10
"""For pods of a gang that hangs, in place of the grace to save: a process inside a collective never gets to its end."""


def plan(observed: Observed, options: Options, now: datetime) -> Plan:
    """What this pass is to do."""
    planned = _planned(observed, options, now)
    released = release.releases(observed, planned.draft)
    return replace(planned, releases=released) if released else planned


def _planned(observed: Observed, options: Options, now: datetime) -> Plan:
    job = observed.job
    if job.metadata.deletion_timestamp is not None:
        return Plan(job.status, Facts(0, None), is_final=True)  # Garbage collection does the rest.
    if job.status.finished:
        return _over(observed, options, now)
    gate = validation.validate(job, observed.config, options)
    if isinstance(gate, Refused):
        return _refused(observed, gate, options, now)
    status = _with_identity(job, gate, observed)
    gang = gangs.assemble(observed, status, gate.topology.num_nodes)
    status = _with_progress(status, observed, gang, gate, options, now)
    gang = diagnosis.diagnose(gang, status, observed, options.failures)
    status = _with_node_exclusions(job.status, status, observed, gang, options, now)
    if decision := _decided(status, gang, observed, gate, now):
        # Only written down; the next pass acts on what was saved.
        told = _with_node_exclusions(status, decision.status, observed, gang, options, now)
        return _draft(told, gang, observed, gate, end=decision.end, requeue_after=0.0)
    if suspension.is_stopping(status) or status.checkpoint_gate:
        return _stopped(status, gang, observed, gate, options, now)
    return _act(status, gang, observed, gate, options, now)


def finalize_status(plan: Plan, outcome: PlanOutcome, now: datetime) -> JobStatus:
    """The status to write, now that it is known what came of the plan."""
    if plan.is_final:
        return plan.draft
    wait = waiting.for_rejection(outcome.rejections) or plan.facts.wait
    existing = plan.facts.existing + len(outcome.created)
    facts = replace(plan.facts, wait=wait, existing=existing)
    created = {
        create.index: PodStatus(name=create.name, uid=outcome.created[create.index])
        for create in plan.creates
        if create.index in outcome.created
    }
    records = gangs.records_by_index(plan.draft) | created
    first = plan.draft.start_time or (now if existing else None)
    phase, end = conditions.phase(facts), plan.draft.completion_time or (now if facts.end else None)
    return progress.finalize(plan.draft, phase, end).model_copy(
        update={
            "observed_generation": facts.generation,
            "phase": phase,
            "conditions": conditions.conditions(facts, plan.draft.conditions, now),
            "pods": tuple(record for _, record in sorted(records.items())),
            "start_time": first,
            "completion_time": end,
            "ready_nodes": None if end else plan.draft.ready_nodes,
        }
    )


# ---- the cases ---------------------------------------------------------------------------------------------------


def _over(observed: Observed, options: Options, now: datetime) -> Plan:
    """Never started again. What still runs is ended, containers beside the trainer too; the rest stays for its logs."""
    job, active = observed.job, _active(observed)
    deletes = (
        *(Delete(pod.name, pod.uid) for pod in active if not pod.terminating),
        *groups.deletes(observed),
    )
    look = expiry.seconds_left(job, now)
    if look == 0.0:
        deletes, look = (deletes, options.wait_seconds) if active else (expiry.deletes(observed), None)
    ended = next((c for c in job.status.conditions if c.type is _end_type(job.status.phase)), None)
    if ended is None:  # Somebody else wrote the status.
        return Plan(job.status, Facts(0, None), is_final=True, deletes=deletes, requeue_after=look)
    end = End(ended.reason, ended.message)
    facts = Facts(job.metadata.generation, None, nodes=len(job.status.pods), end=end)
    return Plan(job.status, facts, deletes=deletes, requeue_after=look)


def _end_type(phase: Phase | str) -> ConditionType:
    return ConditionType.SUCCEEDED if phase is Phase.SUCCEEDED else ConditionType.FAILED


def _refused(observed: Observed, gate: Refused, options: Options, now: datetime) -> Plan:
    """Nothing is started. Pods that run already are left alone, they have what they need, and may end."""
    job = observed.job
    by_itself = gate.reason is Reason.CONFIG_MAP_NOT_FOUND
    gang = gangs.assemble(observed, job.status, job.status.topology.nodes if job.status.topology else 0)
    end = ladder.COMPLETED if gang.size and gang.over else None
    status = job.status.model_copy(update={"pods": gang.sorted_records}) if gang.size else job.status
    about = _situation(status, gang, observed, gate)
    due = _deadlines(status, gang, observed, about, now)
    end = end or deadlines.exceeded(due, now)
    if end is None and (decision := suspension.decide(job.spec, status, now, about)):
        return _draft(decision.status, gang, observed, gate, end=decision.end, requeue_after=0.0)
    if end is None and suspension.is_stopping(status):
        return _stopped(status, gang, observed, gate, options, now)
    looks = (options.wait_seconds if by_itself else None, deadlines.seconds_until_next(due, now))
    return _draft(status, gang, observed, gate, end=end, requeue_after=min(filter(None, looks), default=None))


def _with_identity(job: NeuronTrainingJob, gate: Accepted, observed: Observed) -> JobStatus:
    """Hash, shape and attempt. A status that was lost (restored from a backup) is told by the pods' labels."""
    topology = TopologyStatus(
        nodes=gate.topology.num_nodes,
        processes_per_node=gate.topology.processes_per_node,
        world_size=gate.topology.world_size,
        tensor_parallel=gate.topology.tensor_parallel,
        data_parallel=gate.topology.data_parallel,
        micro_batches=gate.topology.micro_batches,
        neuron_devices_per_node=gate.devices.neuron,
        efa_per_node=gate.devices.efa,
    )
    attempt = max((job.status.attempt, *(pod.attempt for pod in observed.pods)))
    update = {"config_hash": gate.hash, "topology": topology, "attempt": attempt}
    if attempt != job.status.attempt:
        update["pods"] = ()
    return job.status.model_copy(update=update)


def _with_node_exclusions(
    before: JobStatus, after: JobStatus, observed: Observed, gang: Gang, options: Options, now: datetime
) -> JobStatus:
    """Nodes that new pods avoid, by what has been told in between."""
    policy = observed.job.spec.node_policy
    return exclusion.update(before, after, options.failures, observed.nodes, policy, gang.size, now)


def _with_progress(
    status: JobStatus, observed: Observed, gang: Gang, gate: Accepted, options: Options, now: datetime
) -> JobStatus:
    """What is there, and what the trainer reports: process failures, recoveries, numbers."""
    status = status.model_copy(update={"pods": gang.sorted_records})
    reports = progress.trusted(observed, gang)
    report = reports.get(0)
    status = ledger.record_process_failures(status, reports, gang.pods, options.failures, now)
    status = progress.update(status, report, gang.pods[0].uid if report else "", _max_steps(gate))
    return ledger.close_recovered(status, report)


def _decided(
    status: JobStatus, gang: Gang, observed: Observed, gate: Accepted, now: datetime
) -> ladder.RestartDecision | None:
    """The first decision that is due. What pods do that were told to go is no failure of theirs."""
    job, about = observed.job, _situation(status, gang, observed, gate)
    if suspension.is_stopping(status):
        found = ladder.decide_end(gang, status)
    elif status.checkpoint_gate:  # Its pods were told to go.
        again = checkpoint_gate.released(status, job.spec.restart_policy)
        found = ladder.RestartDecision(again) if again else None
    else:
        found = ladder.decide_restart(gang, status, job.spec.restart_policy, gate.config, now)
    if found is None and (late := deadlines.exceeded(_deadlines(status, gang, observed, about, now), now)):
        found = ladder.RestartDecision(status, late)
    found = found or suspension.decide(job.spec, status, now, about)
    if (
        found is None
        and status.suspension is None
        and status.checkpoint_gate is None
        and (told := _hang(status, gang, observed))
    ):
        found = ladder.restart_hung_gang(told, status, job.spec, gate.config, now)
    if found is None and not suspension.is_stopping(status) and (new := exclusion.mark_stale_pods(status, gang, now)):
        found = ladder.RestartDecision(new)
    return found or (ladder.RestartDecision(status) if status.attempt != job.status.attempt else None)


def _hang(status: JobStatus, gang: Gang, observed: Observed) -> str | None:
    if len(gang.pods) < gang.size or any(pod.terminating for pod in gang.pods.values()):
        return None  # They wait for a pod that is coming.
    return hang.detect_hang(progress.trusted(observed, gang).get(0), status.progress, observed.job.spec.hang_policy)


def _stopped(
    status: JobStatus, gang: Gang, observed: Observed, gate: Accepted | Refused, options: Options, now: datetime
) -> Plan:
    """The pods of a job that is suspended or held are ended; those that had ended stay for their logs."""
    active = _active(observed)
    if not active:
        status = status.model_copy(update={"pods": ()})
    lost = observed.lost_nodes
    going = [pod for pod in active if pod.node in lost or not pod.terminating]
    due = _deadlines(status, gang, observed, _situation(status, gang, observed, gate), now)
    looks = (options.wait_seconds if active else None, deadlines.seconds_until_next(due, now))
    draft = _draft(status, gang, observed, gate, requeue_after=min(filter(None, looks), default=None))
    deletes = tuple(Delete(pod.name, pod.uid, force=pod.node in lost) for pod in going)
    return replace(draft, deletes=deletes if active else groups.deletes(observed))


def _act(status: JobStatus, gang: Gang, observed: Observed, gate: Accepted, options: Options, now: datetime) -> Plan:
    job, missing = observed.job, gang.missing
    others = [pod for pod in observed.pods if gang.pods.get(pod.index) is not pod]
    left = waiting.for_earlier_job(job, (*observed.foreign_pods, *children.leftover_names(observed)))
    wait = waiting.for_rejection(children.conflicting_names(observed))
    if missing:  # Pods that are there do without.
        wait = (
            waiting.for_claims(job, observed.missing_claims)
            or left
            or admission.creation_blocker(observed, options)
            or wait
        )
    pause = budget.backoff_seconds(status, now)
    may_create = not (others or wait or pause)
    avoid = exclusion.hostnames(status)
    if may_create and missing and status.start_time is None:
        # From here on the configuration is fixed: saved before anything is made from it. That the pods are there is
        # said already: one write less for every job, and wrong for as long as a request takes.
        draft = _draft(status.model_copy(update={"start_time": now}), gang, observed, gate, requeue_after=0.0)
        return replace(draft, facts=replace(draft.facts, existing=draft.facts.existing + len(missing)))
    bodies = (Create(i, desired.pod(job, gate, gang.attempt, i, avoid)) for i in missing)
    creates = tuple(bodies) if may_create else ()
    pods, told = gang.pods.values(), admission.decide_admission(observed, gang, now)
    wait = wait or waiting.for_nodes(pods, observed.nodes) or (told.wait if told else None)
    wait = wait or waiting.for_pods(job, pods)
    draft = _draft(status, gang, observed, gate, wait=wait)
    draft = replace(draft, facts=replace(draft.facts, admission=told))
    due = _deadlines(status, gang, observed, _situation(status, gang, observed, gate), now)
    looks = (
        pause if missing else None,
        suspension.seconds_until_stop(job.spec, status, now),
        deadlines.seconds_until_next(due, now),
        exclusion.seconds_until_next(status, gang, now),
    )
    return replace(
        draft,
        deletes=(*_deletes(gang, others, observed), *groups.deletes(observed, keep=gang.attempt)),
        applies=children.applies(observed, gate, gang.attempt) if gang.pods or creates else (),
        creates=creates,
        requeue_after=_next_look(gang, options, looks, expects=bool(others or wait or creates)),
    )


# ---- parts of a plan ---------------------------------------------------------------------------------------------


def _draft(
    status: JobStatus,
    gang: Gang,
    observed: Observed,
    gate: Accepted | Refused,
    *,
    wait: waiting.Wait | None = None,
    end: End | None = None,
    requeue_after: float | None = None,
) -> Plan:
    same_attempt = status.attempt == gang.attempt
    ready = gang.ready if same_attempt else 0
    about = _situation(status, gang, observed, gate)
    facts = Facts(
        generation=observed.job.metadata.generation,
        config=gate,
        nodes=gang.size,
        existing=len(gang.pods) if same_attempt else 0,
        ready=ready,
        wait=wait,
        stepping=about.stepping,
        restart=ledger.last_open(status),
        end=end,
        hold=checkpoint_gate.wait(status),
        pause=suspension.pause(observed.job.spec, status, about),
        admission=None if schedulers.adapter_for(observed.job) else default_scheduler.ADMISSION,
    )
    if gang.size:
        status = status.model_copy(update={"ready_nodes": ready})
    return Plan(status, facts, requeue_after=requeue_after)


def _situation(status: JobStatus, gang: Gang, observed: Observed, gate: Accepted | Refused) -> SuspendContext:
    return SuspendContext(
        config=gate.config if isinstance(gate, Accepted) else None,
        stepping=bool(gang.pods) and progress.is_stepping(status, gang.pod_zero_uid),
        active=bool(_active(observed)),
    )


def _deadlines(
    status: JobStatus, gang: Gang, observed: Observed, about: SuspendContext, now: datetime
) -> tuple[deadlines.Deadline, ...]:
    told = admission.decide_admission(observed, gang, now)
    return deadlines.active_deadlines(observed.job.spec, status, gang, told, stepping=about.stepping)


def _active(observed: Observed) -> list[Pod]:
    """Pods that still hold something: containers beside the trainer do, too."""
    return [pod for pod in observed.pods if pod.occupied or not pod.over]


def _deletes(gang: Gang, others: list[Pod], observed: Observed) -> list[Delete]:
    """Pods of other attempts; lost pods, so that their names become free."""
    lost = [
        pod
        for index, pod in gang.pods.items()
        if (record := gang.records.get(index)) and record.lost and record.uid == pod.uid
    ]
    hung = {entry.attempt for entry in observed.job.status.restarts if entry.cause is Reason.HANG}
    found = []
    for pod in (*others, *lost):
        force = pod.node in observed.lost_nodes
        if force or not pod.terminating:
            grace = HUNG_GRACE_SECONDS if pod.attempt in hung and not force else None
            found.append(Delete(pod.name, pod.uid, force=force, grace_seconds=grace))
    return found


def _next_look(gang: Gang, options: Options, times: Iterable[float | None], *, expects: bool) -> float | None:
    """Seconds; None where every change comes as an event. `times`: until something is due by the clock."""
    looks = [seconds for seconds in times if seconds]
    if any(pod.running for pod in gang.pods.values()):
        looks.append(options.poll_seconds)
    if expects or any(pod.terminating for pod in gang.pods.values()):
        looks.append(options.wait_seconds)
    return min(looks, default=None)


def _max_steps(gate: Accepted) -> int | None:
    steps = gate.config.trainer.max_steps
    return steps if steps > 0 else None
