"""`NeuronTrainingClient`: the one class that a script or a notebook needs."""

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from os import PathLike
from types import TracebackType
from typing import Final, Literal

from . import config_input
from .backend import Backend, Event, JobRequest, Storage
from .config_input import Config, Overrides
from .errors import JobFailedError, RequestError, WaitTimeoutError
from .job import FINISHED, Job, JobList
from .metrics import Metrics
from .plan import Plan

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
        return self._backend.get(_name(job))

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
        job that has failed is one as well, unless "Failed" is named in `until`.
        """
        reached = _condition(until)
        deadline = time.monotonic() + timeout if timeout is not None else None
        last: Job | None = None
        while True:
            latest = self.get(job)
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
        return self._backend.logs(_name(job), node=node, follow=follow, tail=tail)

    def metrics(self, job: str | Job, *, follow: bool = False) -> Metrics:
        """Iterate over the logged steps; `.to_pandas()` makes a data frame of them. With `follow` new ones are waited
        for until the job is over."""
        return Metrics(self._backend.metrics(_name(job), follow=follow))

    def events(self, job: str | Job) -> Sequence[Event]:
        """Return what has happened to a job, oldest first."""
        return self._backend.events(_name(job))

    def suspend(self, job: str | Job) -> Job:
        """Let a job save and stop, and keep it. `wait(job, "Suspended")` waits until its nodes are free."""
        self._backend.suspend(_name(job))
        return self.get(job)

    def resume(self, job: str | Job) -> Job:
        """Let a suspended job go on from its newest checkpoint."""
        self._backend.resume(_name(job))
        return self.get(job)

    def delete(self, job: str | Job) -> None:
        """Delete a job. On a cluster its pods follow; checkpoints on its storage stay. A local run is stopped, and its
        folder is removed."""
        self._backend.delete(_name(job))

    def close(self) -> None:
        """Close the connection; jobs go on."""
        self._backend.close()

    def __enter__(self) -> "NeuronTrainingClient":
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()


def _name(job: str | Job) -> str:
    return job.name if isinstance(job, Job) else job


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
