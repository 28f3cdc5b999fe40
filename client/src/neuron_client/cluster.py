"""Jobs on a cluster, through the connection and the views of `kubectl neuron`."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any, Final

from neuron_api.findings.finding import Finding, Severity, errors_of
from neuron_api.loading import overrides, yaml_text
from neuron_api.resource import job_name
from neuron_api.resource.job import NeuronTrainingJob
from neuron_api.resource.spec import Accelerator
from neuron_operator.cli.files import convert
from neuron_operator.cli.files import plan as planning
from neuron_operator.cli.files.platform_flags import PlatformFlags
from neuron_operator.cli.live import commands, job_snapshot, status_view
from neuron_operator.cli.live.connection import Access, Connection, connect
from neuron_operator.kube import errors as kube_errors

from . import pod_logs
from .backend import Event, JobRequest, Storage
from .config_input import ConfigInput
from .errors import BackendError, FindingsError, JobExistsError, JobNotFoundError, RequestError
from .job import Job, JobList
from .metrics import MetricsRow
from .plan import Plan

log = logging.getLogger(__name__)

Json = dict[str, Any]

_TRANSLATIONS: Final = (
    (kube_errors.JobMissingError, JobNotFoundError),
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

    def plan(self, config: ConfigInput, request: JobRequest) -> Plan:
        """See `Backend`."""
        manifest = config.manifest()
        if manifest is not None:
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
                body = _without_server_fields(config.manifest() or {})
            stored = self._connection.create_job(body)
        if stored is None:
            name, namespace = body["metadata"]["name"], self._connection.namespace
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
    spec = dict(manifest.get("spec") or {})
    if changes := _changes(request):
        if not isinstance(spec.get("config"), Mapping):
            raise RequestError("nodes and overrides change spec.config, which this job does not have (configFrom)")
        spec["config"], findings = overrides.apply(dict(spec["config"]), changes)
        if errors_of(findings):
            raise FindingsError(findings, config.file)
    flags = _platform(request)
    own = {"accelerator": flags.accelerator, "instanceType": flags.instance_type}
    if named := {key: value for key, value in own.items() if value is not None}:
        before = {key: value for key, value in (spec.get("platform") or {}).items() if key not in own}
        spec["platform"] = {
            **before,
            **named,
        }  # an instance type does not leave the job on CPUs, nor the other way round
    if request.storage is not None:
        claims = _claims(request.storage)
        spec["storage"] = [{"claimName": c, "mountPath": path or convert.MOUNT_PATH} for c, path in claims]
    if request.image is not None:
        spec["image"] = request.image
    metadata = dict(manifest.get("metadata") or {})
    if request.name is not None:
        metadata["name"] = request.name
    return ConfigInput(yaml_text.dump({**manifest, "metadata": metadata, "spec": spec}))


def _without_server_fields(manifest: Json) -> Json:
    """Return a job that can be created from one that was read: no status, nothing that the server has set."""
    metadata = {
        key: manifest["metadata"][key] for key in ("name", "labels", "annotations") if key in manifest["metadata"]
    }
    if not metadata.get("name"):
        raise FindingsError(job_name.check(""))
    return {**{key: manifest[key] for key in ("apiVersion", "kind", "spec")}, "metadata": metadata}


def _changes(request: JobRequest) -> tuple[str, ...]:
    nodes = (f"trainer.num_nodes={request.nodes}",) if request.nodes is not None else ()
    return (*nodes, *request.overrides)


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
