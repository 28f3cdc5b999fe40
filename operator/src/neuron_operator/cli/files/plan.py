"""`kubectl neuron plan`: every configuration of a file, loaded, checked and worked out.

`job_rows` is that of a job on the cluster.
"""

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from neuron_api import checks, memory_copies
from neuron_api.config import TrainingConfig
from neuron_api.derive import hardware
from neuron_api.derive import plan as derivation
from neuron_api.derive.alignment import Reference
from neuron_api.derive.plan import TrainingPlan
from neuron_api.findings.finding import Finding, errors_of
from neuron_api.findings.registry import make_finding
from neuron_api.loading import device_count, yaml_text
from neuron_api.loading.loader import Loaded
from neuron_api.platform.instances import INSTANCE_TYPES
from neuron_api.resource.spec import DeviceCountScope, JobSpec, MemoryCheckpoints
from neuron_api.schema import effects

from . import documents, job_checks, model_files, recompilation, report, table
from .documents import Source
from .platform_flags import PlatformFlags
from .recompilation import Recompilation

if TYPE_CHECKING:
    from neuron_operator.planning.validation.elastic import NodePlan

_LINES: Final = (".jsonl", ".ndjson", ".jsonlines", ".ldjson")
"""Formats with a record on each line; the others would have to be parsed."""


def count_records(config: TrainingConfig) -> int | None:
    """Return the records of `data.train_dir`, at most `data.dev_choose_samples`; None if they cannot be counted."""
    path = Path(config.data.train_dir or "").expanduser()
    if path.suffix.lower() not in _LINES or not path.is_file():
        return None
    try:
        with path.open("rb") as file:
            return sum(1 for _ in islice((line for line in file if line.strip()), config.data.dev_choose_samples))
    except OSError:
        return None


@dataclass(frozen=True, slots=True)
class Planned:
    """One configuration."""

    label: str
    plan: TrainingPlan | None
    """None when it cannot be read."""
    hash: str
    findings: tuple[Finding, ...]
    reference_samples: int | None = None
    """Samples of the pass that computes DPO's reference, if the file of records is on this machine."""
    config: TrainingConfig | None = None
    recompilation: Recompilation | None = None
    """None without an earlier file."""
    node_plan: "NodePlan | None" = None
    """Legal numbers of nodes; None without spec.elasticPolicy."""
    has_copies: bool = False
    """Whether the job has copies in memory (`spec.memoryCheckpoints`)."""
    copies: int | None = None
    """Bytes of a pod's; None where the model's sizes are not known."""


def run(
    files: Sequence[str],
    overrides: Sequence[str],
    platform: PlatformFlags,
    model_config: str | None,
    output: str,
    previous: str | None = None,
) -> tuple[str, bool]:
    """The text to print, and whether there are errors; `previous`: the file to compare graphs with."""
    plans = [plan_source(source, overrides, platform, model_config) for source in documents.from_files(files)]
    if previous is not None:
        before = recompilation.previous_inputs(previous)
        plans = [_compared(planned, previous, before) for planned in plans]
    has_errors = any(errors_of(planned.findings) for planned in plans)
    if output == "table":
        return "\n".join(table.render(planned, _columns()) for planned in plans), has_errors
    values: Any = [report.to_dict(planned) for planned in plans]
    values = values[0] if len(values) == 1 else values
    if output == "json":
        return json.dumps(values, indent=2, ensure_ascii=False) + "\n", has_errors
    return yaml_text.dump(values), has_errors


def _compared(planned: Planned, path: str, before: Mapping[str, Any]) -> Planned:
    if planned.config is None:
        return planned
    return replace(planned, recompilation=recompilation.compare(path, before, planned.config))


def _columns() -> int | None:
    """Return the width of the terminal that the table goes to; None for a file or a pipe."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def plan_source(source: Source, overrides: Sequence[str], platform: PlatformFlags, model_config: str | None) -> Planned:
    """Load, check and work out one configuration."""
    loaded = source.load(overrides)
    if loaded.config is None:
        return Planned(source.label, None, "", loaded.findings)
    accelerator = platform.accelerator_of(source)
    machines = hardware.from_config(
        loaded.config, accelerator, platform.instance_type_of(source), platform.stated(source)
    )
    loaded = _with_devices_per_node(source, overrides, loaded, machines)
    assert loaded.config is not None
    model, unread = model_files.find(loaded.config, source, model_config)
    plan = derivation.derive(loaded.config, machines, model)
    node_plan = job_checks.node_plan(
        source, overrides, loaded.config, lambda resized: derivation.derive(resized, machines, model).findings
    )
    findings = (
        *job_checks.findings(source, loaded.config, loaded.findings),
        *unread,
        *(checks.check_model(loaded.config, model) if model else ()),
        *plan.findings,
        *(node_plan.findings if node_plan else ()),
        *effects.check(loaded.config, accelerator.device, loaded.findings),
        *_assumed(source, loaded.config, machines),
    )
    samples = count_records(loaded.config) if plan.reference is Reference.PRECOMPUTED else None
    every = (*loaded.findings, *source.located(findings))
    settings, copies = _copies(source), None
    if settings is not None:
        copies = memory_copies.of_config(settings, loaded.config, is_native=machines.is_native, model=model)
    return Planned(
        source.label,
        plan,
        loaded.hash,
        every,
        samples,
        loaded.config,
        node_plan=node_plan,
        has_copies=settings is not None,
        copies=copies,
    )


def _copies(source: Source) -> MemoryCheckpoints | None:
    """Return `spec.memoryCheckpoints` of a job; None also where it is not valid, which a finding says."""
    value = (source.spec or {}).get("memoryCheckpoints")
    try:
        return MemoryCheckpoints.model_validate(value) if isinstance(value, Mapping) else None
    except ValidationError:
        return None


def _with_devices_per_node(
    source: Source, overrides: Sequence[str], loaded: Loaded, machines: hardware.Hardware
) -> Loaded:
    """Return the configuration with `trainer.devices` per node."""
    scope = (source.spec or {}).get("deviceCountScope")
    meaning = DeviceCountScope(scope) if scope in list(DeviceCountScope) else DeviceCountScope.AUTO
    settled = device_count.resolve_device_count(
        loaded, lambda more: source.load((*overrides, *more)), machines.instance, meaning
    )
    return replace(settled, findings=tuple(source.located(settled.findings)))


def _assumed(source: Source, config: TrainingConfig, machines: hardware.Hardware) -> tuple[Finding, ...]:
    if not machines.is_assumed or source.spec is not None:
        return ()
    lnc = f"trainer.lnc is {config.trainer.lnc}" if config.trainer.lnc else "trainer.lnc is not set"
    return (
        make_finding(
            3008,
            "trainer.devices",
            f"no instance type was given; {machines.instance_type} is assumed, since {lnc} and trainer.devices is "
            f"{config.trainer.devices}.",
            f"Give --instance-type: {', '.join(INSTANCE_TYPES)}; or --accelerator cpu or cuda.",
        ),
    )


def job_rows(name: str, own: JobSpec) -> list[tuple[str, str]]:
    """Return labels and values of the plan of a job; none where the configuration is in another object, or cannot be
    read."""
    if own.config is None:
        return []
    spec = own.model_dump(mode="json", by_alias=True, exclude_none=True)
    planned = plan_source(Source(name, spec, config_object=own.config), (), PlatformFlags(), None)
    return list(table.rows(planned))
