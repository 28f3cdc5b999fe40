"""`NeuronTrainingClient`: the one class that a script or a notebook needs."""

import logging
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from os import PathLike
from types import TracebackType
from typing import Final, Literal

from . import config_input
from .backend import Backend, Event, JobRequest, Storage
from .config_input import Config, Overrides
from .errors import JobFailedError, RequestError, UnreachableError, WaitTimeoutError
from .job import FINISHED, Job, JobList
from .metrics import Metrics
from .plan import Plan

log = logging.getLogger(__name__)

INTERVAL: Final = 2.0
"""Seconds between two looks of `wait`."""

Until = str | Collection[str] | Callable[[Job], bool]


class NeuronTrainingClient:
    """Starts and follows training jobs, in a namespace of a cluster or on this machine.

    The methods have the meaning that those of Kubeflow's TrainerClient have. Wherever a job is meant, its name or a
    `Job` will do. Everything that goes wrong is a `ClientError`.
    """

    def __init__(
        self,
        *,
        backend: Literal["kubernetes", "local"] = "kubernetes",
        namespace: str | None = None,
        context: str | None = None,
        kubeconfig: str | PathLike[str] | None = None,
        folder: str | PathLike[str] = "neuron-jobs",
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """Connect lazily: nothing is asked before the first call.

        `backend`: "kubernetes", or "local" for runs of this machine without a cluster. `namespace`, `context`,
        `kubeconfig`: as kubectl has them; without a kubeconfig a pod's service account. `folder`: where local runs are
        kept, a folder each. `pause`: called between two looks.
        """
        self._pause = pause
        self._backend: Backend
        if backend == "kubernetes":
            from .cluster import ClusterBackend

            self._backend = ClusterBackend(namespace, context, kubeconfig, pause)
        elif backend == "local":
            from .local.backend import LocalBackend

            if (namespace, context, kubeconfig) != (None, None, None):
                raise RequestError("namespace, context and kubeconfig are for backend='kubernetes'")
            self._backend = LocalBackend(folder, pause)
        else:
            raise RequestError(f"backend must be 'kubernetes' or 'local', got {backend!r}")

    def plan(
        self,
        config: Config,
        *,
        nodes: int | None = None,
        instance_type: str | None = None,
        accelerator: str | None = None,
        overrides: Overrides = (),
    ) -> Plan:
        """Work out what the job would be: processes, memory, checkpoints, and every finding. Nothing is started."""
        request = JobRequest(
            nodes=nodes,
            instance_type=instance_type,
            accelerator=accelerator,
            overrides=config_input.as_texts(overrides),
        )
        return self._backend.plan(config_input.read(config), request)

    def train(
        self,
        config: Config,
        *,
        name: str | None = None,
        nodes: int | None = None,
        instance_type: str | None = None,
        accelerator: str | None = None,
        storage: Storage | None = None,
        image: str | None = None,
        overrides: Overrides = (),
    ) -> Job:
        """Start a job and return it at once.

        `config`: the path of an NxDT file or of a NeuronTrainingJob, or its content as a mapping. `name`: default, the
        configuration's. `nodes`: trainer.num_nodes. `instance_type`: "trn2.48xlarge". `accelerator`: "CPU" for a job
        without Neuron devices. `storage`: a claim, mounted at /training, or {claim: mount path, …}. `image`: default,
        the operator's. `overrides`: {"trainer.max_steps": 100}, or ["trainer.max_steps=100", "~data.val_dir"].

        Raises `FindingsError` with all errors at once where the operator would refuse the job; nothing is started then.
        """
        request = JobRequest(name, nodes, instance_type, accelerator, storage, image, config_input.as_texts(overrides))
        return self._backend.train(config_input.read(config), request)

    def get(self, job: str | Job) -> Job:
        """Read a job as it is now."""
        backend, name = self._at(job)
        return backend.get(name)

    def list(self) -> JobList:
        """Read all jobs, by name."""
        return self._backend.list()

    def wait(
        self,
        job: str | Job,
        until: Until = FINISHED,
        *,
        timeout: float | None = None,
        on_change: Callable[[Job], None] | None = None,
    ) -> Job:
        """Wait for a phase and return the job.

        `until`: a phase, several, or a function of the job, as `lambda job: job.step >= 100`; default: until the job is
        over. `timeout`: seconds, default no bound. `on_change`: called with the job whenever it has changed, for
        example with display.

        Raises `JobFailedError` where the job has ended and what is waited for cannot come, and `WaitTimeoutError`. A
        job that has failed is one as well, unless "Failed" is named in `until`. A cluster that has answered once and
        cannot be reached for a while is asked again, until the time is over.
        """
        reached = _condition(until)
        deadline = time.monotonic() + timeout if timeout is not None else None
        last: Job | None = None
        while True:
            latest = self._look(job, last)
            if on_change is not None and latest != last:
                on_change(latest)
            last = latest
            if reached(latest):
                return latest
            if latest.is_finished:
                raise JobFailedError(latest)
            if deadline is not None and time.monotonic() >= deadline:
                raise WaitTimeoutError(latest, timeout or 0.0)
            self._pause(INTERVAL)

    def logs(self, job: str | Job, *, node: int = 0, follow: bool = False, tail: int | None = None) -> Iterator[str]:
        """Yield the lines of a node's log; with `follow` as they are written, across restarts, until the job is
        over."""
        backend, name = self._at(job)
        return backend.logs(name, node=node, follow=follow, tail=tail)

    def metrics(self, job: str | Job, *, follow: bool = False) -> Metrics:
        """Iterate over the logged steps; `.to_pandas()` makes a data frame of them. With `follow` new ones are waited
        for until the job is over."""
        backend, name = self._at(job)
        return Metrics(backend.metrics(name, follow=follow))

    def events(self, job: str | Job) -> Sequence[Event]:
        """Return what has happened to a job, oldest first."""
        backend, name = self._at(job)
        return backend.events(name)

    def suspend(self, job: str | Job) -> Job:
        """Let a job save and stop, and keep it. `wait(job, "Suspended")` waits until its nodes are free."""
        backend, name = self._at(job)
        backend.suspend(name)
        return self.get(job)

    def resume(self, job: str | Job) -> Job:
        """Let a suspended job go on from its newest checkpoint."""
        backend, name = self._at(job)
        backend.resume(name)
        return self.get(job)

    def delete(self, job: str | Job) -> None:
        """Delete a job. On a cluster its pods follow; checkpoints on its storage stay. A local run is stopped, and its
        folder is removed."""
        backend, name = self._at(job)
        backend.delete(name)

    def _look(self, job: str | Job, last: Job | None) -> Job:
        """Return the job as it is now, or as it was read last where the cluster gives no answer."""
        try:
            return self.get(job)
        except UnreachableError as problem:
            if last is None:
                raise
            log.warning("%s is waited for still: %s", last.name, problem)
            return last

    def _at(self, job: str | Job) -> tuple[Backend, str]:
        """Return where a job is, and its name; one that is given by its name is in the client's namespace."""
        if not isinstance(job, Job):
            return self._backend, job
        return self._backend.in_namespace(job.namespace) if job.namespace else self._backend, job.name

    def close(self) -> None:
        """Close the connection; jobs go on."""
        self._backend.close()

    def __enter__(self) -> "NeuronTrainingClient":
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()


def _condition(until: Until) -> Callable[[Job], bool]:
    """Return what `wait` waits for; a job that failed has not reached the default."""
    if callable(until):
        return until
    if until is FINISHED:
        return lambda job: job.phase == "Succeeded"
    phases = {until} if isinstance(until, str) else set(until)
    from neuron_api.resource.status import Phase

    if unknown := phases - set(Phase):
        raise RequestError(f"until names {', '.join(sorted(unknown))}, which is no phase: {', '.join(Phase)}")
    return lambda job: job.phase in phases
