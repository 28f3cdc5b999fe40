"""What the operator would say about a job that loads: the release's limits, storage, pod template."""

from collections.abc import Iterable
from dataclasses import replace

from pydantic import ValidationError

from neuron_api import support
from neuron_api.config import TrainingConfig
from neuron_api.findings import Finding, Severity, error
from neuron_api.registry import found
from neuron_api.spec import Accelerator, JobSpec

from .documents import Source


def findings(source: Source, config: TrainingConfig, told: Iterable[Finding]) -> tuple[Finding, ...]:
    """In the words of the operator's own gate (`planning.configuration`).

    Of an NxDT file it is only asked what it would be: that this release cannot train it yet is a warning there.
    """
    limits = support.check(config, told)
    if source.spec is None:
        return tuple(replace(one, severity=min(one.severity, Severity.WARNING, key=_HARMLESS.index)) for one in limits)
    from neuron_operator.planning import storage, template

    try:
        spec = JobSpec.model_validate(source.spec)
    except ValidationError as problem:
        return tuple(_wrong(".".join(map(str, one["loc"])), one["msg"]) for one in problem.errors(include_url=False))
    platform = () if spec.platform.instance_type or spec.platform.accelerator is Accelerator.CPU else (_NO_TYPE,)
    return (*limits, *platform, *template.check(spec.pod_template), *storage.check(spec, config))


_HARMLESS = (Severity.NOTE, Severity.WARNING, Severity.ERROR)

_NO_TYPE = found(
    3001,
    "spec.platform.instanceType",
    "it is not set, so the devices of a node are not known.",
    "Set it, or spec.platform.accelerator to CPU.",
)


def _wrong(key: str, message: str) -> Finding:
    return error(f"spec.{key}", f"{message[:1].lower()}{message[1:]}.")
