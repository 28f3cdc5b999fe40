"""`torch.compile(backend="neuron")`: graphs are run by PyTorch's own decomposition, counted, and must be static."""

from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor

from . import _C

_GRAPHS: Final[list[dict[str, Any]]] = []


def get_dynamo_metrics() -> list[dict[str, Any]]:
    """Return the graphs that were compiled: number of nodes and shapes of inputs."""
    return list(_GRAPHS)


def reset_dynamo_metrics() -> None:
    """Forget them."""
    _GRAPHS.clear()


def compile_graph(graph: torch.fx.GraphModule, inputs: list[Any], **_: Any) -> Callable[..., Any]:
    """Compile a graph, as the entry point group `torch_dynamo_backends` has it."""
    from functorch.compile import min_cut_rematerialization_partition
    from torch._dynamo.backends.common import aot_autograd

    for one in inputs:
        sizes = one.shape if isinstance(one, Tensor) else (one,)
        if any(isinstance(size, torch.SymInt) for size in sizes):
            raise RuntimeError(
                "neuron rule static-shapes: [NCC_EMOD025] Dynamic shape is not supported: a parameter has shape "
                f"{tuple(sizes)}; compile with dynamic=False"
            )
    shapes = [tuple(one.shape) for one in inputs if isinstance(one, Tensor)]
    _GRAPHS.append({"nodes": len(graph.graph.nodes), "inputs": shapes})
    backend = aot_autograd(
        fw_compiler=_program,
        partition_fn=min_cut_rematerialization_partition,
        keep_inference_input_mutations=True,
    )
    return backend(graph, inputs)  # type: ignore[no-any-return]


def _program(graph: torch.fx.GraphModule, _: list[Any]) -> Callable[..., Any]:
    """Return what runs a graph of a forward or backward pass: operator by operator, each of which knows that."""
    from functorch.compile import make_boxed_func

    def run(*arguments: Any) -> Any:
        _C.enter_graph()
        try:
            return graph(*arguments)
        finally:
            _C.leave_graph()

    return make_boxed_func(run)  # type: ignore[no-any-return]
