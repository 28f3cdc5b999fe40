"""What the operator would say about a job that loads: the release's limits, storage, pod template."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from neuron_api import memory_copies
from neuron_api.config import TrainingConfig
from neuron_api.findings.finding import Finding, error, errors_of
from neuron_api.findings.registry import make_finding
from neuron_api.loading import device_count
from neuron_api.manifest import envelope
from neuron_api.platform import instances, node_counts
from neuron_api.resource.accelerator import Accelerator
from neuron_api.resource.spec import JobSpec
from neuron_api.schema import support

from .documents import Source

if TYPE_CHECKING:
    from neuron_operator.planning.validation.elastic import NodePlan


def findings(source: Source, config: TrainingConfig, reported: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return the findings of the operator's own validation (`planning.validation`); the manifest itself is
    `envelope`'s."""
    limits = support.check(config, reported)
    if source.spec is None:
        return limits
    return (*limits, *spec_findings(source.spec, config, source.findings))


def spec_findings(
    spec: Mapping[str, Any], config: TrainingConfig, reported: Iterable[Finding] = ()
) -> tuple[Finding, ...]:
    """Platform, pod template and storage of a job's spec; nothing where `reported` has errors of its fields already."""
    from neuron_operator.planning.validation import pod_memory, storage, template

    try:
        parsed = JobSpec.model_validate(spec)
    except ValidationError as problem:
        wrong = tuple(
            _wrong(".".join(map(str, fault["loc"])), fault["msg"]) for fault in problem.errors(include_url=False)
        )
        return () if errors_of(reported) else envelope.check_spec(spec) or wrong
    is_known = parsed.platform.instance_type or parsed.platform.accelerator is not Accelerator.NEURON
    platform = (
        () if is_known or any(finding.key.startswith("spec.p") for finding in errors_of(reported)) else (_NO_TYPE,)
    )
    lacking = (
        () if any(finding.key == storage.KEY for finding in errors_of(reported)) else storage.findings(parsed, config)
    )
    copies = parsed.memory_checkpoints
    return (
        *platform,
        *instances.contradictions(parsed.platform),
        *template.findings(parsed.pod_template),
        *lacking,
        *(memory_copies.check(copies, config) if copies is not None else ()),
        *pod_memory.findings(
            parsed.pod_template, pod_memory.copies(parsed, config), pod_memory.processes(parsed, config)
        ),
    )


def node_plan(
    source: Source,
    overrides: Sequence[str],
    config: TrainingConfig,
    check: Callable[[TrainingConfig], Iterable[Finding]],
) -> "NodePlan | None":
    """Return the legal numbers of nodes; None for a job without spec.elasticPolicy, or one that cannot be read.

    `check` returns what the platform and the model say of a configuration.
    """
    from neuron_operator.planning.validation import elastic

    if not isinstance((source.spec or {}).get("elasticPolicy"), Mapping) or errors_of(source.findings):
        return None
    try:
        spec = JobSpec.model_validate(source.spec)
    except ValidationError:
        return None

    def read(count: int) -> tuple[TrainingConfig | None, Iterable[Finding]]:
        more = (device_count.as_override(config.trainer.devices), node_counts.as_override(count))
        loaded, resized = source.load((*overrides, *more)), node_counts.with_nodes(config, count)
        return loaded.config, (*loaded.findings, *check(resized))

    return elastic.node_plan(spec.elastic_policy, config, read, started=False)


_NO_TYPE = make_finding(
    3001,
    "spec.platform.instanceType",
    "it is not set, so the devices of a node are not known.",
    "Set it, or spec.platform.accelerator to CPU or CUDA.",
)


def _wrong(key: str, message: str) -> Finding:
    return error(f"spec.{key}", f"{message[:1].lower()}{message[1:]}.")
