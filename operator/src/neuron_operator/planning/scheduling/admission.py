"""May pods be created, and may those that are there start? Before the first: nothing is created half-way."""

from datetime import datetime

from neuron_api.resource.job import NeuronTrainingJob
from neuron_api.resource.reasons import Reason
from neuron_operator.planning.failures.gang import Gang
from neuron_operator.planning.observation.observation import Observed, SchedulerState
from neuron_operator.planning.observation.waiting import Wait
from neuron_operator.planning.options import Options

from . import default_scheduler, registry
from .adapter import Admission, GangSchedulerAdapter, GangState, group_name


def creation_blocker(observed: Observed, options: Options) -> Wait | None:
    """Return why no pod is created: the scheduler or its queue is missing, or not enabled for the operator."""
    job, adapter = observed.job, registry.adapter_for(observed.job)
    if adapter is None:
        return None
    if job.spec.scheduling.gang not in options.gang_schedulers:
        return _not_enabled(job)
    state = observed.scheduler or SchedulerState(served=False)
    if not state.served:
        return _not_installed(job, adapter)
    return _no_queue(job, adapter) if state.queue is False else None


def decide_admission(observed: Observed, gang: Gang, now: datetime) -> Admission | None:
    """The scheduler's word about the attempt; None while no pod of it lives."""
    job, adapter = observed.job, registry.adapter_for(observed.job)
    if adapter is None:
        return default_scheduler.ADMISSION
    living = [pod for _, pod in sorted(gang.pods.items()) if not pod.over and not pod.terminating]
    return adapter.admission(GangState(job, _body(observed, gang.attempt), living, now)) if living else None


def _body(observed: Observed, attempt: int) -> dict[str, object] | None:
    name = group_name(observed.job, attempt)
    groups = observed.scheduler.groups if observed.scheduler else ()
    return next((dict(group.body) for group in groups if group.name == name), None)


def _not_enabled(job: NeuronTrainingJob) -> Wait:
    gang = job.spec.scheduling.gang
    message = (
        f"spec.scheduling.gang is {gang}, and the operator may not use it. Add {gang} to the Helm value "
        "gangSchedulers (which gives the rights, too); the job then continues."
    )
    return Wait(Reason.SCHEDULER_NOT_ENABLED, message, stalled=True)


def _not_installed(job: NeuronTrainingJob, adapter: GangSchedulerAdapter) -> Wait:
    versions = " or ".join(adapter.kind.api_versions)
    message = (
        f"spec.scheduling.gang is {job.spec.scheduling.gang}, but the cluster has no {adapter.kind.plural} of "
        f"{versions}: {adapter.title} is not installed. No pod is created. Install it; the job then continues. "
        "Or choose another one."
    )
    return Wait(Reason.SCHEDULER_NOT_INSTALLED, message, stalled=True)


def _no_queue(job: NeuronTrainingJob, adapter: GangSchedulerAdapter) -> Wait:
    queue = adapter.queue
    kind = queue.kind if queue else "queue"
    where = f" in namespace {job.metadata.namespace}" if queue and queue.namespaced else ""
    message = (
        f"spec.scheduling.queueName: there is no {kind} {job.spec.scheduling.queue_name}{where}. Create it; the job "
        "then continues."
    )
    return Wait(Reason.QUEUE_NOT_FOUND, message, stalled=True)
