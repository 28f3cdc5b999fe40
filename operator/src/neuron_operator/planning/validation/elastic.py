"""`spec.elasticPolicy`: legal numbers of nodes, the number that the spec asks for, and what contradicts both.

Before a job is started a contradiction refuses it. Afterwards it is a warning and the job keeps its number of nodes: a
job that trains must not lose its restarts over an edit.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from neuron_api.config import TrainingConfig
from neuron_api.findings.finding import Finding, error, warning
from neuron_api.platform import node_counts
from neuron_api.platform.node_counts import Read
from neuron_api.resource.elastic import ElasticPolicy

KEY = "spec.elasticPolicy"


@dataclass(frozen=True, slots=True)
class NodePlan:
    """How many nodes a job may have."""

    legal: tuple[int, ...]
    """In ascending order; without a policy the configuration's own number alone."""
    desired: int | None
    """What the spec asks for; None: nothing that is legal, so the number stays."""
    findings: tuple[Finding, ...] = ()

    def below(self, count: int) -> tuple[int, ...]:
        """Return the legal numbers below this one."""
        return tuple(legal for legal in self.legal if legal < count)

    def up_to(self, count: int) -> int | None:
        """Return the largest legal number that is not above this one; None: there is none."""
        return max((legal for legal in self.legal if legal <= count), default=None)


def node_plan(policy: ElasticPolicy | None, config: TrainingConfig, read: Read, *, started: bool) -> NodePlan:
    """Return legal and desired numbers of nodes; `started`: contradictions are warnings."""
    own = config.trainer.num_nodes
    if policy is None:
        return NodePlan((own,), own)
    low, high = policy.min_nodes, policy.max_nodes or own
    counts = node_counts.legal_counts(config, range(low, high + 1), read)
    desired = policy.nodes or own
    make = warning if started else error
    findings = [make(*fault) for fault in _faults(policy, config, counts.legal, counts.obstacle)]
    return NodePlan(counts.legal or (own,), desired if desired in counts.legal else None, tuple(findings))


def _faults(
    policy: ElasticPolicy, config: TrainingConfig, legal: tuple[int, ...], obstacle: str
) -> Iterator[tuple[str, str, str]]:
    """Yield key, fault and remedy."""
    own, low = config.trainer.num_nodes, policy.min_nodes
    high, listed = policy.max_nodes or own, ", ".join(map(str, legal))
    if policy.nodes is None and not low <= own <= high:
        message = f"trainer.num_nodes ({own}) is not between minNodes ({low}) and maxNodes ({high})."
        yield KEY, message, "Change a bound, or the configuration."
    elif len(legal) <= 1:
        reason = f" {obstacle[:1].upper()}{obstacle[1:]}" if obstacle else ""
        message = (
            f"of {low} to {high} nodes only {listed or 'none'} is legal, so the number could never change.{reason}"
        )
        remedy = (
            "Widen minNodes and maxNodes, or change data.global_batch_size or data.micro_batch_size: their quotient "
            "must be a multiple of the data-parallel size."
        )
        yield KEY, message, remedy
    elif policy.nodes is not None and policy.nodes not in legal:
        yield f"{KEY}.nodes", f"{policy.nodes} is not legal.", f"Use one of {listed}."
    if not config.exp_manager.resume_if_exists:
        message = "exp_manager.resume_if_exists is False, so the job would begin again at step 0 with each change."
        yield KEY, message, "Set it to True."
    elif not config.exp_manager.writes_checkpoints:
        message = "exp_manager writes no checkpoints, so the job would begin again at step 0 with each change."
        yield KEY, message, "Set exp_manager.create_checkpoint_callback to True."
