"""LoRA (arXiv:2106.09685): low-rank adapters beside the linears of a frozen model.

`targets` says which modules get adapters, `adapter` what they compute, `initial` how they begin, `names` what their
parameters are called.
"""

from . import names
from .adapter import AdapterLayout, Adapters, SplitAdapter, attach
from .initial import init_parameter
from .targets import AdapterGroup, groups, unmatched

__all__ = [
    "AdapterGroup",
    "AdapterLayout",
    "Adapters",
    "SplitAdapter",
    "attach",
    "groups",
    "init_parameter",
    "names",
    "unmatched",
]
