"""How long a job will still take: as its status says, or else the steps that are left at the throughput it reports."""

from neuron_api.derive import alignment
from neuron_api.loading.loader import load_object
from neuron_api.resource.job import NeuronTrainingJob


def seconds_left(job: NeuronTrainingJob) -> float | None:
    """None where it does not train, has no end, or its configuration is elsewhere (configFrom).

    A step has global_batch_size x sequence length tokens, as the trainer counts them for `tokensPerSecond`.
    """
    progress = job.status.progress
    if progress is None or progress.max_steps is None:
        return None
    if progress.estimated_completion_time and progress.last_step_time:
        return max(0.0, (progress.estimated_completion_time - progress.last_step_time).total_seconds())
    if not progress.tokens_per_second:
        return None
    tokens = tokens_per_step(job)
    if job.status.finished or tokens is None:
        return None
    return max(0, progress.max_steps - progress.step) * tokens / progress.tokens_per_second


def tokens_per_step(job: NeuronTrainingJob) -> int | None:
    """None where the configuration is not in the job, or cannot be read."""
    loaded = load_object(job.spec.config) if job.spec.config is not None else None
    if loaded is None or loaded.config is None:
        return None
    config = loaded.config
    return config.data.global_batch_size * alignment.sequence_length(config, alignment.strategy(config))
