"""`torch.compile(backend="neuron")`: graphs are run by PyTorch's own decomposition, counted, and must be static."""

from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor

_GRAPHS: Final[list[dict[str, Any]]] = []


def get_dynamo_metrics() -> list[dict[str, Any]]:
    """Return the graphs that were compiled: number of nodes and shapes of inputs."""
    return list(_GRAPHS)


def reset_dynamo_metrics() -> None:
    """Forget them."""
    _GRAPHS.clear()


def compile_graph(graph: torch.fx.GraphModule, inputs: list[Any], **_: Any) -> Callable[..., Any]:
    """Compile a graph, as the entry point group `torch_dynamo_backends` has it."""
    from torch._dynamo.backends.debugging import aot_eager

    for one in inputs:
        sizes = one.shape if isinstance(one, Tensor) else (one,)
        if any(isinstance(size, torch.SymInt) for size in sizes):
            raise RuntimeError(
                "neuron rule static-shapes: [NCC_EMOD025] Dynamic shape is not supported: a parameter has shape "
                f"{tuple(sizes)}; compile with dynamic=False"
            )
    shapes = [tuple(one.shape) for one in inputs if isinstance(one, Tensor)]
    _GRAPHS.append({"nodes": len(graph.graph.nodes), "inputs": shapes})
    return aot_eager(graph, inputs)  # type: ignore[no-any-return]
