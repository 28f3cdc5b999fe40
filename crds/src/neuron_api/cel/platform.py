"""`spec.platform` against the configuration, as rules of `spec`: instance types, cores, storage (section 30xx).

The capacity of a node is looked up in maps by the instance type; on CPU, and with an unknown type, it is unbounded.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from neuron_api.platform.instances import HYPERPOD, INSTANCE_TYPES, NAMES

from .expressions import IN_SPEC, BoundSection, in_section, is_above, numbers, numbers_of, raw
from .parallel import CP
from .rule import Rule, RuleReason

_TYPE: Final = "self.?platform.?instanceType.orValue('')"
_IS_CPU: Final = "self.?platform.?accelerator.orValue('Neuron') == 'CPU'"
HAS_CONFIG: Final = f"has({IN_SPEC})"
_NODE: Final = f"({_IS_CPU} ? '' : {_TYPE})"
"""The instance type; empty if nodes are unbounded."""
_LISTED: Final = ", ".join(INSTANCE_TYPES)

_SCOPE: Final = "self.?deviceCountScope.orValue('Auto')"


def _by_type(values: Mapping[str, int], otherwise: int) -> str:
    """Return a lookup of a number by the instance type; only values that differ from `otherwise` are written out."""
    written = ", ".join(
        f"'{prefix}{name}': {value}"
        for prefix in ("", HYPERPOD)
        for name, value in values.items()
        if value != otherwise
    )
    return f"{{{written}}}[?{_NODE}].orValue({otherwise})"


_PHYSICAL: Final = _by_type({t.name: t.chips * t.cores_per_chip for t in INSTANCE_TYPES.values()}, 0)
_DEFAULT_LNC: Final = _by_type({t.name: t.default_lnc for t in INSTANCE_TYPES.values()}, 1)
_TRAINER: Final = BoundSection("t", "trainer")


@dataclass(frozen=True, slots=True)
class Processes:
    """Expressions of what `trainer` says about the processes, within `processes`."""

    devices: str
    nodes: str
    lnc: str

    @property
    def cores(self) -> str:
        """Return the logical cores of a node; 0 if it is unbounded."""
        return f"{_PHYSICAL} / {self.lnc}"

    @property
    def is_total(self) -> str:
        """Return an expression that is true if trainer.devices counts the processes of all nodes."""
        fits = f"{self.devices} % {self.nodes} == 0 && {self.devices} / {self.nodes} <= c"
        guess = f"[{self.cores}].exists(c, c > 0 && {self.devices} > c && {fits})"
        return f"({_SCOPE} == 'Total' || {_SCOPE} == 'Auto' && {guess})"

    @property
    def is_divisible(self) -> str:
        """Return an expression that is true if every node has the same number of them."""
        return f"({_SCOPE} != 'Total' || {self.devices} % {self.nodes} == 0)"


def processes(condition: Callable[[Processes], str]) -> str:
    """Return an expression that is true if the processes are known and the condition holds for them."""
    values = [raw("trainer.devices", _TRAINER), raw("trainer.num_nodes", _TRAINER), f"t.?lnc.orValue({_DEFAULT_LNC})"]
    holds = numbers_of(values, lambda *sizes: condition(Processes(*sizes)))
    return f"{HAS_CONFIG} && {in_section(_TRAINER, holds, IN_SPEC)}"


def rules() -> Iterator[Rule]:
    """Yield the rules of the instance type and its capacity."""
    key = "spec.platform.instanceType"
    yield Rule(
        3001,
        key,
        f"!({_IS_CPU}) && {_TYPE} == ''",
        remedy=f"Set it to one of {_LISTED}, or spec.platform.accelerator to CPU.",
        reason=RuleReason.REQUIRED,
    )
    types = ", ".join(f"'{name}'" for name in NAMES)
    yield Rule(
        3002, key, f"!({_NODE} in ['', {types}])", remedy=f"Use one of {_LISTED}; on HyperPod with {HYPERPOD} in front."
    )
    joined = is_above("trainer.lnc", 1, IN_SPEC)
    apart = _quoted(t.name for t in INSTANCE_TYPES.values() if t.max_lnc == 1)
    yield Rule(3003, "trainer.lnc", f"{_NODE} in [{apart}] && {HAS_CONFIG} && {joined}")
    yield from _processes()
    without_efa = _quoted(t.name for t in INSTANCE_TYPES.values() if t.efa == 0)
    several = is_above("trainer.num_nodes", 1, IN_SPEC)
    yield Rule(3006, "trainer.num_nodes", f"{_NODE} in [{without_efa}] && {HAS_CONFIG} && {several}")
    yield from _ring()


def _quoted(names: Iterable[str]) -> str:
    """Return EC2's and HyperPod's names as items of a CEL list."""
    return ", ".join(f"'{prefix}{name}'" for name in names for prefix in ("", HYPERPOD))


def _processes() -> Iterator[Rule]:
    yield Rule(3004, "trainer.devices", f"{_PHYSICAL} > 0 && {processes(_are_too_many)}")
    uneven = processes(lambda procs: f"!{procs.is_divisible}")
    yield Rule(3011, "trainer.devices", f"{_SCOPE} == 'Total' && {uneven}")


def _are_too_many(procs: Processes) -> str:
    per_node = f"({procs.is_total} ? {procs.devices} / {procs.nodes} : {procs.devices})"
    return f"[{procs.cores}].exists(c, c > 0 && {per_node} > c)"


def _ring() -> Iterator[Rule]:
    """Yield the limits of the ring attention kernel (`platform.devices`)."""
    length = "model.encoder_seq_length"

    def splits(condition: Callable[[str, str], str]) -> str:
        return f"{HAS_CONFIG} && {is_above(CP, 1, IN_SPEC)} && {numbers(CP, length, condition=condition, root=IN_SPEC)}"

    odd = splits(lambda parts, tokens: f"{tokens} % ({parts} * 1024) != 0")
    yield Rule(3013, CP, f"{_NODE} != '' && {odd}")
    first = _quoted(name for name in INSTANCE_TYPES if name.startswith("trn1"))
    yield Rule(3014, length, f"{_NODE} in [{first}] && {splits(lambda _, tokens: f'{tokens} > 32768')}")
