"""A plan as a table for people: what runs where, how it is split, what a step and a process need."""

from collections.abc import Iterator
from textwrap import wrap
from typing import TYPE_CHECKING, Any, Final

from neuron_api.derive.alignment import Reference
from neuron_api.derive.memory import MemoryEstimate
from neuron_api.derive.plan import TrainingPlan
from neuron_api.findings.finding import Finding, Severity
from neuron_api.platform import node_counts
from neuron_api.platform.topology import Topology

if TYPE_CHECKING:
    from .plan import Planned

_LABEL: Final = 18
_INDENT: Final = " " * 4
_WIDTH: Final = 100
"""Characters of a line where the output is no terminal, and at most."""
_MIN_WIDTH: Final = 40
_UNKNOWN: Final = "not known"
_TITLES: Final = {Severity.ERROR: "errors", Severity.WARNING: "warnings", Severity.NOTE: "notes"}


def render(planned: "Planned", columns: int | None = None) -> str:
    """Rows of label and value, then the findings, errors first; `columns`: of the terminal, None without one."""
    width = max(_MIN_WIDTH, columns or _WIDTH)
    lines = [planned.label, *(line for label, value in rows(planned) for line in _row(label, value, columns and width))]
    return "\n".join([*lines, *_findings(planned.findings, min(width, _WIDTH + len(_INDENT)))]) + "\n"


def rows(planned: "Planned") -> list[tuple[str, str]]:
    """Return label and value of each row; none of a configuration that cannot be read."""
    if planned.plan is None:
        return []
    sizes = [("legal nodes", _sizes(planned))] if planned.node_plan else []
    again = [("recompiles", str(planned.recompilation))] if planned.recompilation else []
    copies = [("copies in memory", _copies(planned))] if planned.has_copies else []
    return [*_rows(planned.plan, planned.reference_samples), *sizes, *copies, *again, ("config hash", planned.hash)]


def _sizes(planned: "Planned") -> str:
    """Return the legal numbers of nodes, each with its data-parallel size and its micro-batches."""
    assert planned.config is not None
    assert planned.node_plan is not None
    shapes = [Topology.from_config(node_counts.with_nodes(planned.config, count)) for count in planned.node_plan.legal]
    return "; ".join(f"{shape.num_nodes} (data {shape.data_parallel} x {shape.micro_batches})" for shape in shapes)


def _copies(planned: "Planned") -> str:
    if planned.copies is None:
        return _UNKNOWN
    return f"{planned.copies / 2**30:.1f} GiB of shared memory on each node"


def _row(label: str, value: str, width: int | None) -> list[str]:
    """One line, or as many as the terminal needs."""
    head = f"  {label:<{_LABEL}}"
    if width is None:
        return [f"{head}{value}"]
    return wrap(
        value,
        width,
        initial_indent=head,
        subsequent_indent=" " * len(head),
        break_on_hyphens=False,
        break_long_words=False,
    ) or [head]


def _rows(plan: TrainingPlan, reference_samples: int | None) -> Iterator[tuple[str, str]]:
    c = _Words(plan.columns)
    yield "training", f"{c.strategy}, {c.model_source}, {c.data_module}, precision {c.precision}"
    yield "nodes", f"{c.num_nodes}, {_machine(plan)}"
    yield "in each", _in_each(plan, c)
    yield "processes", f"{c.world} = tensor {c.tp} x pipeline {c.pp} x context {c.cp} x data {c.dp}"
    yield "options", _options(c)
    yield "layers", f"{c.layers} by stage: {c.layers_per_stage}" if plan.columns["pp"] != 1 else str(c.layers)
    heads = f"{c.kv_heads} ({c.kv_heads_source})" if plan.columns["kv_heads"] else _UNKNOWN
    yield "key/value heads", f"{heads}, copies {c.kv_rep_effective}"
    yield "parameters", _parameters(plan)
    if plan.compiler is not None:
        yield "compiled", f"each layer, embedding, head and loss, with {plan.compiler}"
    samples = "samples" if plan.rows_per_sample == 1 else f"pairs of {plan.rows_per_sample} rows"
    yield "step", f"{c['global']} {samples} = data {c.dp} x micro-batches {c.num_microbatches} x micro-batch {c.micro}"
    warm_up = plan.columns["warmup"] or 0
    yield "steps", f"{c.max_steps}, {c.total_samples} samples; {c.optimizer}, {c.scheduler}, warm-up {warm_up}"
    if plan.reference is not None:
        yield "reference", _reference(plan.reference, reference_samples)
    yield "checkpoints", _checkpoints(plan, c)
    yield ("memory" if plan.hardware.name == "cpu" else "device memory"), _total(plan)
    if plan.memory is not None:
        yield "  of which", _parts(plan.memory)
    for index, (name, value) in enumerate(plan.environment.items()):
        yield ("environment" if index == 0 else ""), f"{name}={value}"


class _Words:
    """Columns as words: null is said."""

    def __init__(self, columns: dict[str, Any]) -> None:
        self._columns = columns

    def __getitem__(self, name: str) -> str:
        value = self._columns[name]
        return _UNKNOWN if value is None else str(value)

    def __getattr__(self, name: str) -> str:
        return self[name]


def _machine(plan: TrainingPlan) -> str:
    if plan.hardware.instance_type is None:
        return "CUDA" if plan.hardware.name == "cuda" else "CPU only"
    return f"{plan.hardware.instance_type}{' (assumed)' if plan.hardware.is_assumed else ''}"


def _in_each(plan: TrainingPlan, c: _Words) -> str:
    if plan.devices is None:
        return f"{c.devices} processes"
    if plan.devices.gpus:
        return f"{c.devices} processes, {plan.devices.gpus} GPUs"
    lnc = f", lnc {plan.devices.lnc}" if plan.devices.lnc else ""
    return f"{c.devices} processes, {plan.devices.neuron} Neuron devices, {plan.devices.efa} EFA interfaces{lnc}"


def _options(c: _Words) -> str:
    chosen = {"zero1": "zero1", "sequence_parallel": "sequence parallel"}
    on = [words for name, words in chosen.items() if c[name] == "True"]
    more = [f"{words} {c[name]}" for name, words in (("vpp", "chunks"), ("ep", "expert parallel")) if c[name] != "1"]
    return ", ".join([*on, *more]) or "none"


def _parameters(plan: TrainingPlan) -> str:
    whole, trained = plan.parameters, plan.trained_parameters
    if whole is None or trained is None:
        return _UNKNOWN
    if not plan.has_adapters:
        return f"{whole:,}"
    return f"{whole:,} and adapters; {trained:,} trained ({100 * trained / (whole + trained):.3g} %)"


def _reference(reference: Reference, samples: int | None) -> str:
    match reference:
        case Reference.PRECOMPUTED:
            count = "every sample" if samples is None else f"{samples} samples"
            return f"one pass over {count} of data.train_dir before step 1, kept beside the checkpoints"
        case Reference.WITHOUT_ADAPTERS:
            return "in each step, from the model without its adapters"
        case Reference.SECOND_MODEL:
            return "in each step, from a second, frozen model"


def _checkpoints(plan: TrainingPlan, c: _Words) -> str:
    size = _UNKNOWN if plan.checkpoint_bytes is None else _gb(plan.checkpoint_bytes)
    if not plan.columns["save_every"]:
        return f"at the end only; size {size}"
    before = "none before the end" if plan.columns["saves_before_end"] == 0 else f"{c.saves_before_end} before the end"
    return f"every {c.save_every} steps, {before}; size {size}"


def _total(plan: TrainingPlan) -> str:
    if plan.memory is None:
        return _UNKNOWN
    available = f" of {_gib(plan.device_memory)}" if plan.device_memory else ""
    stage = f", in pipeline stage {plan.memory.stage}" if plan.columns["pp"] != 1 else ""
    return f"about {_gib(plan.memory.total)}{available} per process{stage}"


def _parts(memory: MemoryEstimate) -> str:
    parts = {
        "weights": memory.weights - memory.frozen,
        "frozen weights": memory.frozen,
        "reference": memory.reference,
        "gradients": memory.gradients,
        "masters": memory.masters,
        "optimizer": memory.optimizer_state,
        "activations": memory.activations,
    }
    return ", ".join(f"{name} {_gib(size)}" for name, size in parts.items() if size)


def _gib(size: int) -> str:
    return f"{size / 2**30:.2f} GiB" if size >= 2**30 // 10 else f"{size / 2**20:.2f} MiB"


def _gb(size: int) -> str:
    if size < 10**6:
        return f"{size / 1e3:.1f} kB"
    return f"{size / 1e9:.1f} GB" if size >= 10**9 else f"{size / 1e6:.1f} MB"


def _findings(findings: tuple[Finding, ...], width: int) -> Iterator[str]:
    for severity, title in _TITLES.items():
        chosen = [finding for finding in findings if finding.severity is severity]
        if not chosen:
            continue
        yield ""
        yield f"{title} ({len(chosen)})"
        for finding in chosen:
            yield from _finding(finding, width)


def _finding(finding: Finding, width: int) -> Iterator[str]:
    where = f"line {finding.line}" if finding.line else "" if finding.key else "the document"
    yield f"  {' '.join(word for word in (finding.key, where, finding.code) if word)}"
    yield from wrap(
        f"{finding.message} {finding.remedy}".strip(),
        width,
        initial_indent=_INDENT,
        subsequent_indent=_INDENT,
        break_on_hyphens=False,
        break_long_words=False,
    )
