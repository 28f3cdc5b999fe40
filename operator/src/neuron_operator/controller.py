"""reconcile(key): observe → plan → apply → one status write → events. The order of a pass is here and nowhere else.

The key says which job, never what happened to it: a pass looks at everything that is there and may run at any time,
any number of times, also after a pass that was killed between any two of its writes. Where what a plan leaves is known
without another look, the next plan follows at once.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, Protocol

from pydantic import ValidationError

from neuron_api import contract
from neuron_api.resource.job import Metadata, NeuronTrainingJob, parse
from neuron_api.resource.spec import JobSpec
from neuron_api.resource.status import JobStatus

from .cache.cached_client import CachedClient
from .cache.idle_jobs import IDLE_POLL_SECONDS, IdleTracker
from .failure_rules import built_in
from .kube import gateway as api
from .kube.errors import AlreadyExistsError, ConflictError, NotFoundError, RefusedError, UnavailableError
from .kube.event_recorder import Recorder
from .kube.gateway import Cluster
from .planning import outcome
from .planning.cache_safety import requires_live_read
from .planning.failures.failure_table import FailureTable
from .planning.objects import cleanup
from .planning.observation import pods
from .planning.observation.waiting import Rejection
from .planning.options import Options
from .planning.outcome import finalize_status
from .planning.plan import Create, Plan, PlanOutcome, Release
from .planning.planner import plan as make_plan
from .planning.scheduling.registry import may_hold_pods
from .planning.status import time_spent
from .planning.status.changes import Announcement, announcements, is_progress_only_change
from .queue.workqueue import JobKey, Result
from .readers import job_reader
from .readers.job_reader import Observation
from .readers.progress_reader import ProgressReader
from .status_writer import RETRY_SECONDS, StatusThrottle, StatusWriter

log = logging.getLogger(__name__)

Json = dict[str, Any]
PendingEvents = tuple[NeuronTrainingJob, tuple[Announcement, ...]]
"""A job as it was, and what is to be said about the change."""

MAX_PLANS_PER_PASS: Final = 4
"""In one reconcile, each from what the one before has left (`planning.outcome`): save, delete, create, and one to
spare."""
_WEBHOOK = "failed calling webhook"
"""500, but a plain word: the webhook of a queue (or of anybody else) does not answer, so no pod is made."""


class JobObserver(Protocol):
    """Receives what becomes of the jobs (`metrics`)."""

    def job_changed(self, job: NeuronTrainingJob, after: JobStatus) -> None:
        """Receive what the status of a job will be; `job` has the one that was read."""
        ...

    def job_gone(self, namespace: str, name: str) -> None:
        """There is no such job any more."""
        ...

    def status_refused(self) -> None:
        """The API server has not stored a status whole."""
        ...


@dataclass(frozen=True, slots=True)
class Controller:
    """Needs nothing but its parts: two of them may work on the same job and do no harm."""

    cluster: Cluster
    reader: ProgressReader
    recorder: Recorder
    observer: JobObserver
    options: Options
    clock: Callable[[], datetime]
    status_throttle: StatusThrottle
    status_writer: StatusWriter
    cached_client: CachedClient | None = None
    """What may be known without asking; None: nothing."""
    idle_tracker: IdleTracker | None = None
    """Which jobs need only a look at their progress; None: none."""
    failures: Callable[[], FailureTable] = built_in
    """The failure table of this moment."""

    def wrote(self, key: JobKey, version: str) -> bool:
        """Return whether a version of a job is this operator's own last write."""
        return self.cached_client is not None and self.cached_client.wrote(key, version)

    def is_still(self, key: JobKey, version: str) -> bool:
        """Return whether the job of this version needs no pass now."""
        return self.idle_tracker is not None and self.idle_tracker.is_current(key, version)

    async def reconcile(self, key: JobKey) -> Result:
        """One pass; raises what `errors` lists, and the queue comes back later."""
        if self.idle_tracker and (next_look := await self.idle_tracker.look(key)) is not None:
            return Result(next_look)
        if self.idle_tracker:
            self.idle_tracker.begin(key)
        try:
            return await self._pass(key)
        except ValidationError as problem:
            await self._report_unreadable(key, problem)
            return Result()

    async def _pass(self, key: JobKey) -> Result:
        is_live = self.cached_client is None
        observation = await self._look(self.cached_client.for_pass(key) if self.cached_client else self.cluster, key)
        if observation is None:
            return await self._gone(key)
        options = replace(self.options, failures=self.failures())
        planned = make_plan(observation.observed, options, self.clock())
        if not is_live and requires_live_read(planned, observation.observed):
            if (observation := await self._look(self.cluster, key)) is None:
                return Result(0.0)
            is_live, planned = True, make_plan(observation.observed, options, self.clock())
        pending: list[PendingEvents] = []
        try:
            return await self._follow(key, observation, planned, options, pending, is_live=is_live)
        finally:
            for job, announced in pending:
                await self.recorder.post(job, announced)

    async def _follow(
        self,
        key: JobKey,
        observation: Observation,
        planned: Plan,
        options: Options,
        pending: list[PendingEvents],
        *,
        is_live: bool,
    ) -> Result:
        """Plan after plan, as long as what each leaves is known; from memory only where `planning.cache_safety` allows
        it."""
        for _ in range(MAX_PLANS_PER_PASS):
            result, body = await self._do(key, observation, planned, pending)
            if body is None or (projected := outcome.project(observation.observed, planned, parse(body))) is None:
                return result
            observation, planned = Observation(body, projected), make_plan(projected, options, self.clock())
            if not is_live and requires_live_read(planned, projected):
                break
        return Result(0.0)

    async def _report_unreadable(self, key: JobKey, problem: ValidationError) -> None:
        """A spec that the operator's own CRD would refuse: an event of the job says it, and nothing else is done."""
        wrong = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in problem.errors())
        log.error("%s cannot be read, the CRD is older or newer than the operator: %s", key, wrong)
        if body := await self.cluster.find(api.JOB, key.namespace, key.name):
            job = NeuronTrainingJob(metadata=Metadata.model_validate(body["metadata"]), spec=JobSpec())
            note = f"The operator cannot read this job and leaves it alone. Fix these fields: {wrong}"
            await self.recorder.post(job, (Announcement("Warning", "SpecUnreadable", "Read", note),))

    async def _gone(self, key: JobKey) -> Result:
        """There is no such job any more."""
        self.observer.job_gone(key.namespace, key.name)
        self.status_throttle.forget(key)
        self.status_writer.forget(key)
        if self.cached_client:
            self.cached_client.forget(key)
        if self.idle_tracker:
            self.idle_tracker.forget(key)
        self.recorder.forget(key.namespace, key.name)
        await self._let_go(key)
        return Result()

    async def _do(
        self, key: JobKey, observation: Observation, planned: Plan, pending: list[PendingEvents]
    ) -> tuple[Result, Json | None]:
        """Carry out one plan; also return the job as it is then stored, None where that is not known. `pending` gets
        the events to post."""
        job = observation.observed.job
        status = finalize_status(planned, await self._carry_out(job, planned), self.clock())
        status = time_spent.update(observation.observed, status, self.clock())
        self.observer.job_changed(job, status)
        result, written = await self._save(key, observation, planned, status)
        if written is not None and written is not observation.body:
            pending.append((job, announcements(job.status, status)))
        return result, written

    async def _look(self, cluster: Cluster, key: JobKey) -> Observation | None:
        return await job_reader.read(cluster, self.reader, key.namespace, key.name, self.options)

    # ---- acting -----------------------------------------------------------------------------------------------------

    @property
    def _writer(self) -> Cluster:
        """The memory learns of every write."""
        return self.cached_client or self.cluster

    async def _carry_out(self, job: NeuronTrainingJob, planned: Plan) -> PlanOutcome:
        namespace = job.metadata.namespace
        await _all(
            self._writer.delete(
                api.kind_of(delete.kind, delete.api_version), namespace, delete.name, delete.uid, grace=delete.grace
            )
            for delete in planned.deletes
        )
        await self._release(namespace, planned.releases)
        if refused := tuple(filter(None, await _all(self._apply(body) for body in planned.applies))):
            return PlanOutcome(rejections=refused)
        await _all(self._annotate(body) for body in planned.annotations)
        await _all(self._create(job, standby) for standby in planned.standbys)
        results = await _all(self._create(job, create) for create in planned.creates)
        created = {index: uid for index, uid in results if isinstance(uid, str)}
        return PlanOutcome(created, tuple(answer for _, answer in results if isinstance(answer, Rejection)))

    async def _apply(self, body: Mapping[str, Any]) -> Rejection | None:
        """Apply what the job needs beside its pods; these do not need each other, and the pods need all of them."""
        try:
            await self._writer.apply(body)
        except RefusedError as problem:
            return Rejection(f"{body['kind']} {body['metadata']['name']}", problem.message)
        return None

    async def _annotate(self, body: Mapping[str, Any]) -> None:
        """A mark for another controller: without it the job trains as well, so a refusal is only logged."""
        try:
            await self.cluster.patch(api.kind_of(body["kind"], body["apiVersion"]), body)
        except RefusedError as problem:
            log.warning("%s %s cannot be annotated: %s", body["kind"], body["metadata"]["name"], problem.message)

    async def _let_go(self, key: JobKey) -> None:
        """Release pods of a job that is gone, where a scheduler may hold them (`objects.cleanup`)."""
        if may_hold_pods(self.options.gang_schedulers):
            listed = await self.cluster.list(api.POD, key.namespace, f"{contract.LABEL_JOB}={key.name}")
            held = [pod for body in listed if (pod := pods.read(body)) is not None]
            await self._release(key.namespace, cleanup.release_pods(held))

    async def _release(self, namespace: str, releases: Sequence[Release]) -> None:
        await _all(
            self.cluster.patch(
                api.POD,
                {
                    "metadata": {
                        "namespace": namespace,
                        "name": release.name,
                        "uid": release.uid,
                        "resourceVersion": release.resource_version,
                        "finalizers": list(release.finalizers),
                        "annotations": dict(release.annotations),
                    }
                },
            )
            for release in releases
        )

    async def _create(self, job: NeuronTrainingJob, create: Create) -> tuple[int, str | Rejection | None]:
        """UID of the pod; one that an earlier pass created is as good. None: its predecessor has not gone yet."""
        what = f"Pod {create.name}"
        try:
            return create.index, str((await self._writer.create(api.POD, create.body))["metadata"]["uid"])
        except RefusedError as problem:
            return create.index, Rejection(what, problem.message)
        except UnavailableError as problem:
            if _WEBHOOK not in problem.message:
                raise
            return create.index, Rejection(what, problem.message)
        except AlreadyExistsError:
            pod = await self._writer.find(api.POD, job.metadata.namespace, create.name)
        if pod is None or "deletionTimestamp" in pod["metadata"]:
            return create.index, None
        if pods.owner_uid(pod) == job.metadata.uid:
            return create.index, str(pod["metadata"]["uid"])
        return create.index, Rejection(what, f"{what} exists and does not belong to this job.", taken=True)

    # ---- telling ----------------------------------------------------------------------------------------------------

    async def _save(
        self, key: JobKey, observation: Observation, planned: Plan, status: JobStatus
    ) -> tuple[Result, Json | None]:
        before, after = observation.observed.job.status, Result(planned.requeue_after)
        if status == before and "status" in observation.body:
            self._note_idleness(key, observation, planned)
            return after, observation.body
        if (
            "status" in observation.body
            and is_progress_only_change(before, status)
            and (wait := self.status_throttle.wait(key, self.clock()))
        ):
            return Result(min(wait, after.requeue_after or wait)), None
        try:
            written = await self.status_writer.write(key, observation, status, self.clock())
        except (ConflictError, NotFoundError):
            return Result(0.0), None  # somebody was quicker: look again
        self.status_throttle.written(key, self.clock())
        return (after, written) if written is not None else (Result(RETRY_SECONDS), None)

    def _note_idleness(self, key: JobKey, observation: Observation, planned: Plan) -> None:
        """A plan with looks so rare that only what is due by the clock is left of them."""
        if self.idle_tracker and not (
            planned.deletes
            or planned.applies
            or planned.annotations
            or planned.creates
            or planned.standbys
            or observation.observed.lost_nodes
        ):
            rare = replace(self.options, poll_seconds=IDLE_POLL_SECONDS, failures=self.failures())
            due = make_plan(observation.observed, rare, self.clock()).requeue_after
            self.idle_tracker.settle(key, observation.observed, due)


async def _all(actions: Any) -> list[Any]:
    """Every action is carried out, whatever becomes of the others; the first error is raised after that."""
    coroutines: list[Coroutine[Any, Any, Any]] = list(actions)
    results = await asyncio.gather(*coroutines, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results
