"""Bytes of one checkpoint directory."""

from typing import Final

from .precision import Widths

_FP32: Final = 4


def size(parameters: int, trained: int, states: int, widths: Widths) -> int:
    """Every parameter once, as the trainer writes it, and the optimizer's tensors of the trained ones.

    A trained weight is saved as the optimizer updates it (its fp32 master where there is one), a frozen one in the
    compute type. Key/value copies and replicas are written once. Index, manifest and generators (kilobytes) are not
    counted.
    """
    weight = widths.masters or widths.compute
    return widths.compute * (parameters - trained) + trained * (weight + states * widths.state)
