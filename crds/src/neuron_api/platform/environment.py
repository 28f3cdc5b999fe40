"""Environment variables that follow from the configuration; the launcher applies them before torch is imported."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from neuron_api.config import TrainingConfig

_MIXED = ("mixed_precision", "mixed_precisionSR", "mixed_precision_SR", "bf16SR", "autocast")
REDUCE_SCATTER_CAP_MB = 130
"""Above 140 MB the reduce-scatter buckets give NaN on the device."""
XLA_CAP_MB = 65
"""Of the backend for PyTorch/XLA, in the device's bytes: NxD counts the 130 in fp32 of tensors that are bf16 there."""
_BUCKETS = "BUCKET_CAP_MB ALLREDUCE_BUCKET_CAP_MB ALL_GATHER_REDUCE_SCATTER_BUCKET_CAP_MB"
DOWNCASTS: Final = ("XLA_USE_BF16", "XLA_DOWNCAST_BF16")
"""With one of them PyTorch/XLA makes bf16 of every fp32 tensor, masters and sums of gradients included, and `dtype`
still says fp32. NxDT keeps its masters in fp64 then. Here dtypes are what they are called, so both are 0."""
VARIABLES: Final[Mapping[str, tuple[str, ...]]] = {
    key: tuple(names.split())
    for key, names in {
        "model.fusions.softmax": "NEURON_FUSE_SOFTMAX",
        "neuron_experimental_compress_rg": "NEURON_EXPERIMENTAL_COMPRESS_RG",
        "aync_exec_max_inflight_requests": "NEURON_RT_ASYNC_EXEC_MAX_INFLIGHT_REQUESTS",
        "bucket_size_collectives": _BUCKETS,
        "compiler_cache_url": "NEURON_COMPILE_CACHE_URL",
        "neuron_rt_exec_timeout": "NEURON_RT_EXEC_TIMEOUT",
        "precision.type": "NEURON_RT_STOCHASTIC_ROUNDING_EN NEURON_CC_FLAGS",
        "precision.neuron_rt_stochastic_rounding_en": "NEURON_RT_STOCHASTIC_ROUNDING_EN",
        "trainer.lnc": "NEURON_LOGICAL_NC_CONFIG",
        "compiler_flags": "NEURON_CC_FLAGS",
    }.items()
}
"""Names of the variables by key, for the reference."""


@dataclass(frozen=True, slots=True)
class Variable:
    """One variable; an existing value wins (R7), unless this one is appended to it or is the only one possible."""

    name: str
    value: str
    append: bool = False
    is_fixed: bool = False


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
        elif present is None or variable.is_fixed:
            result[variable.name] = variable.value
    return result


def overruled(variables: tuple[Variable, ...], environ: Mapping[str, str]) -> Iterator[str]:
    """Yield a sentence for each value of the user's that `apply` does not leave."""
    for variable in variables:
        present = environ.get(variable.name, variable.value)
        if variable.is_fixed and present != variable.value:
            yield (
                f"{variable.name}={present} is not taken, it is {variable.value} here: it would make bf16 of all fp32 "
                "tensors, masters too. precision.type says which are bf16. Take the variable out of the pod or image."
            )


def _precision(config: TrainingConfig) -> list[Variable]:
    variables = [Variable(name, "0", is_fixed=True) for name in DOWNCASTS]
    rounding = {
        "mixed_precision": 0,
        "mixed_precisionSR": 1,
        "mixed_precision_SR": 1,
        "bf16SR": 1,
        "fp32": None,
        "autocast": 0,
        "manual": int(config.precision.neuron_rt_stochastic_rounding_en),
    }[config.precision.type]
    if rounding is not None:
        variables.append(Variable("NEURON_RT_STOCHASTIC_ROUNDING_EN", str(rounding)))
    return variables


def _precision_flags(config: TrainingConfig) -> str:
    """Return the compiler's flags of a type; fp32 in a graph is meant, unless the user's flags say otherwise."""
    accumulate = "--enable-mixed-precision-accumulation" if config.precision.type in _MIXED else ""
    is_left = config.precision.type == "manual" or "--auto-cast" in config.compiler_flags
    return " ".join(part for part in (accumulate, "" if is_left else "--auto-cast none") if part)
