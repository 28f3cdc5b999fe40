"""Environment variables that follow from the configuration; the launcher applies them before torch is imported."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from neuron_api.config import TrainingConfig

_MIXED = ("mixed_precision", "mixed_precisionSR", "mixed_precision_SR", "bf16SR", "autocast")
REDUCE_SCATTER_CAP_MB = 130
"""Above 140 MB the reduce-scatter buckets give NaN on the device."""
_BUCKETS = "BUCKET_CAP_MB ALLREDUCE_BUCKET_CAP_MB ALL_GATHER_REDUCE_SCATTER_BUCKET_CAP_MB"
_TYPES = "XLA_USE_BF16 XLA_DOWNCAST_BF16 NEURON_RT_STOCHASTIC_ROUNDING_EN NEURON_CC_FLAGS"
VARIABLES: Final[Mapping[str, tuple[str, ...]]] = {
    key: tuple(names.split())
    for key, names in {
        "model.fusions.softmax": "NEURON_FUSE_SOFTMAX",
        "neuron_experimental_compress_rg": "NEURON_EXPERIMENTAL_COMPRESS_RG",
        "aync_exec_max_inflight_requests": "NEURON_RT_ASYNC_EXEC_MAX_INFLIGHT_REQUESTS",
        "bucket_size_collectives": _BUCKETS,
        "compiler_cache_url": "NEURON_COMPILE_CACHE_URL",
        "neuron_rt_exec_timeout": "NEURON_RT_EXEC_TIMEOUT",
        "precision.type": _TYPES,
        "precision.xla_use_bf16": "XLA_USE_BF16",
        "precision.xla_downcast_bf16": "XLA_DOWNCAST_BF16",
        "precision.neuron_rt_stochastic_rounding_en": "NEURON_RT_STOCHASTIC_ROUNDING_EN",
        "trainer.lnc": "NEURON_LOGICAL_NC_CONFIG",
        "compiler_flags": "NEURON_CC_FLAGS",
    }.items()
}
"""Names of the variables by key, for the reference."""


@dataclass(frozen=True, slots=True)
class Variable:
    """One variable; with `append` it is added to an existing value, otherwise an existing value wins (R7)."""

    name: str
    value: str
    append: bool = False


def derive(config: TrainingConfig) -> tuple[Variable, ...]:
    """Return the variables of a configuration; absent keys set nothing."""
    variables: list[Variable] = []
    if config.model.fusions.softmax:
        variables.append(Variable("NEURON_FUSE_SOFTMAX", "1"))
    if config.neuron_experimental_compress_rg is not None:
        variables.append(Variable("NEURON_EXPERIMENTAL_COMPRESS_RG", str(int(config.neuron_experimental_compress_rg))))
    inflight = config.aync_exec_max_inflight_requests
    inflight = config.async_exec_max_inflight_requests if inflight is None else inflight
    if inflight is not None:
        variables.append(Variable("NEURON_RT_ASYNC_EXEC_MAX_INFLIGHT_REQUESTS", str(inflight)))
    if (bucket := config.bucket_size_collectives) is not None:
        variables += [Variable("BUCKET_CAP_MB", str(bucket)), Variable("ALLREDUCE_BUCKET_CAP_MB", str(bucket))]
        capped = min(bucket, REDUCE_SCATTER_CAP_MB)
        variables.append(Variable("ALL_GATHER_REDUCE_SCATTER_BUCKET_CAP_MB", str(capped)))
    if config.compiler_cache_url:
        variables.append(Variable("NEURON_COMPILE_CACHE_URL", config.compiler_cache_url))
    if config.neuron_rt_exec_timeout is not None:
        variables.append(Variable("NEURON_RT_EXEC_TIMEOUT", str(config.neuron_rt_exec_timeout)))
    variables += _precision(config)
    if config.trainer.lnc is not None:
        variables.append(Variable("NEURON_LOGICAL_NC_CONFIG", str(config.trainer.lnc)))
    flags = " ".join(part for part in (config.compiler_flags.strip(), _precision_flags(config)) if part)
    if flags:
        variables.append(Variable("NEURON_CC_FLAGS", flags, append=True))
    return tuple(variables)


def apply(variables: tuple[Variable, ...], environ: Mapping[str, str]) -> dict[str, str]:
    """Return the values to set: those of missing variables, and the appended ones."""
    result: dict[str, str] = {}
    for variable in variables:
        present = environ.get(variable.name)
        if variable.append and present:
            result[variable.name] = f"{present} {variable.value}"
        elif present is None:
            result[variable.name] = variable.value
    return result


def _precision(config: TrainingConfig) -> list[Variable]:
    precision_type, keys = config.precision.type, config.precision
    use_bf16, downcast, rounding = {
        "mixed_precision": (0, 1, 0),
        "mixed_precisionSR": (0, 1, 1),
        "mixed_precision_SR": (0, 1, 1),
        "bf16SR": (1, 0, 1),
        "fp32": (0, 0, None),
        "autocast": (0, 0, 0),
        "manual": (int(keys.xla_use_bf16), int(keys.xla_downcast_bf16), int(keys.neuron_rt_stochastic_rounding_en)),
    }[precision_type]
    variables = [Variable("XLA_USE_BF16", str(use_bf16)), Variable("XLA_DOWNCAST_BF16", str(downcast))]
    if rounding is not None:
        variables.append(Variable("NEURON_RT_STOCHASTIC_ROUNDING_EN", str(rounding)))
    return variables


def _precision_flags(config: TrainingConfig) -> str:
    precision_type = config.precision.type
    accumulate = "--enable-mixed-precision-accumulation" if precision_type in _MIXED else ""
    cast = "--auto-cast none" if precision_type in ("fp32", "autocast") else ""
    return " ".join(part for part in (accumulate, cast) if part)
