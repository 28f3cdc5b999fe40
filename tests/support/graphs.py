"""What torch.compile has made in this process: graphs, pieces, and what it made again."""

from typing import Final

SETTLED: Final = 2
"""Steps after which nothing may be compiled."""


class Graphs:
    """Of one run: counting begins anew. A run that is not compiled does not import the compiler, which takes 2 s."""

    def __init__(self, *, is_compiled: bool) -> None:
        self._is_compiled = is_compiled
        if is_compiled:
            import torch._dynamo
            from torch._dynamo.utils import counters

            torch._dynamo.reset()
            counters.clear()

    def begin_step(self, step: int) -> None:
        """Say which step comes, the first is 0: a graph that is made again after the second raises."""
        self._raise_on_recompile(step >= SETTLED)

    def count(self) -> dict[str, int]:
        """Return the numbers of graphs, and of places where a function was cut in pieces."""
        if not self._is_compiled:
            return {"graphs": 0, "breaks": 0}
        from torch._dynamo.utils import counters

        self._raise_on_recompile(False)
        return {"graphs": counters["stats"]["unique_graphs"], "breaks": sum(counters["graph_break"].values())}

    def _raise_on_recompile(self, is_wanted: bool) -> None:
        if self._is_compiled:
            import torch._dynamo

            torch._dynamo.config.error_on_recompile = is_wanted
