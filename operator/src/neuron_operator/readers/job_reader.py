"""Live reads of one job and everything around it, typed and trimmed for the planner. Reads only what a case needs."""

import asyncio
from collections.abc import Coroutine, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from neuron_api import contract
from neuron_api.resource.job import NeuronTrainingJob, parse
from neuron_api.resource.progress import Progress, from_last_words
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
        pod for one in listed if pods.owner_uid(one) == job.metadata.uid and (pod := pods.read(one)) is not None
    )
    foreign = list(_foreign(listed, job))
    abandoned = tuple(pod for one in foreign if (pod := pods.read(one)) is not None)
    over = Observed(job, ConfigText(None), pods=own, abandoned=abandoned)
    if job.metadata.deletion_timestamp is not None:
        return Observation(body, over)
    if job.status.finished and job.spec.ttl_seconds_after_finished is None:
        return Observation(body, replace(over, scheduler=await gang_reader.read(cluster, job, options)))
    if job.status.finished:
        *left, sight = await asyncio.gather(*_children(cluster, job), gang_reader.read(cluster, job, options))
        service, config_map = (pods.child(found) for found in left)
        return Observation(body, replace(over, service=service, config_map=config_map, scheduler=sight))
    found_service, found_map, missing, nodes, reports, sight = await asyncio.gather(
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
            config=await _config(cluster, job, found_map),
            pods=own,
            foreign_pods=tuple(one["metadata"]["name"] for one in foreign),
            abandoned=abandoned,
            scheduler=sight,
            service=pods.child(found_service),
            config_map=pods.child(found_map),
            missing_claims=missing,
            lost_nodes=nodes.lost,
            nodes=nodes.there,
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
        return ConfigText(validation.text_of(job))
    if own_copy is not None and pods.owner_uid(own_copy) == job.metadata.uid:
        text = own_copy.get("data", {}).get(contract.CONFIG_FILE)
        if text is not None:
            return ConfigText(text, frozen=True)
    if job.spec.config_from is None:
        return ConfigText("")
    source = job.spec.config_from.config_map_key_ref
    found = await cluster.find(api.CONFIG_MAP, job.metadata.namespace, source.name)
    return config_source.read(found, source, job.metadata.namespace)


async def _missing_claims(cluster: Cluster, job: NeuronTrainingJob, own: tuple[Pod, ...]) -> tuple[str, ...]:
    """Looked for only while pods are to be created or do not run."""
    wanted = job.status.topology.nodes if job.status.topology else 1
    if sum(pod.running for pod in own) >= wanted:
        return ()
    names = list(dict.fromkeys(mount.claim_name for mount in job.spec.storage))
    found = await asyncio.gather(*(cluster.find(api.CLAIM, job.metadata.namespace, name) for name in names))
    return tuple(name for name, claim in zip(names, found, strict=True) if claim is None)


async def _reports(reader: ProgressReader, job: NeuronTrainingJob, own: tuple[Pod, ...]) -> Mapping[int, Progress]:
    """Of pod 0; of all pods when there is a failure whose first process must be found."""
    current = {pod.index: pod for pod in own if pod.attempt == job.status.attempt}
    host = current.get(0)
    first = await _report(reader, host) if host else None
    if host is None or first is None:
        return {}
    others = [pod for index, pod in current.items() if index] if ledger.unsettled(job.status, first, host.uid) else []
    rest = await asyncio.gather(*(_report(reader, pod) for pod in others))
    found = {pod.index: report for pod, report in zip(others, rest, strict=True) if report is not None}
    return {0: first, **found}


async def _report(reader: ProgressReader, pod: Pod) -> Progress | None:
    """What it says; of one that has succeeded, what it said last: nobody may have asked it after its last failure."""
    if pod.running:
        return await reader.read(pod)
    return from_last_words(pod.termination_message) if pod.succeeded else None
