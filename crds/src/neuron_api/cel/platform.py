"""`spec.platform` against the configuration, as rules of `spec`: instance types, cores, storage (section 30xx), and
divisions of the number of processes.

The capacity of a node is looked up in maps by the instance type; on CPU, and with an unknown type, it is unbounded.
`spec.deviceCountScope` says what `trainer.devices` counts.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from neuron_api.platform.instances import HYPERPOD, INSTANCE_TYPES, NAMES

from .expressions import IN_SPEC, BoundSection, in_section, is_above, numbers, numbers_of, raw
from .parallel import CP, EP, PP, SHUFFLE, TP, VPP
from .rule import Rule, RuleReason

_TYPE: Final = "self.?platform.?instanceType.orValue('')"
_IS_CPU: Final = "self.?platform.?accelerator.orValue('Neuron') == 'CPU'"
_HAS_CONFIG: Final = f"has({IN_SPEC})"
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
class _Processes:
    """Expressions of what `trainer` says about the processes, within `_with_processes`."""

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


def _with_processes(condition: Callable[[_Processes], str]) -> str:
    """Return an expression that is true if the processes are known and the condition holds for them."""
    values = [raw("trainer.devices", _TRAINER), raw("trainer.num_nodes", _TRAINER), f"t.?lnc.orValue({_DEFAULT_LNC})"]
    holds = numbers_of(values, lambda *sizes: condition(_Processes(*sizes)))
    return f"{_HAS_CONFIG} && {in_section(_TRAINER, holds, IN_SPEC)}"


def rules() -> Iterator[Rule]:
    """Yield the rules of the instance type, and of how processes are divided."""
    yield from _capacity()
    yield from _divisions()


def _capacity() -> Iterator[Rule]:
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
    yield Rule(3003, "trainer.lnc", f"{_NODE} in [{apart}] && {_HAS_CONFIG} && {joined}")
    yield from _processes()
    without_efa = _quoted(t.name for t in INSTANCE_TYPES.values() if t.efa == 0)
    several = is_above("trainer.num_nodes", 1, IN_SPEC)
    yield Rule(3006, "trainer.num_nodes", f"{_NODE} in [{without_efa}] && {_HAS_CONFIG} && {several}")
    yield from _ring()


def _quoted(names: Iterable[str]) -> str:
    """Return EC2's and HyperPod's names as items of a CEL list."""
    return ", ".join(f"'{prefix}{name}'" for name in names for prefix in ("", HYPERPOD))


def _processes() -> Iterator[Rule]:
    yield Rule(3004, "trainer.devices", f"{_PHYSICAL} > 0 && {_with_processes(_are_too_many)}")
    uneven = _with_processes(lambda procs: f"!{procs.is_divisible}")
    yield Rule(3011, "trainer.devices", f"{_SCOPE} == 'Total' && {uneven}")


def _are_too_many(procs: _Processes) -> str:
    per_node = f"({procs.is_total} ? {procs.devices} / {procs.nodes} : {procs.devices})"
    return f"[{procs.cores}].exists(c, c > 0 && {per_node} > c)"


def _ring() -> Iterator[Rule]:
    """Yield the limits of the ring attention kernel (`platform.devices`)."""
    length = "model.encoder_seq_length"

    def splits(condition: Callable[[str, str], str]) -> str:
        return (
            f"{_HAS_CONFIG} && {is_above(CP, 1, IN_SPEC)} && {numbers(CP, length, condition=condition, root=IN_SPEC)}"
        )

    odd = splits(lambda parts, tokens: f"{tokens} % ({parts} * 1024) != 0")
    yield Rule(3013, CP, f"{_NODE} != '' && {odd}")
    first = _quoted(name for name in INSTANCE_TYPES if name.startswith("trn1"))
    yield Rule(3014, length, f"{_NODE} in [{first}] && {splits(lambda _, tokens: f'{tokens} > 32768')}")


_BATCH, _MICRO = "data.global_batch_size", "data.micro_batch_size"
_STRATEGY: Final = BoundSection("s", "distributed_strategy")
_DATA: Final = BoundSection("b", "data")


def _divisions() -> Iterator[Rule]:
    """Yield the rules of world, batch, micro-batches over stages and groups of data-parallel processes."""
    yield Rule(2301, TP, _world(lambda world, part, _: f"{world} % {part} != 0"))
    yield Rule(
        2302, _BATCH, _data_parallel(lambda size, _: _batch(lambda batch, micro: f"{batch} % ({micro} * {size}) != 0"))
    )
    chunks = f"{_HAS_CONFIG} && {is_above(VPP, 1, IN_SPEC)}"
    yield Rule(2305, VPP, f"{chunks} && {_data_parallel(_uneven_micro_batches)}")
    for key in (EP, SHUFFLE):
        has_groups = f"{_HAS_CONFIG} && {is_above(key, 1, IN_SPEC)} && has({IN_SPEC}.model.moe)"
        groups = numbers(key, condition=lambda group: f"d % {group} != 0", root=IN_SPEC, name="g")
        yield Rule(2320, key, f"{has_groups} && {_data_parallel(lambda *_, groups=groups: groups)}")


def _uneven_micro_batches(size: str, stages: str) -> str:
    return f"{stages} > 1 && " + _batch(
        lambda batch, micro: f"{batch} % ({micro} * {size}) == 0 && {batch} / ({micro} * {size}) % {stages} != 0"
    )


def _batch(condition: Callable[[str, str], str]) -> str:
    """Return an expression that is true if the condition holds for the two batch sizes."""
    values = numbers_of([raw(_BATCH, _DATA), raw(_MICRO, _DATA)], condition, "m")
    return in_section(_DATA, values, IN_SPEC)


def _world(condition: Callable[[str, str, str], str]) -> str:
    """Return an expression that is true if the condition holds for world size, model-parallel size and stages."""

    def in_world(procs: _Processes) -> str:
        world = f"({procs.is_total} ? {procs.devices} : {procs.devices} * {procs.nodes})"
        parts = numbers_of(
            [raw(key, _STRATEGY) for key in (TP, PP, CP)],
            lambda tensor, stages, context: (
                f"[{world}].exists(w, [{tensor} * {stages} * {context}].exists(p, {condition('w', 'p', stages)}))"
            ),
            "k",
        )
        return f"{procs.is_divisible} && {in_section(_STRATEGY, parts, IN_SPEC)}"

    return _with_processes(in_world)


def _data_parallel(condition: Callable[[str, str], str]) -> str:
    """Return an expression that is true if there is a data-parallel size and the condition holds for it and the
    stages."""
    return _world(
        lambda world, part, stages: f"{world} % {part} == 0 && [{world} / {part}].exists(d, {condition('d', stages)})"
    )
