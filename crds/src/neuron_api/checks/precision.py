"""`precision`: keys that only type manual reads."""

from collections.abc import Iterator, Mapping
from typing import Final

from neuron_api.config import PrecisionConfig, TrainingConfig
from neuron_api.findings.finding import Finding
from neuron_api.findings.registry import make_finding
from neuron_api.schema.key_path import fields

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


def check(config: TrainingConfig) -> Iterator[Finding]:
    """Yield the findings; none for a value that is the key's default or that the type implies."""
    precision = config.precision
    if precision.type == "manual":
        if precision.xla_use_bf16 and precision.xla_downcast_bf16:
            yield make_finding(2802, "precision.xla_downcast_bf16", "it has no effect beside xla_use_bf16.")
        return
    for key in fields(PrecisionConfig):
        value = getattr(precision, key)
        if value is True and key not in _IMPLIED[precision.type]:
            yield make_finding(2801, f"precision.{key}", f"it is not read with type {precision.type}.")
