"""Live reads of one job and everything around it, typed and trimmed for the planner. Reads only what a case needs."""

import asyncio
from collections.abc import Coroutine, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from neuron_api import contract
from neuron_api.resource.job import NeuronTrainingJob, parse
from neuron_api.resource.progress import Progress, from_final_report
from neuron_operator.kube import gateway as api
from neuron_operator.kube.gateway import Cluster
from neuron_operator.planning.objects import naming
from neuron_operator.planning.observation import pods
from neuron_operator.planning.observation.observation import ConfigText, Observed, Pod
from neuron_operator.planning.options import Options
from neuron_operator.planning.restarts import ledger
from neuron_operator.planning.validation import config_source, validation

from . import gang_reader, node_reader
from .progress_reader import ProgressReader

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Observation:
    """An observation with the body that a status write must be based on."""

    body: Json
    observed: Observed


async def read(
    cluster: Cluster, reader: ProgressReader, namespace: str, name: str, options: Options
) -> Observation | None:
    """Everything about one job; None when there is no such job. Raises `ApiError`, `pydantic.ValidationError`."""
    body = await cluster.find(api.JOB, namespace, name)
    if body is None:
        return None
    job = parse(body)
    listed = await cluster.list(api.POD, namespace, f"{contract.LABEL_JOB}={name}")
    own = tuple(
        pod for item in listed if pods.owner_uid(item) == job.metadata.uid and (pod := pods.read(item)) is not None
    )
    foreign = list(_foreign(listed, job))
    abandoned = tuple(pod for item in foreign if (pod := pods.read(item)) is not None)
    over = Observed(job, ConfigText(None), pods=own, abandoned=abandoned)
    if job.metadata.deletion_timestamp is not None:
        return Observation(body, over)
    if job.status.finished and job.spec.ttl_seconds_after_finished is None:
        return Observation(body, replace(over, scheduler=await gang_reader.read(cluster, job, options)))
    if job.status.finished:
        *children, scheduler = await asyncio.gather(*_children(cluster, job), gang_reader.read(cluster, job, options))
        service, config_map = (pods.child(body) for body in children)
        return Observation(body, replace(over, service=service, config_map=config_map, scheduler=scheduler))
    service_body, config_map_body, missing, nodes, reports, scheduler = await asyncio.gather(
        *_children(cluster, job),
        _missing_claims(cluster, job, own),
        node_reader.read(cluster, job, own),
        _reports(reader, job, own),
        gang_reader.read(cluster, job, options),
    )
    return Observation(
        body,
        Observed(
            job=job,
            config=await _config(cluster, job, config_map_body),
            pods=own,
            foreign_pods=tuple(item["metadata"]["name"] for item in foreign),
            abandoned=abandoned,
            scheduler=scheduler,
            service=pods.child(service_body),
            config_map=pods.child(config_map_body),
            missing_claims=missing,
            lost_nodes=nodes.lost,
            nodes=nodes.existing,
            reports=reports,
        ),
    )


def _children(
    cluster: Cluster, job: NeuronTrainingJob
) -> tuple[Coroutine[Any, Any, Json | None], Coroutine[Any, Any, Json | None]]:
    """Service and ConfigMap."""
    namespace = job.metadata.namespace
    return (
        cluster.find(api.SERVICE, namespace, naming.service(job)),
        cluster.find(api.CONFIG_MAP, namespace, naming.config_map(job)),
    )


def _foreign(listed: Iterable[Json], job: NeuronTrainingJob) -> Iterable[Json]:
    """Pods of an earlier job of this name, still there."""
    for body in listed:
        other = body["metadata"].get("labels", {}).get(contract.LABEL_JOB_UID)
        if other is not None and other != job.metadata.uid:
            yield body


async def _config(cluster: Cluster, job: NeuronTrainingJob, own_copy: Json | None) -> ConfigText:
    """The job's own copy where there is one: the source may have been edited since."""
    if job.spec.config is not None:
        return ConfigText(validation.config_text(job))
    if own_copy is not None and pods.owner_uid(own_copy) == job.metadata.uid:
        text = own_copy.get("data", {}).get(contract.CONFIG_FILE)
        if text is not None:
            return ConfigText(text, frozen=True)
    if job.spec.config_from is None:
        return ConfigText("")
    source = job.spec.config_from.config_map_key_ref
    config_map = await cluster.find(api.CONFIG_MAP, job.metadata.namespace, source.name)
    return config_source.read(config_map, source, job.metadata.namespace)


async def _missing_claims(cluster: Cluster, job: NeuronTrainingJob, own: tuple[Pod, ...]) -> tuple[str, ...]:
    """Looked for only while pods are to be created or do not run."""
    size = job.status.topology.nodes if job.status.topology else 1
    if sum(pod.running and not pod.is_standby for pod in own) >= size:
        return ()
    names = list(dict.fromkeys(mount.claim_name for mount in job.spec.storage))
    claims = await asyncio.gather(*(cluster.find(api.CLAIM, job.metadata.namespace, name) for name in names))
    return tuple(name for name, claim in zip(names, claims, strict=True) if claim is None)


async def _reports(reader: ProgressReader, job: NeuronTrainingJob, own: tuple[Pod, ...]) -> Mapping[int, Progress]:
    """Read the report of pod 0; of all pods when there is a failure whose first process must be found."""
    current = {pod.index: pod for pod in own if pod.attempt == job.status.attempt and not pod.is_standby}
    host = current.get(0)
    first = await _report(reader, host) if host else None
    if host is None or first is None:
        return {}
    others = (
        [pod for index, pod in current.items() if index]
        if ledger.needs_every_report(job.status, first, host.uid)
        else []
    )
    rest = await asyncio.gather(*(_report(reader, pod) for pod in others))
    other_reports = {pod.index: report for pod, report in zip(others, rest, strict=True) if report is not None}
    return {0: first, **other_reports}


async def _report(reader: ProgressReader, pod: Pod) -> Progress | None:
    """Read a pod's report; of one that has succeeded, its last: nobody may have asked it after its last failure."""
    if pod.running:
        return await reader.read(pod)
    return from_final_report(pod.termination_message) if pod.succeeded else None
