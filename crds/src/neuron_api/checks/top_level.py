"""Keys of the top level, and `precision`: name, queue depth, buckets, cache, keys that only type manual reads."""

from collections.abc import Iterator, Mapping
from typing import Final

from neuron_api.config import PrecisionConfig, TrainingConfig
from neuron_api.findings.finding import Finding
from neuron_api.findings.registry import make_finding
from neuron_api.platform import directories
from neuron_api.platform.environment import REDUCE_SCATTER_CAP_MB, XLA_CAP_MB
from neuron_api.schema.key_path import fields

_DEEP_QUEUE: Final = 3
"""Requests in flight above which upstream's documentation warns of the device's memory."""


def check(config: TrainingConfig) -> Iterator[Finding]:
    """Yield the findings about names, queue depth, buckets, cache and precision."""
    yield from _paths(config)
    yield from _runtime(config)
    yield from _precision(config)


def _paths(config: TrainingConfig) -> Iterator[Finding]:
    manager = config.exp_manager
    for key, name in (
        ("name", config.name),
        ("exp_manager.name", manager.name),
        ("exp_manager.version", manager.version),
    ):
        if name and name != directories.as_path_part(name):
            yield make_finding(2001, key, f"in paths {name!r} becomes {directories.as_path_part(name)!r}.")
    cache = config.compiler_cache_url
    if cache is not None and "://" in cache and not cache.startswith("s3://"):
        yield make_finding(2004, "compiler_cache_url", f"{cache!r} is neither a path nor an s3:// address.")


def _runtime(config: TrainingConfig) -> Iterator[Finding]:
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
            f"Neuron, and on Trn1 all three {XLA_CAP_MB} MB.",
        )


_MIXED: Final = frozenset(("master_weights", "fp32_grad_acc", "fp32_grads_cc", "xla_downcast_bf16"))
_ROUNDING: Final = frozenset(("neuron_rt_stochastic_rounding_en",))
_IMPLIED: Final[Mapping[str, frozenset[str]]] = {
    "mixed_precision": _MIXED,
    "mixed_precisionSR": _MIXED | _ROUNDING,
    "mixed_precision_SR": _MIXED | _ROUNDING,
    "bf16SR": frozenset(("xla_use_bf16",)) | _ROUNDING,
    "fp32": frozenset(("fp32_grad_acc", "fp32_grads_cc")),
    "autocast": _MIXED,
}
"""Keys that a type switches on by itself: real files repeat them, which is not worth a finding (A20)."""


def _precision(config: TrainingConfig) -> Iterator[Finding]:
    """Yield the findings about `precision`; none for a value that is the key's default or that the type implies."""
    precision = config.precision
    if precision.type == "manual":
        if precision.xla_use_bf16 and precision.xla_downcast_bf16:
            yield make_finding(2802, "precision.xla_downcast_bf16", "it has no effect beside xla_use_bf16.")
        return
    for key in fields(PrecisionConfig):
        value = getattr(precision, key)
        if value is True and key not in _IMPLIED[precision.type]:
            yield make_finding(2801, f"precision.{key}", f"it is not read with type {precision.type}.")
