"""How many graphs this process has: compiled, and taken from the cache in which the compiler keeps them.

The compilers count themselves: Inductor each forward and each backward graph that it looks for in its cache;
PyTorch/XLA each graph that is not in the process's memory. TorchNeuron does not say what it found: its graphs count as
compiled.
"""

import sys
from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True, slots=True)
class GraphCounts:
    """The graphs of a process."""

    compiled: int = 0
    reused: int = 0
    """Those that were found in the cache."""
    begun: int = 0
    """Those that are being compiled now."""

    @property
    def done(self) -> int:
        """Return how many are there."""
        return self.compiled + self.reused

    def since(self, before: "GraphCounts") -> "GraphCounts":
        """Return what has been added."""
        return GraphCounts(self.compiled - before.compiled, self.reused - before.reused, self.begun)


def count() -> GraphCounts:
    """Return the numbers of this moment; imports no compiler, and may be called by another thread."""
    if "torch_xla" in sys.modules:
        return _xla()
    if "torch._dynamo" in sys.modules:
        return _dynamo()
    return GraphCounts()


def _xla() -> GraphCounts:
    metrics: Any = import_module("torch_xla.debug.metrics")
    reused = metrics.counter_value("PersistentCacheHit") or 0
    return GraphCounts((metrics.counter_value("UncachedCompile") or 0), reused)


def _dynamo() -> GraphCounts:
    counters: Any = import_module("torch._dynamo.utils").counters
    inductor, autograd = counters["inductor"], counters["aot_autograd"]
    begun = 1 if autograd["total"] > autograd["ok"] else 0
    reused = inductor["fxgraph_cache_hit"]
    compiled = inductor["fxgraph_cache_miss"] + inductor["fxgraph_cache_bypass"]
    if not compiled + reused:  # another compiler than Inductor
        compiled = counters["stats"]["unique_graphs"]
    return GraphCounts(max(0, compiled - begun), reused, begun)
