"""`neuron-operator`: wires the parts together and runs them until a signal, a lost Lease or a crash ends them all."""

import asyncio
import logging
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any, cast

import kopf

from . import logs
from .cache.cached_client import CachedClient
from .cache.idle_jobs import IdleTracker
from .cache.pod_store import PodStore
from .cache.pod_watch import EventCoalescer, PodWatch, WatchStalenessDetector
from .controller import Controller
from .failure_rules import FailureRules
from .handlers import registry
from .kube import gateway as api
from .kube.errors import ApiError, LeaseLostError, NotFoundError, WatchLostError
from .kube.event_recorder import Recorder
from .kube.gateway import Cluster
from .kube.lease import Lease
from .kube.server_clock import Clock
from .monitoring import health
from .monitoring.health import HealthState
from .monitoring.metrics import Metrics, TableMetrics
from .planning.failures.failure_table import TableError
from .queue.workqueue import JobKey, WorkQueue
from .readers import progress_reader
from .settings import Settings, kopf_settings, parse
from .status_writer import StatusThrottle, StatusWriter

log = logging.getLogger("neuron_operator")

_CRD_PAUSE = 5.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; 0 after a signal, 1 when the process must be restarted."""
    settings = parse(arguments)
    logs.configure(settings.log_level, settings.log_format)
    status = 0
    try:
        rules = FailureRules(settings.failure_table)
    except TableError as problem:
        log.error("%s Fix it, or leave out --failure-table: the built-in table is used then.", problem)
        return 1
    try:
        asyncio.run(_run(settings, rules))
    except* LeaseLostError as group:
        log.error("%s: ending, another operator may act", group.exceptions[0])
        status = 1
    except* WatchLostError as group:
        log.error("%s: ending, a new process watches again", group.exceptions[0])
        status = 1
    return status


async def _run(settings: Settings, rules: FailureRules) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        queue: WorkQueue
        lease: Lease
        freshness = WatchStalenessDetector[JobKey]()
        metrics = Metrics(
            lambda: len(queue),
            lambda: lease.is_held,
            lambda: freshness.age() if lease.is_held else None,
            lease=(settings.lease_namespace, settings.lease_name),
        )
        metrics.registry.register(TableMetrics(rules))
        queue = WorkQueue(metrics.observe_pass)
        clock = Clock()
        cluster = await stack.enter_async_context(api.connect(metrics.count_request, clock.observe_server_date))
        reader = await stack.enter_async_context(progress_reader.over_http())
        lease = Lease(cluster, settings.lease_namespace, settings.lease_name, settings.identity, clock, time.monotonic)
        vitals = HealthState(time.monotonic, queue.oldest_wait)
        await stack.enter_async_context(_listen(settings, vitals, metrics))
        idle_tracker = IdleTracker(reader, settings.options.poll_seconds, time.monotonic)

        def wake(key: JobKey, after: float) -> None:
            idle_tracker.end(key)
            queue.add(key, after)

        pods = PodStore(EventCoalescer(wake, time.monotonic))
        recorder, cached_client = Recorder(cluster, settings.identity, clock), CachedClient(cluster, pods)
        writer = StatusWriter(cached_client, recorder, metrics.status_refused)
        vitals.warning = writer.summary
        throttle = StatusThrottle(settings.status_seconds)
        controller = Controller(
            cluster,
            reader,
            recorder,
            metrics,
            settings.options,
            clock,
            throttle,
            writer,
            cached_client,
            idle_tracker,
            rules,
        )
        beats = [asyncio.create_task(vitals.heartbeat()), asyncio.create_task(rules.watch())]
        stack.callback(lambda: [beat.cancel() for beat in beats])
        if await _unless(stop, _prepare(cluster, settings, vitals, lease)):
            await _lead(settings, queue, controller, lease, freshness, pods, wake)


@asynccontextmanager
async def _listen(settings: Settings, vitals: HealthState, metrics: Metrics) -> AsyncIterator[None]:
    """Serve health and metrics, and say where."""
    # With no port given, IPv4 and IPv6 would each get another one.
    host = None if settings.http_port else "127.0.0.1"
    async with health.serve(vitals, metrics.registry, host, settings.http_port) as port:
        log.info("listening on port %d; namespaces: %s", port, ", ".join(settings.namespaces) or "all")
        yield


async def _prepare(cluster: Cluster, settings: Settings, vitals: HealthState, lease: Lease) -> None:
    """Reach the API server, find the CRD, become the leader."""
    while True:
        if await _has_crd(cluster, settings):
            break
        await asyncio.sleep(_CRD_PAUSE)
    vitals.is_started = True
    await lease.acquire()


async def _has_crd(cluster: Cluster, settings: Settings) -> bool:
    try:
        await cluster.list(api.JOB, next(iter(settings.namespaces), ""))
    except NotFoundError:
        log.error("the CustomResourceDefinition is not installed: kubectl apply -f crds/")
        return False
    except ApiError as problem:
        log.error("NeuronTrainingJobs cannot be listed (API server, RBAC?): %s", problem)
        return False
    return True


async def _lead(
    settings: Settings,
    queue: WorkQueue,
    controller: Controller,
    lease: Lease,
    freshness: WatchStalenessDetector[JobKey],
    pods: PodStore,
    wake: Callable[[JobKey, float], None],
) -> None:
    """All parts in one group: any crash ends the process, which is cheap, and silence is not."""
    try:
        async with asyncio.TaskGroup() as group:
            parts = [group.create_task(queue.work(controller.reconcile)) for _ in range(settings.workers)]
            parts.append(group.create_task(lease.keep()))
            parts.append(group.create_task(PodWatch(controller.cluster, pods, settings.namespaces).run()))
            keys = _lister(controller, settings.namespaces, freshness)
            parts.append(group.create_task(queue.resync(keys, settings.resync_seconds)))
            await kopf.operator(
                registry=registry(wake, freshness.observe_event, controller.wrote),
                settings=kopf_settings(),
                # kopf would ask the system for the user's name, and a container's user has none.
                identity=cast("Any", settings.identity),
                clusterwide=not settings.namespaces,
                namespaces=settings.namespaces,
            )
            for part in parts:  # kopf has returned: a signal
                part.cancel()
    except* LeaseLostError:
        lease.is_held = False
        raise
    await lease.release()


def _lister(
    controller: Controller, namespaces: Sequence[str], freshness: WatchStalenessDetector[JobKey]
) -> Callable[[], Awaitable[list[JobKey]]]:
    async def keys() -> list[JobKey]:
        lists = [await controller.cluster.list_metadata(api.JOB, namespace) for namespace in namespaces or ("",)]
        versions = {
            JobKey(metadata["namespace"], metadata["name"]): metadata["resourceVersion"]
            for page in lists
            for metadata in page
        }
        if missed := freshness.missed_keys(versions):
            raise WatchLostError(f"no event reported {', '.join(map(str, missed[:3]))}")
        return [key for key, version in versions.items() if not controller.is_still(key, version)]

    return keys


async def _unless(stop: asyncio.Event, work: Awaitable[None]) -> bool:
    """Do something that may take long; False when a signal came first."""
    doing, waiting = asyncio.ensure_future(work), asyncio.create_task(stop.wait())
    done, _ = await asyncio.wait({doing, waiting}, return_when=asyncio.FIRST_COMPLETED)
    for task in (doing, waiting):
        if task not in done:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
    if doing not in done:
        return False
    doing.result()
    return True


if __name__ == "__main__":
    sys.exit(main())
