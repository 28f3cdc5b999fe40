"""`spec.platform` against the configuration, as rules of `spec`: instance types, cores, storage (section 30xx), and
divisions of the number of processes.

The capacity of a node follows from the instance type's generation and number of chips, which spec.platform may say;
without Trainium, and with an unknown type, it is unbounded.
`spec.deviceCountScope` says what `trainer.devices` counts.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from neuron_api.platform.devices import WITHOUT_TRAINIUM
from neuron_api.platform.instances import FORM, HYPERPOD, INSTANCE_TYPES, NAMES, TRAINIUM_1, TRAINIUM_2, TRAINIUM_3

from .expressions import IN_SPEC, BoundSection, in_section, is_above, numbers, numbers_of, raw
from .parallel import CP, EP, PP, SHUFFLE, TP, VPP, fusion
from .rule import Rule, RuleReason

_TYPE: Final = "self.?platform.?instanceType.orValue('')"
_IS_OTHER: Final = "self.?platform.?accelerator.orValue('Neuron') != 'Neuron'"
"""True without Trainium: CPU, CUDA."""
_HAS_CONFIG: Final = f"has({IN_SPEC})"
_NODE: Final = f"({_IS_OTHER} ? '' : {_TYPE})"
"""The instance type; empty if nodes are unbounded."""
_LISTED: Final = ", ".join(INSTANCE_TYPES)

_SCOPE: Final = "self.?deviceCountScope.orValue('Auto')"


def _quoted(names: Iterable[str]) -> str:
    """Return EC2's and HyperPod's names as items of a CEL list."""
    return ", ".join(f"'{prefix}{name}'" for name in names for prefix in ("", HYPERPOD))


def _by_type(values: Mapping[str, int], otherwise: int) -> str:
    """Return a lookup of a number by the instance type: its cost is constant, that of a match of the name is not."""
    written = ", ".join(f"'{prefix}{name}': {value}" for prefix in ("", HYPERPOD) for name, value in values.items())
    return f"{{{written}}}[?{_NODE}].orValue({otherwise})"


# Types that are not in the table are of a later generation than Trn1, which gets no new ones.
assert (TRAINIUM_2.cores, TRAINIUM_2.max_lnc) == (TRAINIUM_3.cores, TRAINIUM_3.max_lnc)
_TRN1: Final = [t.name for t in INSTANCE_TYPES.values() if t.generation is TRAINIUM_1]
_IS_TRN1: Final = f"{_NODE} in [{_quoted(_TRN1)}]"
_STATED: Final = "self.?platform.?neuronDevices"
_CHIPS: Final = (
    f"({_NODE} == '' ? 0 : {_STATED}.orValue({_by_type({t.name: t.chips for t in INSTANCE_TYPES.values()}, 0)}))"
)
_PHYSICAL: Final = f"{_CHIPS} * {_by_type(dict.fromkeys(_TRN1, TRAINIUM_1.cores), TRAINIUM_2.cores)}"
_DEFAULT_LNC: Final = f"{_NODE} == '' ? 1 : {_by_type(dict.fromkeys(_TRN1, TRAINIUM_1.max_lnc), TRAINIUM_2.max_lnc)}"
_HAS_FORM: Final = f"self.platform.instanceType.matches('{FORM}')"
"""For a type that is set. The schema bounds its length, which is lost behind `orValue`."""
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
        f"!({_IS_OTHER}) && {_TYPE} == ''",
        remedy=f"Set it to one of {_LISTED}, or spec.platform.accelerator to CPU or CUDA.",
        reason=RuleReason.REQUIRED,
    )
    remedy = f"Use one of {_LISTED}; on HyperPod with {HYPERPOD} in front. {WITHOUT_TRAINIUM}"
    yield Rule(3002, key, f"{_NODE} != '' && !{_HAS_FORM}", remedy=remedy)
    types = ", ".join(f"'{name}'" for name in NAMES)
    yield Rule(
        3017,
        "spec.platform.neuronDevices",
        f"!({_NODE} in ['', {types}]) && !{_STATED}.hasValue() && {_HAS_FORM}",
        reason=RuleReason.REQUIRED,
    )
    joined = is_above("trainer.lnc", 1, IN_SPEC)
    yield Rule(3003, "trainer.lnc", f"{_IS_TRN1} && {_HAS_CONFIG} && {joined}")
    yield from _processes()
    yield from _network()
    yield from _ring()
    yield from _flash()


def _network() -> Iterator[Rule]:
    """Yield the rules of nodes that several processes need EFA between."""
    stated = "self.?platform.?efaInterfaces"
    published = [t for t in INSTANCE_TYPES.values() if t.efa is not None]
    without = _quoted(t.name for t in published if t.efa == 0)
    several = f"{_HAS_CONFIG} && {is_above('trainer.num_nodes', 1, IN_SPEC)}"
    none = f"({stated}.hasValue() ? {stated}.value() == 0 : {_NODE} in [{without}])"
    yield Rule(3006, "trainer.num_nodes", f"{_NODE} != '' && {none} && {several}")
    sizes_published = _quoted(t.name for t in published)
    unknown = f"{_CHIPS} > 0 && !{stated}.hasValue() && !({_NODE} in [{sizes_published}])"
    yield Rule(3018, "spec.platform.efaInterfaces", f"{unknown} && {several}", reason=RuleReason.REQUIRED)


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
    yield Rule(3014, length, f"{_IS_TRN1} && {splits(lambda _, tokens: f'{tokens} > 32768')}")


def _flash() -> Iterator[Rule]:
    """Yield the limit of the flash kernel, which is called on Trn1 (`platform.kernels`)."""
    length = "model.encoder_seq_length"
    flash = fusion("flash_attention", IN_SPEC)
    odd = numbers(length, condition=lambda tokens: f"{tokens} % 2048 != 0", root=IN_SPEC)
    yield Rule(3020, length, f"{_IS_TRN1} && {_HAS_CONFIG} && {flash} && {odd}")


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
