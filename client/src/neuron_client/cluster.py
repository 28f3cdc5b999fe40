"""Jobs on a cluster, through the connection and the views of `kubectl neuron`."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any, Final

from neuron_api.findings.finding import Finding, Severity, errors_of
from neuron_api.loading import yaml_text
from neuron_api.resource import job_name
from neuron_api.resource.accelerator import Accelerator
from neuron_api.resource.job import NeuronTrainingJob
from neuron_operator.cli.files import convert, manifest_changes
from neuron_operator.cli.files import plan as planning
from neuron_operator.cli.files.manifest_changes import ManifestChanges
from neuron_operator.cli.files.platform_flags import PlatformFlags
from neuron_operator.cli.live import commands, job_snapshot, status_view
from neuron_operator.cli.live.connection import Access, Connection, connect
from neuron_operator.kube import errors as kube_errors

from . import pod_logs
from .backend import Event, JobRequest, Storage
from .config_input import ConfigInput
from .errors import (
    BackendError,
    FindingsError,
    JobExistsError,
    JobNotFoundError,
    RequestError,
    UnreachableError,
)
from .job import Job, JobList
from .metrics import MetricsRow
from .plan import Plan

log = logging.getLogger(__name__)

Json = dict[str, Any]

_TRANSLATIONS: Final = (
    (kube_errors.JobMissingError, JobNotFoundError),
    (kube_errors.UnreachableError, UnreachableError),
    (kube_errors.ClusterError, BackendError),
    (kube_errors.UserInputError, RequestError),
)
"""Errors of the command line, most special first, and those of this package."""


class ClusterBackend:
    """One namespace of one cluster."""

    def __init__(
        self,
        namespace: str | None,
        context: str | None,
        kubeconfig: str | os.PathLike[str] | None,
        pause: Callable[[float], None],
    ) -> None:
        file = os.fspath(kubeconfig) if kubeconfig is not None else None
        self._access, self._pause = Access(file, context, namespace), pause
        self._stack, self._opened = ExitStack(), None

    _opened: Connection | None

    def in_namespace(self, namespace: str) -> ClusterBackend:
        """See `Backend`: through the same connection."""
        with _translated():
            if namespace == self._connection.namespace:
                return self
            other = ClusterBackend(namespace, self._access.context, self._access.kubeconfig, self._pause)
            other._opened = self._connection.in_namespace(namespace)
        return other

    def plan(self, config: ConfigInput, request: JobRequest) -> Plan:
        """See `Backend`."""
        manifest = config.manifest()
        if manifest is not None:
            with _translated():
                config = _changed(config, manifest, request)
            request = JobRequest()
        source = config.source()
        with _translated():
            planned = planning.plan_source(source, _changes(request), _platform(request), None)
        return Plan(replace(planned, findings=config.located(planned.findings)), config.file)

    def train(self, config: ConfigInput, request: JobRequest) -> Job:
        """See `Backend`: checked here as the operator would, then stored; the API server checks once more."""
        manifest = config.manifest()
        with _translated():
            if manifest is None:
                body = _wrapped(config, request)
            else:
                config = _changed(config, manifest, request)
                self.plan(config, JobRequest()).raise_for_errors()
                body = manifest_changes.without_server_fields(config.manifest() or {})
                if not body["metadata"].get("name"):
                    raise FindingsError(job_name.check(""))
            namespace = self._namespace_of(body)
            stored = self.in_namespace(namespace)._connection.create_job(body)
        if stored is None:
            name = body["metadata"]["name"]
            remedy = "choose another name, or delete that job first"
            raise JobExistsError(f"there is a job {name} in namespace {namespace}: {remedy}")
        return _job(stored)

    def get(self, name: str) -> Job:
        """See `Backend`."""
        with _translated():
            return _job(self._connection.job(name))

    def list(self) -> JobList:
        """See `Backend`."""
        with _translated():
            return JobList(sorted(map(_job, self._connection.jobs()), key=lambda job: job.name))

    def logs(self, name: str, *, node: int, follow: bool, tail: int | None) -> Iterator[str]:
        """See `Backend`."""
        with _translated():
            for line in pod_logs.lines(self._connection, name, node, self._pause, follow=follow, tail=tail):
                yield line.partition(" ")[2]

    def metrics(self, name: str, *, follow: bool) -> Iterator[MetricsRow]:
        """See `Backend`: read from the log of the pod with rank 0, which stays when the pod has ended."""
        with _translated():
            for line in pod_logs.lines(self._connection, name, 0, self._pause, follow=follow):
                if (row := pod_logs.metrics_row(line)) is not None:
                    yield row

    def events(self, name: str) -> Sequence[Event]:
        """See `Backend`: those of the job, and those of pods that are not up."""
        with _translated():
            snapshot = job_snapshot.look(self._connection, name)
        return [
            Event(event.time, event.reason, event.note, event.is_warning, event.subject, event.count)
            for event in snapshot.events
        ]

    def suspend(self, name: str) -> None:
        """See `Backend`."""
        self._set_suspend(name, suspend=True)

    def resume(self, name: str) -> None:
        """See `Backend`."""
        self._set_suspend(name, suspend=False)

    def delete(self, name: str) -> None:
        """See `Backend`."""
        with _translated():
            self._connection.delete_job(name)

    def close(self) -> None:
        """See `Backend`."""
        self._stack.close()
        self._opened = None

    @property
    def _connection(self) -> Connection:
        if self._opened is None:
            self._opened = self._stack.enter_context(connect(self._access))
        return self._opened

    def _namespace_of(self, body: Json) -> str:
        """Return where a job is created: the manifest's namespace counts where the client has none, as in kubectl."""
        stated, own = body["metadata"].get("namespace"), self._access.namespace
        if stated and own and stated != own:
            raise RequestError(f"the job says namespace {stated}, and the client has namespace {own}: change either")
        return str(stated or self._connection.namespace)

    def _set_suspend(self, name: str, *, suspend: bool) -> None:
        job = self.get(name)
        if job.is_finished:
            raise RequestError(f"{name} is over ({job.phase}): it cannot be {'suspended' if suspend else 'resumed'}")
        with _translated():
            commands.set_suspend(self._connection, name, suspend=suspend)


@contextmanager
def _translated() -> Iterator[None]:
    """Raise this package's errors in place of the command line's."""
    try:
        yield
    except kube_errors.UserInputError as problem:
        kind = next(translation for source, translation in _TRANSLATIONS if isinstance(problem, source))
        raise kind(str(problem)) from None


def _wrapped(config: ConfigInput, request: JobRequest) -> Json:
    """Return the job of an NxDT configuration; warnings go to the log."""
    claims = _claims(request.storage)
    claim, path = claims[0] if claims else (None, None)
    others = claims[1:]
    wrapping = convert.Wrapping(
        request.name, _platform(request), claim, path, request.image, more_claims=[(str(c), str(p)) for c, p in others]
    )
    result = convert.wrap(config.label, config.text, _changes(request), wrapping)
    findings = config.located(result.findings)
    if result.is_refused:
        raise FindingsError(findings, config.file)
    _report(findings)
    return dict(result.manifest)


def _report(findings: Sequence[Finding]) -> None:
    for finding in findings:
        if finding.severity is Severity.WARNING:
            log.warning("%s", finding)


def _changed(config: ConfigInput, manifest: Json, request: JobRequest) -> ConfigInput:
    """Return a manifest with what the call sets; as it is, with its lines, where that is nothing."""
    if request == JobRequest():
        return config
    claims = tuple(_claims(request.storage))
    changes = ManifestChanges(request.name, _changes(request), _platform(request), claims, request.image)
    changed, findings = changes.apply(manifest)
    if errors_of(findings):
        raise FindingsError(findings, config.file)
    return ConfigInput(yaml_text.dump(changed))


def _changes(request: JobRequest) -> tuple[str, ...]:
    return manifest_changes.config_overrides(request.overrides, request.nodes)


def _platform(request: JobRequest) -> PlatformFlags:
    """Return accelerator and instance type; the accelerator may be written in small letters, as on the command line."""
    name = request.accelerator
    if name is not None:
        legal = {spelling: str(item) for item in Accelerator for spelling in (str(item), item.device)}
        if name not in legal:
            raise RequestError(f"there is no accelerator {name!r}: {', '.join(Accelerator)}")
        name = legal[name]
    return PlatformFlags(name, request.instance_type)


def _claims(storage: Storage | None) -> list[tuple[str, str | None]]:
    if storage is None:
        return []
    return [(storage, None)] if isinstance(storage, str) else list(storage.items())


def _job(body: Json) -> Job:
    job = job_snapshot.parse_job(body)
    status, progress = job.status, job.status.progress
    shape, checkpoint = status.topology, status.checkpoint
    return Job(
        name=job.metadata.name,
        namespace=job.metadata.namespace,
        phase=str(status.phase),
        message=_message(job),
        step=progress.step if progress else 0,
        max_steps=progress.max_steps if progress else None,
        loss=progress.loss if progress else None,
        tokens_per_second=progress.tokens_per_second if progress else None,
        seconds_left=status_view.seconds_left(job),
        checkpoint_step=checkpoint.step if checkpoint else None,
        checkpoint_path=checkpoint.path if checkpoint else "",
        nodes=shape.nodes if shape else None,
        ready_nodes=status.ready_nodes,
        restarts=status.restart_count,
        steps_lost=status.steps_lost,
        goodput=status.goodput,
        created=job.metadata.creation_timestamp,
        started=status.start_time,
        completed=status.completion_time,
        resource=job,
    )


def _message(job: NeuronTrainingJob) -> str:
    if job.metadata.deletion_timestamp is not None:
        return "it is being deleted"
    headline = job_snapshot.JobSnapshot(job).headline
    if headline is None:
        return "no operator has looked at it yet"
    return job_snapshot.reason_and_message(headline.reason, headline.message)
