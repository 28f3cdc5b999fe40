"""What the trainer asks about a kind of device; nothing else in the trainer compares names of devices."""

from dataclasses import dataclass

import torch
from torch.distributed import ProcessGroup


@dataclass(frozen=True, slots=True, kw_only=True)
class Accelerator:
    """A kind of device. Its facts are read anywhere; importing it loads no runtime and touches no device."""

    name: str
    """PyTorch's device type."""
    collectives: str
    """The c10d backend of its tensors."""
    widest: torch.dtype
    """The widest floating-point type that it computes with."""
    integers: torch.dtype = torch.int64
    """In which it is given token ids, labels, positions and documents."""
    compile_seconds: int = 0
    """How much longer than the others a process may take for a step, since it compiles: collectives wait so long. That
    a peer is gone shows at once by its connections, and that all wait by the operator's hangPolicy."""
    module: str = ""
    """What `torch.get_device_module` shall give for the device; empty: PyTorch, or the package, has such a module."""
    timeout_variable: str = ""
    """That of the seconds after which its runtime takes an execution for one that hangs; empty: it has none."""
    joins: bool = False
    """Whether its module makes one device of all processes, once it is open (`lazy.join`)."""
    has_capturable: bool = True
    """Whether PyTorch's optimizers have their form for it that reads nothing (`capturable`)."""
    has_gather: bool = True
    """Whether it may pick from a long dimension by an index, and add into one."""
    is_lazy: bool = False
    """Whether operators are recorded, and run when a program of them is given to the device."""
    package: str = ""
    """The vendor's package that brings the device to PyTorch, imported in workers only; empty: PyTorch has it."""
    peer_loss: tuple[str, ...] = ()
    """What its collectives say, as a plain RuntimeError, when another process is gone."""
    aborts_without_peers: bool = False
    """Whether its runtime aborts a process (SIGABRT) whose peers do not come to a collective."""
    wants_contiguous: bool = False
    """Whether it adds to a tensor in place only where that lies in memory in the order of its dimensions; and, by one
    user's report, compiles views of heads only so (docs/reference/upstream-facts.md#torchneuron-words)."""
    defers_errors: bool = False
    """Whether work that failed is raised only where the device is waited for: an event after it is reached, and numbers
    are read that nothing has written."""
    busy: tuple[str, ...] = ()
    """What its runtime says when another process, perhaps one that is ending, still has this process's device."""
    nan_note: str = ""
    """A known cause of losses that are not finite in long samples, with its remedy."""
    nan_tokens: int = 0
    """Tokens of a sample from which that cause is known."""

    @property
    def is_host(self) -> bool:
        """Return whether its tensors are in host memory, so that reading one waits for nothing."""
        return self.name == "cpu"

    def nan_cause(self, tokens: int) -> str:
        """Return a known cause of losses that are not finite with samples of so many tokens; empty: there is none."""
        return self.nan_note if tokens >= self.nan_tokens else ""

    def has_send(self, group: ProcessGroup) -> bool:
        """Return whether tensors of this device can be sent from one process of a group to another.

        A process group that is written in Python may have no `send`; PyTorch's composite one has that of its backends.
        """
        return type(group) is ProcessGroup or type(group).send is not ProcessGroup.send
