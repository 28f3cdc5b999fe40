"""The operator's settings: command line, then environment; and kopf's, derived from them
(upstream-facts.md#kopf-settings)."""

import argparse
import os
import random
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import kopf

from neuron_api import contract, version
from neuron_api.resource.scheduling import GangScheduler

from .logs import Format
from .planning.options import IMAGE_KINDS, Options


@dataclass(frozen=True, slots=True)
class Settings:
    """See `--help` of each."""

    namespaces: tuple[str, ...]
    options: Options
    failure_table: str
    status_seconds: float
    resync_seconds: float
    workers: int
    http_port: int
    lease_name: str
    lease_namespace: str
    identity: str
    log_level: str
    log_format: Format


def parse(arguments: Sequence[str] | None = None, environ: Mapping[str, str] = os.environ) -> Settings:
    """Read the command line; exits with a sentence when it is wrong."""
    options = _parser(environ).parse_args(arguments)
    return Settings(
        namespaces=tuple(name for name in options.namespaces.split(",") if name),
        options=Options(
            images={kind: image for kind in IMAGE_KINDS if (image := getattr(options, f"image_{kind}"))},
            poll_seconds=options.poll_seconds,
            gang_schedulers=options.gang_schedulers,
        ),
        failure_table=options.failure_table,
        status_seconds=options.status_seconds,
        resync_seconds=options.resync_seconds,
        workers=options.workers,
        http_port=options.http_port,
        lease_name=options.lease_name,
        lease_namespace=options.lease_namespace,
        identity=environ.get("POD_NAME") or socket.gethostname(),
        log_level=options.log_level,
        log_format=options.log_format,
    )


def kopf_settings() -> kopf.OperatorSettings:
    """kopf as a shell: it watches and logs in, and writes nothing."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.peering.standalone = True
    settings.scanning.disabled = True
    settings.watching.chunk_size = 500
    settings.watching.connect_timeout = 10
    settings.networking.connect_timeout = 10
    settings.networking.request_timeout = 60
    settings.networking.error_backoffs = _Backoffs()
    settings.execution.max_workers = 4
    settings.persistence.finalizer = f"{contract.GROUP}/finalizer"
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=contract.GROUP)
    settings.persistence.diffbase_storage = _NoDiff()
    return settings


class _NoDiff(kopf.DiffBaseStorage):
    """Handlers here get events only, and kopf prepares a diff for each: a tenth of the operator's time in a burst."""

    def build(self, **_: Any) -> Any:
        """Nothing is compared."""
        return {}

    def fetch(self, **_: Any) -> Any:
        """Nothing was kept."""
        return None

    def store(self, **_: Any) -> None:
        """Nothing is kept."""


class _Backoffs:
    """About five minutes of retries with jitter, again each time: a control plane that is upgraded comes back."""

    def __iter__(self) -> Iterator[float]:
        for delay in (1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 89):
            yield delay * random.uniform(0.8, 1.2)


def _parser(environ: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="neuron-operator", description="Run NeuronTrainingJobs on Kubernetes.")
    add = parser.add_argument
    add("--version", action="version", version=f"%(prog)s {version()}")
    add("--namespaces", default="", metavar="A,B", help="namespaces to look after; default all")
    for kind, jobs in IMAGE_KINDS.items():
        add(f"--image-{kind}", default="", metavar="IMAGE", help=f"trainer image of jobs on {jobs} without an image")
    add(
        "--gang-schedulers",
        type=_schedulers,
        default=frozenset(),
        metavar="A,B",
        help=f"what jobs may name in spec.scheduling.gang, out of {', '.join(_SCHEDULERS)}; default none",
    )
    add("--failure-table", default="", metavar="FILE", help="what failures mean, as YAML; default: the built-in table")
    add("--poll-seconds", type=_positive, default=5.0, metavar="S", help="between two looks at a job's progress")
    add("--status-seconds", type=_positive, default=10.0, metavar="S", help="least time between two writes of numbers")
    add("--resync-seconds", type=_positive, default=300.0, metavar="S", help="between two looks at every job")
    add("--workers", type=_count, default=8, metavar="N", help="jobs that are worked on at the same time")
    add("--http-port", type=int, default=8080, metavar="PORT", help="for /livez, /readyz and /metrics; 0 for any")
    add("--lease-name", default="neuron-training-operator", metavar="NAME")
    add(
        "--lease-namespace",
        default=environ.get("POD_NAMESPACE") or "default",
        metavar="NAMESPACE",
        help="namespace of the Lease; default $POD_NAMESPACE, or default",
    )
    add("--log-level", choices=["debug", "info", "warning", "error"], default="info")
    add("--log-format", choices=["json", "text"], default="text")
    return parser


_SCHEDULERS = tuple(scheduler.value for scheduler in GangScheduler if scheduler is not GangScheduler.NONE)


def _schedulers(text: str) -> frozenset[GangScheduler]:
    names = {name for name in text.split(",") if name}
    if unknown := sorted(names - set(_SCHEDULERS)):
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: use {', '.join(_SCHEDULERS)}")
    return frozenset(map(GangScheduler, names))


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return int(text)


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return value
