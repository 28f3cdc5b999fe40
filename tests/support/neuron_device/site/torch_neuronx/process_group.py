"""`ProcessGroupNeuron`: the device's collectives, by gloo over the same memory.

It is written in Python, so PyTorch 2.14 puts it in place of the composite group (`_new_process_group_helper`), and what
it has not got is not there. `NEURON_STANDIN_SEND=0` makes it a class without `send` and `recv`, as TorchNeuron's public
snapshot is; its release 2.33 says that pipelines work.
"""

import os
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import ProcessGroupGloo

from . import _C, observer, rules, runtime, works

_REDUCTIONS = ("SUM", "PRODUCT", "MIN", "MAX", "BAND", "BOR", "BXOR", "AVG")


def register() -> None:
    """Make `neuron` a backend of torch.distributed."""
    dist.Backend.register_backend("neuron", _create, devices=["neuron"])


def _create(store: dist.Store, rank: int, size: int, timeout: timedelta) -> "ProcessGroupNeuron":
    kind = ProcessGroupNeuron if os.environ.get("NEURON_STANDIN_SEND") == "0" else SendingProcessGroup
    return kind(store, rank, size, timeout)


def _host(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return copies on the host, in one kind of memory: what the caller does to its own meanwhile is not seen."""
    return [_C.host_view(one).clone() for one in tensors]


def _fresh(tensors: Sequence[Tensor]) -> list[Tensor]:
    return [torch.empty_like(_C.host_view(one)) for one in tensors]


class ProcessGroupNeuron(dist.ProcessGroup):
    """A group of devices. Its methods have the names that PyTorch 2.14 looks for."""

    def __init__(self, store: dist.Store, rank: int, size: int, timeout: timedelta) -> None:
        super().__init__(rank, size)
        runtime.open_for_group()
        self._gloo = ProcessGroupGloo(store, rank, size, timeout)
        self._name = ""

    def getBackendName(self) -> str:
        """Return the name of the backend."""
        return "neuron"

    def _get_backend(self, device: torch.device) -> "ProcessGroupNeuron":
        return self

    def _set_group_name(self, name: str) -> None:
        self._name = name

    @property
    def group_name(self) -> str:
        """Return the name under which PyTorch registers the group."""
        return self._name

    @property
    def _device_types(self) -> list[torch.device]:
        return [torch.device("neuron")]

    def _start(
        self,
        call: str,
        inputs: Sequence[Tensor],
        outputs: Sequence[Tensor],
        run: Callable[[list[Tensor], list[Tensor]], None],
    ) -> works.NeuronWork:
        """Issue a collective: `run(inputs, outputs)` on the host; what is both is given as both."""
        rules.check_tensors(call, [*inputs, *outputs])
        rules.check_host_collectives(call, self.size())
        observer.count_collective(call, self.size())
        given = _host(inputs)
        same = {id(one): copy for one, copy in zip(inputs, given, strict=True)}
        results = [same.get(id(one), fresh) for one, fresh in zip(outputs, _fresh(outputs), strict=True)]
        done = works.issue(lambda: run(given, results))
        return works.NeuronWork(done, list(zip(outputs, results, strict=True)), self.rank())

    def _reduction(self, call: str, opts: Any) -> tuple[Any, bool]:
        """Return what gloo reduces by, and whether the result is a mean: gloo has no AVG."""
        kind = opts.reduceOp
        if kind == dist.ReduceOp.AVG:
            return dist.ReduceOp.SUM, True
        if not any(kind == getattr(dist.ReduceOp, name) for name in _REDUCTIONS):
            rules.refuse("reductions", f"{call} by {kind}")
        return kind, False

    def allreduce(self, tensors: Any, opts: Any = None) -> works.NeuronWork:
        """Reduce in place."""
        return self._reduce_all("allreduce", tensors, opts or dist.AllreduceOptions())

    def allreduce_coalesced(self, tensors: Any, opts: Any = None) -> works.NeuronWork:
        """Reduce several in place."""
        return self._reduce_all("allreduce_coalesced", tensors, opts or dist.AllreduceCoalescedOptions())

    def _reduce_all(self, call: str, tensors: Any, opts: Any) -> works.NeuronWork:
        tensors = [tensors] if isinstance(tensors, Tensor) else list(tensors)
        reduction, is_mean = self._reduction(call, opts)
        rules.check_sums(call, tensors)

        def run(_: list[Tensor], outputs: list[Tensor]) -> None:
            for one in outputs:
                self._gloo.allreduce([one], reduction).wait()
                if is_mean:
                    one.div_(self.size())

        return self._start(call, tensors, tensors, run)

    def reduce(self, tensors: Any, opts: Any = None) -> works.NeuronWork:
        """Reduce to one process; inside it is an all-reduce, so others must not rely on their own values."""
        opts = opts or dist.ReduceOptions()
        reduction, is_mean = self._reduction("reduce", opts)
        tensors = list(tensors)
        rules.check_sums("reduce", tensors)

        def run(inputs: list[Tensor], outputs: list[Tensor]) -> None:
            total = inputs[0] if outputs else inputs[0].clone()
            self._gloo.allreduce([total], reduction).wait()
            if is_mean:
                total.div_(self.size())

        is_root = self.rank() == opts.rootRank
        return self._start("reduce", tensors, tensors if is_root else [], run)

    def broadcast(self, tensors: Any, opts: Any = None) -> works.NeuronWork:
        """Give everyone the root's tensor."""
        root = opts.rootRank if opts is not None else 0
        if not 0 <= root < self.size():
            rules.refuse("roots", f"broadcast from rank {root} of {self.size()}")

        def run(_: list[Tensor], outputs: list[Tensor]) -> None:
            options = dist.BroadcastOptions()
            options.rootRank = root
            self._gloo.broadcast(outputs, options).wait()

        return self._start("broadcast", tensors, tensors, run)

    def all_gather_single(self, output: Tensor, input: Tensor, opts: Any = None) -> works.NeuronWork:
        """Put everyone's tensor behind one another."""
        return self._gather_all("all_gather_single", [output], [input])

    def all_gather_single_coalesced(self, outputs: Any, inputs: Any, opts: Any = None) -> works.NeuronWork:
        """Do it for several."""
        return self._gather_all("all_gather_single_coalesced", outputs, inputs)

    _allgather_base = all_gather_single
    allgather_into_tensor_coalesced = all_gather_single_coalesced

    def _gather_all(self, call: str, outputs: Any, inputs: Any) -> works.NeuronWork:
        for output, own in zip(outputs, inputs, strict=True):
            if output.numel() != own.numel() * self.size():
                rules.refuse("even-parts", f"{call} of {tuple(own.shape)} into {tuple(output.shape)}")

        def run(inputs: list[Tensor], outputs: list[Tensor]) -> None:
            for output, own in zip(outputs, inputs, strict=True):
                self._gloo.all_gather_single(output, own).wait()

        return self._start(call, inputs, outputs, run)

    def allgather(self, outputs: Any, inputs: Any, opts: Any = None) -> works.NeuronWork:
        """Put everyone's tensor into a list."""
        places = [one for each in outputs for one in each]
        if {one.shape for one in places} - {inputs[0].shape}:
            rules.refuse("even-parts", "allgather of tensors with different shapes")

        def run(inputs: list[Tensor], outputs: list[Tensor]) -> None:
            self._gloo.allgather([outputs], inputs).wait()

        return self._start("allgather", inputs, places, run)

    def allgather_coalesced(self, outputs: Any, inputs: Any, opts: Any = None) -> works.NeuronWork:
        """Put everyone's tensors into lists, one for each tensor."""
        places = [one for each in outputs for one in each]

        def run(inputs: list[Tensor], outputs: list[Tensor]) -> None:
            for number, own in enumerate(inputs):
                some = outputs[number * self.size() : (number + 1) * self.size()]
                self._gloo.allgather([some], [own]).wait()

        return self._start("allgather_coalesced", inputs, places, run)

    def reduce_scatter_single(self, output: Tensor, input: Tensor, opts: Any = None) -> works.NeuronWork:
        """Reduce, and keep the own part."""
        return self._scatter_sums("reduce_scatter_single", [output], [input], opts)

    def reduce_scatter_single_coalesced(self, outputs: Any, inputs: Any, opts: Any = None) -> works.NeuronWork:
        """Do it for several, which differ in the first dimension only."""
        if len({one.shape[1:] for one in inputs}) > 1:
            rules.refuse("one-shape", "reduce_scatter_single_coalesced of tensors with different rows")
        return self._scatter_sums("reduce_scatter_single_coalesced", outputs, inputs, opts)

    _reduce_scatter_base = reduce_scatter_single
    reduce_scatter_tensor_coalesced = reduce_scatter_single_coalesced

    def _scatter_sums(self, call: str, outputs: Any, inputs: Any, opts: Any) -> works.NeuronWork:
        rules.check_divides(call, self.size(), inputs)
        rules.check_sums(call, inputs)
        reduction, is_mean = self._reduction(call, opts or dist.ReduceScatterOptions())

        def run(inputs: list[Tensor], outputs: list[Tensor]) -> None:
            for output, own in zip(outputs, inputs, strict=True):
                options = dist.ReduceScatterOptions()
                options.reduceOp = reduction
                self._gloo.reduce_scatter_single(output, own, options).wait()
                if is_mean:
                    output.div_(self.size())

        return self._start(call, inputs, outputs, run)

    def reduce_scatter(self, outputs: Any, inputs: Any, opts: Any = None) -> works.NeuronWork:
        """Reduce lists of tensors, and keep the own one."""
        (parts,) = inputs
        if len({one.shape for one in parts}) > 1:
            rules.refuse("even-parts", "reduce_scatter of tensors with different shapes")
        rules.check_sums("reduce_scatter", parts)
        reduction, is_mean = self._reduction("reduce_scatter", opts or dist.ReduceScatterOptions())

        def run(inputs: list[Tensor], outputs: list[Tensor]) -> None:
            for one in inputs:
                self._gloo.allreduce([one], reduction).wait()
            outputs[0].copy_(inputs[self.rank()].div_(self.size()) if is_mean else inputs[self.rank()])

        return self._start("reduce_scatter", parts, outputs, run)

    def all_to_all_single(
        self, output: Tensor, input: Tensor, output_splits: Any, input_splits: Any, opts: Any = None
    ) -> works.NeuronWork:
        """Give everyone an equal part of the first dimension."""
        splits = [*(output_splits or ()), *(input_splits or ())]
        rules.check_exchange("all_to_all_single", self, [], splits)
        rules.check_divides("all_to_all_single", self.size(), [output, input])

        def run(inputs: list[Tensor], outputs: list[Tensor]) -> None:
            self._gloo.all_to_all_single(outputs[0], inputs[0], [], []).wait()

        return self._start("all_to_all_single", [input], [output], run)

    alltoall_base = all_to_all_single

    def alltoall(self, outputs: Any, inputs: Any, opts: Any = None) -> works.NeuronWork:
        """Give everyone a tensor of a list."""
        rules.check_exchange("alltoall", self, [*outputs, *inputs], [])

        def run(inputs: list[Tensor], outputs: list[Tensor]) -> None:
            whole = torch.cat([one.flatten() for one in inputs])
            result = torch.empty_like(whole)
            self._gloo.all_to_all_single(result, whole, [], []).wait()
            for place, part in zip(outputs, result.chunk(self.size()), strict=True):
                place.copy_(part.view(place.shape))

        return self._start("alltoall", inputs, outputs, run)

    def gather(self, outputs: Any, inputs: Any, opts: Any = None) -> works.NeuronWork:
        """Put everyone's tensor into a list of the root; inside it is an all-gather."""
        root = opts.rootRank if opts is not None else 0
        places = [one for each in outputs for one in each] if self.rank() == root else []

        def run(inputs: list[Tensor], outputs: list[Tensor]) -> None:
            every = outputs or [torch.empty_like(inputs[0]) for _ in range(self.size())]
            self._gloo.allgather([every], inputs).wait()

        return self._start("gather", inputs, places, run)

    def scatter(self, outputs: Any, inputs: Any, opts: Any = None) -> works.NeuronWork:
        """Give everyone a tensor of the root's list; inside it is a reduce-scatter."""
        root = opts.rootRank if opts is not None else 0
        parts = list(inputs[0]) if self.rank() == root else []
        if parts and len(parts) != self.size():
            rules.refuse("even-parts", f"scatter of {len(parts)} tensors to {self.size()} processes")

        def run(inputs: list[Tensor], outputs: list[Tensor]) -> None:
            every = inputs or [torch.zeros_like(outputs[0]) for _ in range(self.size())]
            for one in every:
                self._gloo.allreduce([one]).wait()
            outputs[0].copy_(every[self.rank()])

        return self._start("scatter", parts, outputs, run)

    def barrier(self, opts: Any = None) -> works.NeuronWork:
        """Wait for everyone; only in the default group."""
        if self.size() != dist.get_world_size():
            rules.refuse(
                "barrier",
                f"a barrier of {self.size()} of {dist.get_world_size()} processes; only the default group has one",
                NotImplementedError,
            )
        rules.check_host_collectives("barrier", self.size())
        observer.count_collective("barrier", self.size())
        return works.NeuronWork(works.issue(lambda: self._gloo.barrier().wait()), [], self.rank())

    def monitored_barrier(self, *_: object, **__: object) -> None:
        """Refuse."""
        rules.refuse("barrier", "there is no monitored_barrier", NotImplementedError)

    def recv_anysource(self, *_: object) -> None:
        """Refuse."""
        rules.refuse("no-anysource", "there is no recv_anysource", NotImplementedError)

    def reduce_scatter_coalesced(self, *_: object) -> None:
        """Refuse."""
        rules.refuse("no-coalesced-lists", "there is no reduce_scatter_coalesced", NotImplementedError)

    def Options(self, *_: object) -> None:
        """Refuse."""
        rules.refuse("no-options", "there are no options of a group", NotImplementedError)


class SendingProcessGroup(ProcessGroupNeuron):
    """The group with `send` and `recv`."""

    def send(self, tensors: Any, destination: int, tag: int) -> works.NeuronWork:
        """Send a tensor to a process."""
        rules.check_tensors("send", tensors)
        rules.check_host_collectives("send", self.size())
        observer.count_collective("send", 2)
        work = self._gloo.send(_host(tensors), destination, tag)
        return works.NeuronWork(works.Sending(work), [], self.rank())

    def recv(self, tensors: Any, source: int, tag: int) -> works.NeuronWork:
        """Take a tensor from a process."""
        rules.check_tensors("recv", tensors)
        rules.check_host_collectives("recv", self.size())
        observer.count_collective("recv", 2)
        places = _fresh(tensors)
        work = self._gloo.recv(places, source, tag)
        return works.NeuronWork(works.Sending(work), list(zip(tensors, places, strict=True)), self.rank())
