"""Keys of the top level: name, queue depth, buckets, cache."""

from collections.abc import Iterator
from typing import Final

from neuron_api.config import TrainingConfig
from neuron_api.findings.finding import Finding
from neuron_api.findings.registry import make_finding
from neuron_api.platform import directories
from neuron_api.platform.environment import REDUCE_SCATTER_CAP_MB

_DEEP_QUEUE: Final = 3
"""Requests in flight above which upstream's documentation warns of the device's memory."""


def check(config: TrainingConfig) -> Iterator[Finding]:
    """Yield the findings about names, queue depth, buckets and cache."""
    manager = config.exp_manager
    for key, name in (
        ("name", config.name),
        ("exp_manager.name", manager.name),
        ("exp_manager.version", manager.version),
    ):
        if name and name != directories.as_path_part(name):
            yield make_finding(2001, key, f"in paths {name!r} becomes {directories.as_path_part(name)!r}.")
    depth = config.aync_exec_max_inflight_requests
    if depth is not None and depth > _DEEP_QUEUE:
        yield make_finding(
            2002, "aync_exec_max_inflight_requests", f"{depth} requests in flight may run out of memory."
        )
    bucket = config.bucket_size_collectives
    if bucket is not None and bucket > REDUCE_SCATTER_CAP_MB:
        yield make_finding(
            2003,
            "bucket_size_collectives",
            f"{bucket} MB is used for all-reduce; reduce-scatter and all-gather take {REDUCE_SCATTER_CAP_MB} MB on "
            "Neuron.",
        )
    cache = config.compiler_cache_url
    if cache is not None and "://" in cache and not cache.startswith("s3://"):
        yield make_finding(2004, "compiler_cache_url", f"{cache!r} is neither a path nor an s3:// address.")
