"""Unusual steps, as pod 0 reports them; those of starts before stay."""

from collections.abc import Iterator

from neuron_api.contract import MAX_SPIKES
from neuron_api.resource.progress import Progress, SpikeStatus
from neuron_api.resource.status import JobStatus


def update(status: JobStatus, report: Progress | None) -> JobStatus:
    """Return the status with the unusual steps of a report. A step that was done again, and is unusual again, is the
    same."""
    earlier = {_identity(spike) for spike in status.spikes}
    reported = (SpikeStatus(**each.model_dump()) for each in (report.newest_spikes if report is not None else ()))
    more = tuple(spike for spike in reported if _identity(spike) not in earlier)
    return status.model_copy(update={"spikes": (*status.spikes, *more)[-MAX_SPIKES:]}) if more else status


def new(before: JobStatus, after: JobStatus) -> Iterator[SpikeStatus]:
    """Yield what `after` has more."""
    earlier = {_identity(spike) for spike in before.spikes}
    yield from (spike for spike in after.spikes if _identity(spike) not in earlier)


def sentence(spike: SpikeStatus) -> str:
    """Return what was unusual, and what the step had read."""
    return (
        f"Step {spike.step}: the {spike.quantity} was {spike.value:.4g}, and {spike.usual:.4g} was usual in the steps "
        f"before. It had read samples {spike.first_sample} to {spike.last_sample} in the order of training (that of "
        "shuffled data is another)."
    )


def _identity(spike: SpikeStatus) -> tuple[object, ...]:
    return spike.step, spike.quantity
