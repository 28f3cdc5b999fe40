"""`spec.platform` against the configuration, as rules of `spec`: instance types, cores, storage (section 30xx).

What a node has is looked up in maps by the instance type; on CPU, and with a type that is not known, no node has a
bound.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from neuron_api.instances import INSTANCE_TYPES

from .expressions import IN_SPEC, above, number, whole
from .parallel import CP
from .rule import Reason, Rule

_TYPE: Final = "self.?platform.?instanceType.orValue('')"
_IS_CPU: Final = "self.?platform.?accelerator.orValue('neuron') == 'cpu'"
HAS_CONFIG: Final = f"has({IN_SPEC})"
_NODE: Final = f"({_IS_CPU} ? '' : {_TYPE})"
"""The instance type; empty where nodes have no bound."""
_LISTED: Final = ", ".join(INSTANCE_TYPES)

DEVICES: Final = number("trainer.devices", IN_SPEC)
NODES: Final = number("trainer.num_nodes", IN_SPEC)
_MEANING: Final = "self.?devicesMeaning.orValue('auto')"


def _by_type(values: Mapping[str, int], otherwise: int) -> str:
    """A number looked up by the instance type; only what differs is written out."""
    written = ", ".join(f"'{name}': {value}" for name, value in values.items() if value != otherwise)
    return f"{{{written}}}[?{_NODE}].orValue({otherwise})"


_PHYSICAL: Final = _by_type({t.name: t.chips * t.cores_per_chip for t in INSTANCE_TYPES.values()}, 0)
_DEFAULT_LNC: Final = _by_type({t.name: t.default_lnc for t in INSTANCE_TYPES.values()}, 1)
_LNC: Final = f"int({IN_SPEC}.trainer.?lnc.orValue({_DEFAULT_LNC}))"
_CORES: Final = f"({_PHYSICAL} / {_LNC})"
"""Logical cores of a node; 0 where it has no bound."""
ARE_DEVICES_KNOWN: Final = whole("trainer.devices", "trainer.num_nodes", "trainer.lnc", root=IN_SPEC, absent=1)
IS_TOTAL: Final = (
    f"({_MEANING} == 'total' || {_MEANING} == 'auto' && "
    f"[{_CORES}].exists(c, c > 0 && {DEVICES} > c && {DEVICES} % {NODES} == 0 && {DEVICES} / {NODES} <= c))"
)
"""Whether trainer.devices counts the processes of all nodes (`processes`), within `ARE_DEVICES_KNOWN`."""
IS_DIVISIBLE: Final = f"({_MEANING} != 'total' || {DEVICES} % {NODES} == 0)"


def rules() -> Iterator[Rule]:
    """The instance type, and whether its node can hold the job."""
    key = "spec.platform.instanceType"
    yield Rule(
        3001,
        key,
        f"!({_IS_CPU}) && {_TYPE} == ''",
        remedy=f"Set it to one of {_LISTED}, or spec.platform.accelerator to cpu.",
        reason=Reason.REQUIRED,
    )
    types = ", ".join(f"'{name}'" for name in INSTANCE_TYPES)
    yield Rule(3002, key, f"!({_NODE} in ['', {types}])", remedy=f"Use one of {_LISTED}.")
    joined = above("trainer.lnc", 1, IN_SPEC)
    apart = ", ".join(f"'{t.name}'" for t in INSTANCE_TYPES.values() if t.max_lnc == 1)
    yield Rule(3003, "trainer.lnc", f"{HAS_CONFIG} && {joined} && {_NODE} in [{apart}]")
    yield from _processes()
    lone = ", ".join(f"'{t.name}'" for t in INSTANCE_TYPES.values() if t.efa == 0)
    several = above("trainer.num_nodes", 1, IN_SPEC)
    yield Rule(3006, "trainer.num_nodes", f"{HAS_CONFIG} && {several} && {_NODE} in [{lone}]")
    yield from _ring()


def _processes() -> Iterator[Rule]:
    per_node = f"({IS_TOTAL} ? {DEVICES} / {NODES} : {DEVICES})"
    known = f"{HAS_CONFIG} && {ARE_DEVICES_KNOWN}"
    yield Rule(3004, "trainer.devices", f"{known} && [{_CORES}].exists(c, c > 0 && {per_node} > c)")
    yield Rule(3011, "trainer.devices", f"{known} && !{IS_DIVISIBLE}")


def _ring() -> Iterator[Rule]:
    """Limits of the ring attention kernel (`devices`)."""
    length = "model.encoder_seq_length"
    splits = f"{HAS_CONFIG} && {whole(CP, length, root=IN_SPEC)} && {above(CP, 1, IN_SPEC)}"
    tokens, parts = number(length, IN_SPEC), number(CP, IN_SPEC)
    yield Rule(3013, CP, f"{splits} && {_NODE} != '' && {tokens} % ({parts} * 1024) != 0")
    yield Rule(3014, length, f"{splits} && {_NODE}.startsWith('trn1') && {tokens} > 32768")
