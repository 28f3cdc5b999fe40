"""What the dashboard reads of a real API server: the jobs as they change, with the rights that somebody has."""

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from bounds import BOUND
from neuron_api.resource.overview import JobSummary
from neuron_dashboard.source import SourceError
from neuron_operator.cli.dashboard.cluster_source import ClusterSource
from neuron_operator.cli.live.connection import Access

from .test_kubectl_neuron import account
from .world import JOB, World, manifest


class Screen:
    """What a page would show, from another thread."""

    def __init__(self, source: ClusterSource) -> None:
        self.source, self.stopped = source, threading.Event()
        self.jobs: asyncio.Queue[Sequence[JobSummary]] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self.thread = threading.Thread(target=source.watch, args=(self._show, self.stopped))
        self.thread.start()

    def _show(self, jobs: Sequence[JobSummary]) -> None:
        self._loop.call_soon_threadsafe(self.jobs.put_nowait, jobs)

    async def next(self) -> Sequence[JobSummary]:
        return await asyncio.wait_for(self.jobs.get(), BOUND)

    async def end(self) -> bool:
        """Stop the watch; whether it ended."""
        self.stopped.set()
        self.source.interrupt()
        await asyncio.to_thread(self.thread.join, BOUND)
        return not self.thread.is_alive()


def source(world: World, kubeconfig: Path | None = None) -> ClusterSource:
    path = str(kubeconfig or world.plane.kubeconfig)
    return ClusterSource(Access(path, None, world.namespace), "test", world.namespace, everywhere=False)


async def test_jobs_are_watched_and_the_watch_ends_at_once(world: World) -> None:
    world.apply(manifest())
    screen = Screen(source(world))
    try:
        assert [job.name for job in await screen.next()] == [JOB]
        world.apply(manifest("second"))
        assert {job.name for job in await screen.next()} == {JOB, "second"}
        world.kubectl("delete", "ntj", "second")
        assert [job.name for job in await screen.next()] == [JOB]
    finally:
        assert await screen.end()


async def test_a_job_is_read_with_its_plan_and_suspended(world: World) -> None:
    await world.start()
    key = f"{world.namespace}/{JOB}"
    job = await asyncio.to_thread(source(world).job, key)
    assert (job.step, job.max_steps, len(job.pods)) == (20, 240, 2)
    assert {"processes", "config hash"} <= {fact.label for fact in job.facts}
    assert job.explanation.startswith(f"{JOB} waits for nothing")
    curves = await asyncio.to_thread(source(world).curves, key)
    assert curves.steps == (), "no kubelet here, so neither launcher nor log"
    assert curves.origin
    assert "will be suspended" in source(world).set_suspend(key, suspend=True)
    assert (await world.job()).spec.suspend


async def test_what_somebody_may_not_do_is_a_sentence(world: World, tmp_path: Path) -> None:
    world.apply(manifest())
    nobody = source(world, account(world, tmp_path, "nobody"))
    with pytest.raises(SourceError, match="you may not get") as refused:
        nobody.job(f"{world.namespace}/{JOB}")
    assert refused.value.status == 403
    with pytest.raises(SourceError, match="you may not list"):
        nobody.watch(lambda jobs: None, threading.Event())
    with pytest.raises(SourceError, match="this dashboard shows namespace"):
        source(world).job(f"kube-system/{JOB}")
    with pytest.raises(SourceError, match="there is no NeuronTrainingJob other") as missing:
        source(world).job(f"{world.namespace}/other")
    assert missing.value.status == 404


async def test_without_the_right_to_watch_jobs_are_listed(world: World, tmp_path: Path) -> None:
    reader = account(world, tmp_path, "lister")
    rules = ("--verb=get,list", "--resource=neurontrainingjobs.neurontraining.dev")
    world.kubectl("create", "role", "lister", *rules)
    world.kubectl("create", "rolebinding", "lister", "--role=lister", f"--serviceaccount={world.namespace}:lister")
    screen = Screen(source(world, reader))
    try:
        assert await screen.next() == []
    finally:
        assert await screen.end()
