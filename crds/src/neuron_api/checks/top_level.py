"""Keys of the top level."""

import re
from collections.abc import Iterator
from typing import Final

from neuron_api.config import TrainingConfig
from neuron_api.environment import REDUCE_SCATTER_CAP_MB
from neuron_api.findings import Finding
from neuron_api.registry import found

_IN_PATHS: Final = re.compile(r"[^A-Za-z0-9._-]")
_DEEP: Final = 3
"""Requests in flight above which upstream's documentation warns of the device's memory."""


def check(config: TrainingConfig) -> Iterator[Finding]:
    """Name, queue, buckets, cache."""
    if _IN_PATHS.search(config.name):
        yield found(2001, "name", f"in paths {config.name!r} becomes {_IN_PATHS.sub('_', config.name)!r}.")
    depth = config.aync_exec_max_inflight_requests
    if depth is not None and depth > _DEEP:
        yield found(2002, "aync_exec_max_inflight_requests", f"{depth} requests in flight may run out of memory.")
    bucket = config.bucket_size_collectives
    if bucket is not None and bucket > REDUCE_SCATTER_CAP_MB:
        yield found(
            2003,
            "bucket_size_collectives",
            f"{bucket} MB is used for all-reduce; reduce-scatter and all-gather take {REDUCE_SCATTER_CAP_MB} MB on "
            "Neuron.",
        )
    cache = config.compiler_cache_url
    if cache is not None and "://" in cache and not cache.startswith("s3://"):
        yield found(2004, "compiler_cache_url", f"{cache!r} is neither a path nor an s3:// address.")
