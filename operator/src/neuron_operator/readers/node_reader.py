"""Nodes of pods in trouble, one by one: nodes are never listed. Without the right to read them, nothing is known."""

import asyncio
import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cache

from neuron_api.resource.job import NeuronTrainingJob
from neuron_operator.kube import gateway as api
from neuron_operator.kube.errors import NotFoundError, RefusedError
from neuron_operator.kube.gateway import Cluster
from neuron_operator.planning.observation import nodes
from neuron_operator.planning.observation.observation import Node, Pod
from neuron_operator.planning.restarts import diagnosis

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Nodes:
    """What was read."""

    lost: frozenset[str] = frozenset()
    """Those that do not exist, and those that are off where the job wants that to be believed."""
    existing: Mapping[str, Node] = field(default_factory=dict)


async def read(cluster: Cluster, job: NeuronTrainingJob, own: Collection[Pod]) -> Nodes:
    """The nodes of pods that are not well, or are gone, or in which a process has failed since the last step."""
    names = sorted(diagnosis.suspects(job, own))
    answers = await asyncio.gather(*(_read(cluster, name) for name in names))
    existing = {node.name: node for node in answers if isinstance(node, Node)}
    gone = {name for name, node in zip(names, answers, strict=True) if node is None}
    if job.spec.node_policy.force_delete_fenced:
        gone |= {node.name for node in existing.values() if node.is_fenced}
    return Nodes(frozenset(gone), existing)


async def _read(cluster: Cluster, name: str) -> Node | str | None:
    """None: it does not exist; a text: why nobody knows."""
    try:
        return nodes.read(await cluster.get(api.NODE, "", name))
    except NotFoundError:
        return None
    except RefusedError as problem:
        _say_once(problem.message)
        return problem.message


@cache
def _say_once(why: str) -> None:
    """An operator that was installed for some namespaces only has no right to read nodes."""
    log.warning(
        "nodes cannot be read (%s): faults of the hardware are known only by what processes say, lost nodes only by "
        "what becomes of their pods; the chart grants `get nodes` where watchNamespaces is empty",
        why,
    )
