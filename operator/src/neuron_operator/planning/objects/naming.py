"""Names of children: deterministic, so that a second creation of the same thing is refused by the API server."""

from neuron_api.resource.job import NeuronTrainingJob


def padded(index: int, count: int) -> str:
    """Zero-padded, so that the order of names is the order of indices (the elastic agent sorts by host name)."""
    return str(index).zfill(len(str(count - 1)))


def pod(job: NeuronTrainingJob, attempt: int, index: int, count: int) -> str:
    """`<job>-<attempt>-<index>`."""
    return f"{job.metadata.name}-{attempt}-{padded(index, count)}"


def host(job: NeuronTrainingJob, index: int, count: int) -> str:
    """`<job>-<index>`: stays the same over replacements and attempts."""
    return f"{job.metadata.name}-{padded(index, count)}"


def service(job: NeuronTrainingJob) -> str:
    """The headless Service; also the subdomain of every host name."""
    return job.metadata.name


def config_map(job: NeuronTrainingJob) -> str:
    """The job's own copy of its configuration."""
    return f"{job.metadata.name}-config"


def rendezvous_host(job: NeuronTrainingJob, count: int) -> str:
    """Pod 0, in a form that every cluster domain resolves by its search list."""
    return f"{host(job, 0, count)}.{service(job)}.{job.metadata.namespace}.svc"
