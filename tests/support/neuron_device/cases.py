"""What the stand-in refuses, one case a rule, each with what is allowed in its place.

Run as a program (`python cases.py FILE`) under the stand-in: every case is tried in forks of this process, which has
not touched the device, and FILE gets what came of it: the error, or nothing.
"""

import json
import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class Case:
    """Something that is refused, and something near it that is not."""

    words: str
    """That the refusal contains."""
    refused: Callable[[], Any]
    allowed: Callable[[], Any]
    world: int = 1
    variables: dict[str, str | None] = field(default_factory=dict)
    """Of the refused run; None: not set."""
    is_grouped: bool = True
    """There is a process group before it begins."""


def ones(*sizes: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """A tensor of the device."""
    return torch.ones(sizes, dtype=dtype, device="neuron")


def _twice(tensor: Tensor) -> Tensor:
    return tensor.mul_(2)


def _fill(tensor: Tensor) -> Tensor:
    return tensor.zero_()


def _place() -> Tensor:
    return torch.ones(1, dtype=torch.int32, device="neuron")


def _moved(dtype: torch.dtype) -> Tensor:
    return torch.ones(2, dtype=dtype).to("neuron")


def _embed(device: str) -> Tensor:
    return torch.nn.functional.embedding(torch.zeros(2, dtype=torch.int64, device=device), ones(2, 2))


def _ask(method: str, *arguments: Any) -> None:
    getattr(dist.group.WORLD, method)(*arguments)


def _touch_and_group() -> None:
    ones(1)
    _group()


def _group_and_touch() -> None:
    _group()
    ones(1)


def _group() -> None:
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    dist.init_process_group("neuron", f"file://{os.environ['STORE']}", rank=rank, world_size=world)


def _in_a_fork(is_open: bool) -> None:
    """Touch the device in a child of a process that has touched it, or has not."""
    if is_open:
        ones(1)
    read, write = os.pipe()
    if os.fork() == 0:
        os.write(write, _attempt(lambda: ones(1)).encode() or b" ")
        os._exit(0)
    if said := os.read(read, 10000).decode().strip():
        raise RuntimeError(said)


def _second_process_of_the_core(core: str) -> None:
    """Touch core 0 while a child that lives has touched another or the same one."""
    read, write = os.pipe()
    go_on, end = os.pipe()
    if os.fork() == 0:
        os.environ["NEURON_RT_VISIBLE_CORES"] = core
        ones(1)
        os.write(write, b"1")
        os.read(go_on, 1)
        os._exit(0)
    os.read(read, 1)
    try:
        ones(1)
    finally:
        os.write(end, b"1")
        os.wait()


def _half() -> Any:
    """A group of the first two of four processes, on all of them."""
    groups = [dist.new_group([0, 1]), dist.new_group([2, 3])]
    return groups[dist.get_rank() // 2]


def _exchange(rows: int, splits: list[int] | None = None) -> None:
    other = splits and [splits[dist.get_rank()]] * 2
    dist.all_to_all_single(ones(sum(other) if other else rows), ones(rows), other, splits)


def _broadcast(rows: int) -> None:
    dist.broadcast(ones(rows, 2), 0)


def _scatter_sums(rows: int) -> None:
    dist.reduce_scatter_single(ones((rows + 1) // 2), ones(rows))


def _reduce_several(*tensors: Tensor) -> None:
    from torch.distributed.distributed_c10d import AllreduceCoalescedOptions

    dist.group.WORLD.allreduce_coalesced(list(tensors), AllreduceCoalescedOptions()).wait()


def _message() -> None:
    tensor = ones(2)
    if dist.get_rank() == 0:
        dist.send(tensor, 1)
    else:
        dist.recv(tensor, 0)


def _crossed(is_crossed: bool) -> None:
    """Two collectives under way at once, which the second process begins in the other order."""
    short = timedelta(seconds=3)
    groups = [dist.new_group([0, 1], timeout=short), dist.new_group([0, 1], timeout=short)]
    if is_crossed and dist.get_rank() == 1:
        groups.reverse()
    for work in [dist.all_reduce(ones(2), group=group, async_op=True) for group in groups]:
        work.wait()


def _lose_a_peer(is_lost: bool) -> None:
    """A collective that the second process does not come to: it leaves the group."""
    if is_lost and dist.get_rank() == 1:
        dist.destroy_process_group()
        raise RuntimeError("the other process waits on a barrier proxy task")
    dist.all_reduce(ones(2))


def _read(is_early: bool) -> None:
    """Read the result of a collective, before or after it was waited for."""
    tensor = ones(2)
    work = dist.all_reduce(tensor, async_op=True)
    early = tensor.clone()
    work.wait()
    if (early if is_early else tensor).tolist() != [2.0, 2.0]:
        raise RuntimeError(f"no result: {early.tolist()}")


def _fail(is_waited_for: bool) -> None:
    """Let work fail, and wait for the device, or for an event after it, which says nothing."""
    module = torch.get_device_module("neuron")
    module.fail("NRT Execution error occurred on Neuron for operation=add: NRT EXECUTION FAILED: Hardware failure")
    event = module.Event()
    event.record()
    event.synchronize()
    if is_waited_for:
        module.synchronize()


def _pinned() -> None:
    torch.empty(2, pin_memory=True)


def _compile(dynamic: bool) -> None:
    compiled = torch.compile(lambda tensor: tensor * 2, backend="neuron", dynamic=dynamic)
    compiled(ones(2))
    compiled(ones(3))


CASES: Final = {
    "float64": Case("no-float64", lambda: torch.zeros(2, dtype=torch.float64, device="neuron"), lambda: ones(2)),
    "float64 by conversion": Case("no-float64", lambda: ones(2).double(), lambda: ones(2).bfloat16()),
    "float64 of the host": Case("no-float64", lambda: _moved(torch.float64), lambda: _moved(torch.float32)),
    "float64 as a result": Case(
        "no-float64", lambda: ones(2).sum(dtype=torch.float64), lambda: ones(2).sum(dtype=torch.float32)
    ),
    "complex": Case("no-complex", lambda: torch.zeros(2, dtype=torch.complex64, device="neuron"), lambda: ones(2)),
    "complex as a result": Case("no-complex", lambda: torch.polar(ones(2), ones(2)), lambda: ones(2).cos()),
    "an int64 that needs its upper half": Case(
        "int32-range",
        lambda: torch.arange(4, device="neuron").mul_(0x9E3779B97F4A7C15 - 2**64),
        lambda: torch.arange(4, device="neuron", dtype=torch.int32).mul_(0x846CA68B - 2**32),
    ),
    "an int64 of the host that does not fit": Case(
        "int32-range",
        lambda: torch.tensor([2**31]).to("neuron").bitwise_right_shift(31),
        lambda: torch.tensor([2**31 - 1]).to("neuron").bitwise_right_shift(31),
    ),
    "integers that are added up in places": Case(
        "integer-sums",
        lambda: torch.zeros(2, dtype=torch.int32, device="neuron").index_add(0, _place(), _place()),
        lambda: ones(2).index_add(0, _place(), ones(1)),
    ),
    "another index": Case(
        "own-device",
        lambda: torch.empty(2, device="neuron:0"),
        lambda: torch.empty(2, device="neuron:1"),
        variables={"LOCAL_RANK": "1"},
    ),
    "another device": Case("own-device", lambda: torch.neuron.set_device(3), lambda: torch.neuron.set_device(0)),
    "a column in place": Case("contiguous-writes", lambda: ones(2, 2)[:, 1].add_(1), lambda: ones(2, 2)[1].add_(1)),
    "a transpose in place": Case("contiguous-writes", lambda: _twice(ones(2, 3).t()), lambda: _twice(ones(2, 3))),
    "a strided fill": Case("contiguous-writes", lambda: _fill(ones(4)[::2]), lambda: _fill(ones(4)[:2])),
    "a strided result": Case(
        "contiguous-writes", lambda: torch.add(ones(2), 1, out=ones(4)[::2]), lambda: torch.add(ones(2), 1, out=ones(2))
    ),
    "a strided member of a list": Case(
        "contiguous-writes",
        lambda: torch._foreach_add_([ones(2), ones(2, 2)[:, 0]], 1),
        lambda: torch._foreach_add_([ones(2), ones(2, 2)[0]], 1),
    ),
    "two devices": Case("one-device", lambda: _embed("cpu"), lambda: _embed("neuron")),
    "a generator's state": Case(
        "16 bytes",
        lambda: torch.neuron.set_rng_state(torch.get_rng_state()),
        lambda: torch.neuron.set_rng_state(torch.neuron.get_rng_state()),
    ),
    "a touch before the group": Case("group-first", _touch_and_group, _group_and_touch, is_grouped=False),
    "no local rank": Case(
        "local-rank", _group_and_touch, _group_and_touch, variables={"LOCAL_RANK": None}, is_grouped=False
    ),
    "no local world size": Case(
        "local-rank", _group_and_touch, _group_and_touch, variables={"LOCAL_WORLD_SIZE": None}, is_grouped=False
    ),
    "a fork": Case("no-fork", lambda: _in_a_fork(True), lambda: _in_a_fork(False), is_grouped=False),
    "a core that is held": Case(
        "Logical Neuron Core(s) not available",
        lambda: _second_process_of_the_core("0"),
        lambda: _second_process_of_the_core("1"),
        is_grouped=False,
    ),
    "stale cores": Case(
        "Logical Neuron Core(s) not available",
        lambda: ones(1),
        lambda: ones(1),
        is_grouped=False,
        variables={"NEURON_STANDIN_STALE": "/"},
    ),
    "work that failed": Case("NRT EXECUTION FAILED", lambda: _fail(True), lambda: _fail(False)),
    "dynamic shapes": Case("static-shapes", lambda: _compile(dynamic=True), lambda: _compile(dynamic=False)),
    "a tensor of the host": Case(
        "device-tensors", lambda: dist.all_reduce(torch.ones(2)), lambda: dist.all_reduce(ones(2)), world=2
    ),
    "an empty tensor": Case("no-empty", lambda: dist.all_reduce(ones(0)), lambda: dist.all_reduce(ones(1)), world=2),
    "an empty first dimension": Case(
        "no-empty", lambda: dist.broadcast(ones(0, 2), 0), lambda: dist.broadcast(ones(1, 2), 0), world=2
    ),
    "two types in a call": Case(
        "one-dtype",
        lambda: _reduce_several(ones(2), ones(2, dtype=torch.bfloat16)),
        lambda: _reduce_several(ones(2), ones(3)),
        world=2,
    ),
    "a sum of integers": Case(
        "integer-sums",
        lambda: dist.all_reduce(ones(2, dtype=torch.int32)),
        lambda: dist.broadcast(ones(2, dtype=torch.int32), 0),
        world=2,
    ),
    "a strided collective": Case(
        "contiguous", lambda: dist.all_reduce(ones(2, 3).t()), lambda: dist.all_reduce(ones(3, 2)), world=2
    ),
    "an uneven exchange": Case("even-exchange", lambda: _exchange(4, [1, 3]), lambda: _exchange(4), world=2),
    "an exchange with sizes": Case("even-exchange", lambda: _exchange(4, [2, 2]), lambda: _exchange(4), world=2),
    "an exchange that does not divide": Case("even-parts", lambda: _exchange(3), lambda: _exchange(2), world=2),
    "a sum that does not divide": Case("even-parts", lambda: _scatter_sums(3), lambda: _scatter_sums(4), world=2),
    "a mask in a sum": Case(
        "reductions",
        lambda: dist.all_reduce(ones(2), dist._make_nccl_premul_sum(2.0)),
        lambda: dist.all_reduce(ones(2), dist.ReduceOp.AVG),
        world=2,
    ),
    "a barrier of a part": Case("barrier", lambda: dist.barrier(_half()), lambda: (_half(), dist.barrier()), world=4),
    "a monitored barrier": Case("barrier", lambda: _ask("monitored_barrier"), dist.barrier, world=2),
    "anybody's message": Case("no-anysource", lambda: _ask("recv_anysource", [ones(1)], 0), _message, world=2),
    "options": Case("no-options", lambda: _ask("Options"), lambda: None, world=2),
    "lists of sums": Case(
        "no-coalesced-lists", lambda: _ask("reduce_scatter_coalesced", [], []), lambda: _scatter_sums(2), world=2
    ),
    "two collectives at once": Case("barrier proxy task", lambda: _crossed(True), lambda: _crossed(False), world=2),
    "a peer that is gone": Case("barrier proxy task", lambda: _lose_a_peer(True), lambda: _lose_a_peer(False), world=2),
    "a result before it is waited for": Case("nan", lambda: _read(True), lambda: _read(False), world=2),
    "pinned memory": Case("pin_memory", _pinned, _pinned, is_grouped=False, variables={"NEURON_STANDIN_PIN": "0"}),
    "sending": Case(
        "No backend type associated with device type neuron",
        _message,
        _message,
        world=2,
        variables={"NEURON_STANDIN_SEND": "0"},
    ),
    "no host collectives": Case(
        "host-cc",
        lambda: dist.all_reduce(ones(2)),
        lambda: dist.all_reduce(ones(2)),
        world=2,
        variables={"TORCH_NEURONX_ENABLE_HOST_CC": None},
    ),
}


def _attempt(function: Callable[[], Any]) -> str:
    """The error of a call; empty: none."""
    try:
        function()
    except Exception as error:
        return f"{type(error).__name__}: {error}" if str(error) else traceback.format_exc()
    return ""


def _try(case: Case, function: Callable[[], Any], variables: dict[str, str | None], folder: str) -> list[str]:
    """What each process of the case says; none ends before the others have said it, as gloo would report that."""
    pipes = []
    hold, let_go = os.pipe()
    for rank in range(case.world):
        read, write = os.pipe()
        if os.fork() == 0:
            _enter(rank, case.world, {**variables, "STORE": f"{folder}/store", "NEURON_STANDIN_NODE": folder})
            said = _attempt(_group) if case.is_grouped else ""
            os.write(write, (said or _attempt(function)).encode()[:60000])
            os.close(write)
            os.close(let_go)
            os.read(hold, 1)
            os._exit(0)
        os.close(write)
        pipes.append(read)
    answers = []
    for read in pipes:
        with os.fdopen(read) as file:
            answers.append(file.read())
    os.close(let_go)
    os.close(hold)
    for _ in pipes:
        os.wait()
    return answers


def _enter(rank: int, world: int, variables: dict[str, str | None]) -> None:
    own = {"RANK": str(rank), "WORLD_SIZE": str(world), "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": str(world)}
    for name, value in {**own, **variables}.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def main() -> None:
    """Try all of them."""
    answers = {}
    for name, case in CASES.items():
        tried = []
        common = {key: value for key, value in case.variables.items() if key == "LOCAL_RANK" and value}
        for function, variables in ((case.refused, case.variables), (case.allowed, common)):
            with tempfile.TemporaryDirectory() as folder:
                tried.append(_try(case, function, variables, folder))
        answers[name] = tried
    Path(sys.argv[1]).write_text(json.dumps(answers))


if __name__ == "__main__":
    main()
