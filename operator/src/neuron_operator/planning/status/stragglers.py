"""Slow processes, as pod 0 reports them, with the pods and nodes that they are on."""

from collections.abc import Iterator, Mapping

from neuron_api.resource.progress import Progress, StragglerReport, StragglerStatus
from neuron_api.resource.status import JobStatus, PodStatus


def update(status: JobStatus, report: Progress | None, pods: Mapping[int, PodStatus]) -> JobStatus:
    """Return the status with the slow processes of a report. Where a process was found slow it stays, with the pod and
    node of that time: its pod may have moved since."""
    if report is None:
        return status
    before = {_identity(straggler): straggler for straggler in status.stragglers}
    reported = (_on_its_node(each, pods.get(each.node_rank)) for each in report.stragglers or ())
    now = tuple(before.get(_identity(straggler), straggler) for straggler in reported)
    return status.model_copy(update={"stragglers": now})


def new(before: JobStatus, after: JobStatus) -> Iterator[StragglerStatus]:
    """Yield what `after` has more: of each node the slowest process."""
    earlier = {_identity(straggler) for straggler in before.stragglers}
    worst: dict[str, StragglerStatus] = {}
    for straggler in after.stragglers:
        if _identity(straggler) not in earlier:
            place = straggler.node or straggler.pod
            if place not in worst or straggler.ratio > worst[place].ratio:
                worst[place] = straggler
    yield from worst.values()


def sentence(straggler: StragglerStatus) -> str:
    """Return who is slow, and the evidence."""
    where = f" on node {straggler.node}" if straggler.node else ""
    cause = "its waits for a batch" if straggler.part == "data" else "its own work"
    return (
        f"Rank {straggler.rank} in pod {straggler.pod}{where} is slow, and all others wait: {straggler.ratio:.2f} x "
        f"the time of those with the same work, {1000 * straggler.seconds:.0f} ms a step without its waits for others, "
        f"the others {1000 * straggler.usual_seconds:.0f} ms; most of the difference in {cause} (median of "
        f"{straggler.steps} steps up to step {straggler.step})."
    )


def _on_its_node(report: StragglerReport, pod: PodStatus | None) -> StragglerStatus:
    return StragglerStatus(
        rank=report.rank,
        pod=pod.name if pod is not None else "",
        node=pod.node if pod is not None else "",
        part=report.part,
        ratio=report.ratio,
        seconds=report.seconds,
        usual_seconds=report.usual_seconds,
        steps=report.steps,
        step=report.step,
        time=report.time,
    )


def _identity(straggler: StragglerStatus) -> tuple[object, ...]:
    return straggler.rank, straggler.time
