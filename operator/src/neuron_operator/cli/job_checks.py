"""What the operator would say about a job beside its configuration; for an NxDT file there is nothing beside it."""

from pydantic import ValidationError

from neuron_api.config import TrainingConfig
from neuron_api.findings import Finding, error
from neuron_api.spec import JobSpec

from .documents import Source


def findings(source: Source, config: TrainingConfig) -> tuple[Finding, ...]:
    """Storage and pod template, with the words of the operator's own gate (`planning.configuration`)."""
    if source.spec is None:
        return ()
    from neuron_operator.planning import storage, template

    try:
        spec = JobSpec.model_validate(source.spec)
    except ValidationError as problem:
        return tuple(_wrong(".".join(map(str, one["loc"])), one["msg"]) for one in problem.errors(include_url=False))
    platform = () if spec.platform.instance_type or spec.platform.accelerator == "cpu" else (_NO_TYPE,)
    return (*platform, *template.check(spec.pod_template), *storage.check(spec, config))


_NO_TYPE = error(
    "spec.platform.instanceType",
    "it is not set, so the devices of a node are not known.",
    "Set it, or spec.platform.accelerator to cpu.",
    "NTJ-3001",
)


def _wrong(key: str, message: str) -> Finding:
    return error(f"spec.{key}", f"{message[:1].lower()}{message[1:]}.")
