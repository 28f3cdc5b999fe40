"""The plan of a job that is on the cluster, as rows: what its configuration asks for."""

from neuron_api.resource.job import NeuronTrainingJob
from neuron_api.resource.overview import Fact

from . import plan, table
from .documents import Source


def facts(job: NeuronTrainingJob) -> tuple[Fact, ...]:
    """Return the rows of `plan`; none where the configuration is in another object, or cannot be read."""
    if job.spec.config is None:
        return ()
    spec = job.spec.model_dump(mode="json", by_alias=True, exclude_none=True)
    source = Source(job.metadata.name, spec, config_object=job.spec.config)
    planned = plan.plan_source(source, (), (None, None), None)
    return tuple(Fact(label=label, value=value) for label, value in table.rows(planned))
