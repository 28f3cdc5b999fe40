"""`spec.elasticPolicy` and `status.elastic`: a job that goes on with fewer nodes, and grows back.

Only data parallelism changes. Tensor, pipeline, context and expert sizes, the global batch and the order of samples
stay; each process has more micro-batches, or fewer.
"""

from enum import StrEnum
from typing import Final

from pydantic import AwareDatetime, Field

from neuron_api.contract import MAX_NODES

from .wire_values import ApiObject, StatusObject

SHRINK_AFTER_SECONDS: Final = 300
"""Nodes of a cloud take one to three minutes to come."""


class GrowthPoint(StrEnum):
    """When a job with room for more nodes takes them."""

    CHECKPOINT = "Checkpoint"
    """After the next checkpoint: nothing is done twice, and the new nodes wait for it."""
    STEP = "Step"
    """At once: the processes finish their step and save, as for a suspension."""


class ElasticPolicy(ApiObject):
    """How the number of nodes may change while the job lives. Only data parallelism changes: a number of nodes is legal
    if the other parallel sizes divide its processes, and micro_batch_size x data-parallel size divides
    global_batch_size."""

    min_nodes: int = Field(default=1, ge=1, le=MAX_NODES)
    """Minimum number of nodes. Default 1."""

    max_nodes: int | None = Field(default=None, ge=1, le=MAX_NODES)
    """Maximum number of nodes. Default: trainer.num_nodes."""

    nodes: int | None = Field(default=None, ge=1, le=MAX_NODES)
    """Number of nodes that the job should have; `kubectl scale` sets it once it is there. May be changed while the job
    runs: fewer are taken away at once, after a save; more are taken as soon as pods for them have nodes. Default:
    trainer.num_nodes."""

    shrink_after_seconds: int = Field(default=SHRINK_AFTER_SECONDS, ge=1, le=86400)
    """Seconds that a pod may be without a node, by the scheduler's word, before the job goes on with the next smaller
    legal number of nodes. Default 300."""

    grow_after_seconds: int = Field(default=600, ge=1, le=31536000)
    """Minimum seconds between a change of the number of nodes and the next growth, unless nodes was changed. Default
    600."""

    grow_at: GrowthPoint = GrowthPoint.CHECKPOINT
    """When a job grows that has nodes for it. Checkpoint: after the next checkpoint; until then the new nodes are idle.
    Step: at once; the processes finish their step and save. Default Checkpoint."""


class ElasticStatus(StatusObject):
    """The number of nodes of an elastic job."""

    nodes: int
    """Nodes of the current attempt."""
    desired_nodes: int
    """Nodes that the spec asks for."""
    legal_nodes: tuple[int, ...] = Field(default=(), max_length=MAX_NODES)
    """All legal numbers of nodes between minNodes and maxNodes."""
    last_change_time: AwareDatetime | None = None
    """When the number of nodes was last changed."""
    next_growth_time: AwareDatetime | None = None
    """When the job may grow again; absent if it may now."""
