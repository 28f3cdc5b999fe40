"""LoRA (arXiv:2106.09685): low-rank adapters beside the linears of a frozen model.

`targets` says which modules get adapters, `adapter` what they compute and how they begin, `names` what their
parameters are called, `summary` what is trained.
"""

from . import names
from .adapter import AdapterLayout, Adapters, SplitAdapter, attach, init_parameter
from .names import FUSED, AdapterGroup, groups
from .summary import Summary, summary

__all__ = [
    "FUSED",
    "AdapterGroup",
    "AdapterLayout",
    "Adapters",
    "SplitAdapter",
    "Summary",
    "attach",
    "groups",
    "init_parameter",
    "names",
    "summary",
]
