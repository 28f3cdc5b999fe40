"""Whether this machine's CPU computes in bf16: without such units a step takes many times as long as in fp32."""

from pathlib import Path
from typing import Final

from neuron_api.config import TrainingConfig
from neuron_api.derive import precision

_UNITS: Final = frozenset(("avx512_bf16", "amx_bf16", "bf16"))
"""Units for bf16, as /proc/cpuinfo names them."""
_LISTS: Final = ("flags", "features")
"""Its lines with such names, of x86 and of Arm, in lower case."""


def has_bf16(cpuinfo: str) -> bool | None:
    """Return what the text of /proc/cpuinfo says; None where it lists no features (macOS has no such file)."""
    lines = (line.partition(":") for line in cpuinfo.splitlines())
    words = next((value.split() for name, _, value in lines if name.strip().lower() in _LISTS), None)
    return None if words is None else not _UNITS.isdisjoint(words)


def advice(config: TrainingConfig, cpuinfo: str) -> str | None:
    """Return one sentence for a configuration that computes in bf16 on a CPU without units for it; else None."""
    if precision.policy(config).compute != "bf16" or has_bf16(cpuinfo) is not False:
        return None
    return (
        f"precision.type: {config.precision.type} computes in bf16, for which this CPU has no units: a step takes many "
        "times as long as in fp32. Set precision.type to fp32 where speed matters more than the same numbers as on a "
        "device."
    )


def cpuinfo() -> str:
    """Return /proc/cpuinfo of this machine; empty where there is none."""
    try:
        return Path("/proc/cpuinfo").read_text()
    except OSError:
        return ""
