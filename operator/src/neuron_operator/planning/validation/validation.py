"""The gate in front of everything: configuration, platform, storage and template, with all findings at once.

A job that names no trainer image gets one by accelerator, and on Trainium by what runs PyTorch there.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Final

from neuron_api import contract, memory_copies
from neuron_api.config import TrainingConfig
from neuron_api.findings.finding import Finding, Severity, error, errors_of, warning
from neuron_api.loading import device_count, yaml_text
from neuron_api.loading.loader import Loaded, load_object, load_text
from neuron_api.platform import instances, node_counts
from neuron_api.platform.devices import NO_DEVICES, Devices, devices
from neuron_api.platform.instances import generation_of
from neuron_api.platform.topology import Topology
from neuron_api.resource import job_name
from neuron_api.resource.accelerator import Accelerator, Stack
from neuron_api.resource.job import NeuronTrainingJob
from neuron_api.resource.reasons import Reason
from neuron_api.resource.spec import JobSpec, Platform
from neuron_api.schema import support
from neuron_operator.planning.observation.observation import ConfigText
from neuron_operator.planning.options import Options

from . import elastic, pod_memory, storage, template, template_conflicts
from .elastic import NodePlan

_KINDS: Final = {Accelerator.CPU: "cpu", Accelerator.CUDA: "cuda"}
"""Kinds of images of devices that have one each."""


def image_kind(platform: Platform) -> str:
    """Return the kind of image, a key of the Helm value trainerImages; without an instance type TorchNeuron's."""
    if platform.accelerator in _KINDS:
        return _KINDS[platform.accelerator]
    generation = generation_of(platform.instance_type)
    return generation.stack if generation else Stack.TORCHNEURON


def default_image(platform: Platform, options: Options) -> str:
    """Return the operator's image of that kind; empty if it has none."""
    return options.images.get(image_kind(platform), "")


def missing_image(platform: Platform) -> Finding:
    """Return the finding about a job without an image, of a kind that the operator has none of."""
    return error(
        "spec.image",
        f"it is not set, and the operator has no default image of the kind {image_kind(platform)}.",
        f"Set it, or the Helm value trainerImages.{image_kind(platform)}.",
    )


_ONE_MEANS_ONE: Final = ("val_check_interval", "limit_val_batches", "limit_train_batches", "limit_test_batches")
"""Rule R3: the API server stores 1.0 as 1, and for these keys the two differ."""

SMALL: Final = 65_536
"""Letters of a job and its configuration; real ones have some 10,000."""
MANY_LARGE: Final = 16
"""Answers that are kept for jobs with more: a ConfigMap may have 1 MB, and 512 of them were the operator's memory."""
_MESSAGE_LIMIT: Final = 16_000


@dataclass(frozen=True, slots=True)
class Accepted:
    """What the job's children are made from."""

    config: TrainingConfig
    text: str
    hash: str
    topology: Topology
    devices: Devices
    image: str
    warnings: tuple[Finding, ...]
    node_plan: NodePlan
    """Which numbers of nodes are legal, and which one the spec asks for."""
    copies: int | None = None
    """Bytes of a pod's copies in memory; None where it has none, or they are not known."""

    def with_nodes(self, count: int, spec: JobSpec) -> "Accepted":
        """Return the same with another number of nodes."""
        if count == self.topology.num_nodes:
            return self
        config = node_counts.with_nodes(self.config, count)
        _, node_devices = _platform(spec, config)
        return replace(
            self,
            config=config,
            topology=Topology.from_config(config),
            devices=node_devices,
            copies=pod_memory.copies(spec, config),
        )

    @property
    def reason(self) -> Reason:
        """Part of the ConfigValid condition."""
        return Reason.CONFIG_ACCEPTED_WITH_WARNINGS if self.warnings else Reason.CONFIG_ACCEPTED

    @property
    def message(self) -> str:
        """Part of the ConfigValid condition."""
        return _sentences(self.warnings) or "The configuration is understood and fits the platform."


@dataclass(frozen=True, slots=True)
class Refused:
    """Why nothing is started."""

    reason: Reason
    message: str

    @property
    def may_resolve(self) -> bool:
        """Return whether the job then continues, once the source of its configuration exists."""
        return self.reason is Reason.CONFIG_MAP_NOT_FOUND


@dataclass(frozen=True, slots=True)
class _ValidationKey:
    """All that an answer rests on."""

    written: str
    """The spec, as JSON."""
    text: str
    image: str
    started_with: str
    """Hash of the configuration that the job was started with; empty before."""
    spec: JobSpec = field(compare=False, hash=False)


def validate(job: NeuronTrainingJob, source: ConfigText, options: Options) -> Accepted | Refused:
    """Accept or refuse; all findings at once."""
    if source.text is None:
        return Refused(Reason.CONFIG_MAP_NOT_FOUND, source.missing)
    if not job.status.start_time and (wrong := job_name.check(job.metadata.name)):  # the CRD may be an older one
        return Refused(Reason.CONFIG_INVALID, _sentences(wrong))
    spec, started_with = job.spec, job.status.config_hash if job.status.start_time else ""
    image = spec.image or default_image(spec.platform, options)
    key = _ValidationKey(spec.model_dump_json(), source.text, image, started_with, spec)
    is_small = len(key.written) + len(key.text) <= SMALL
    return (_small_answer if is_small else _large_answer)(key)


def _validate(key: _ValidationKey) -> Accepted | Refused:
    spec, loaded = key.spec, _load(key.spec, key.text)
    template_findings = template.findings(spec.pod_template)
    if loaded.config is None:
        return Refused(Reason.CONFIG_INVALID, _sentences((*loaded.errors, *template_findings)))
    platform_findings, node_devices = _platform(spec, loaded.config)
    node_plan = _node_plan(key, loaded, loaded.config)
    everything = (
        *loaded.findings,
        *instances.contradictions(spec.platform),
        *_bare_ones(spec),
        *_too_many_nodes(loaded.config),
        *support.check(loaded.config, loaded.findings),
        *platform_findings,
        *(() if key.image else (missing_image(spec.platform),)),
        *template_findings,
        *template_conflicts.findings(spec.pod_template, spec.scheduling, node_devices, spec.platform),
        *storage.findings(spec, loaded.config),
        *(memory_copies.check(spec.memory_checkpoints, loaded.config) if spec.memory_checkpoints else ()),
        *node_plan.findings,
        *pod_memory.findings(
            spec.pod_template,
            copies := pod_memory.copies(spec, loaded.config),
            pod_memory.processes(spec, loaded.config),
        ),
    )
    warnings = tuple(finding for finding in everything if finding.severity is Severity.WARNING)
    if errors := errors_of((*everything, *_config_changed(key, loaded))):
        only_storage = all(finding.key == storage.KEY for finding in errors)
        return Refused(Reason.STORAGE_MISSING if only_storage else Reason.CONFIG_INVALID, _sentences(errors))
    topology = Topology.from_config(loaded.config)
    return Accepted(
        loaded.config, key.text, loaded.hash, topology, node_devices, key.image, warnings, node_plan, copies
    )


def _node_plan(key: _ValidationKey, base: Loaded, config: TrainingConfig) -> NodePlan:
    spec, load, devices_override = (
        key.spec,
        _reader(key.spec, key.text),
        device_count.as_override(config.trainer.devices),
    )

    def read(count: int) -> tuple[TrainingConfig | None, Iterable[Finding]]:
        loaded, expected = (
            load((devices_override, node_counts.as_override(count))),
            node_counts.with_nodes(config, count),
        )
        return loaded.config, (*loaded.findings, *_platform(spec, expected)[0], *storage.findings(spec, expected))

    policy = None if base.errors else spec.elastic_policy
    return elastic.node_plan(policy, config, read, started=bool(key.started_with))


_small_answer: Final = lru_cache(maxsize=512)(_validate)
"""A pass has up to four plans, and each asks: 0.3 ms of some 3."""
_large_answer: Final = lru_cache(maxsize=MANY_LARGE)(_validate)


def config_text(job: NeuronTrainingJob) -> str:
    """`spec.config` as the text that pods read: interpolations as they are, strings and numbers told apart."""
    canonical = json.dumps(job.spec.config or {})
    return (_small_yaml if len(canonical) <= SMALL else _large_yaml)(canonical)


def _yaml(canonical: str) -> str:
    return yaml_text.dump(json.loads(canonical))


_small_yaml: Final = lru_cache(maxsize=256)(_yaml)
"""A pass asks several times, and a job takes several passes."""
_large_yaml: Final = lru_cache(maxsize=MANY_LARGE)(_yaml)


def _load(spec: JobSpec, text: str) -> Loaded:
    read, instance = _reader(spec, text), instances.instance(spec.platform)
    return device_count.resolve_device_count(read(()), read, instance, spec.device_count_scope)


def _reader(spec: JobSpec, text: str) -> Callable[[Sequence[str]], Loaded]:
    """Return the function that loads the configuration with overrides."""
    config = spec.config
    reference = spec.config_from.config_map_key_ref if spec.config_from else None
    source = f"ConfigMap {reference.name}, key {reference.key}" if reference else ""
    canonical = None if config is None else json.dumps(config)

    def read(changes: Sequence[str]) -> Loaded:
        return _from_text(text, source, *changes) if canonical is None else _from_object(canonical, *changes)

    return read


@lru_cache(maxsize=512)
def _from_object(canonical: str, *changes: str) -> Loaded:
    """A job is looked at every few seconds; loading it takes tens of milliseconds."""
    return load_object(json.loads(canonical), changes)


@lru_cache(maxsize=512)
def _from_text(text: str, source: str, *changes: str) -> Loaded:
    return load_text(text, changes, source=source)


def _platform(spec: JobSpec, config: TrainingConfig) -> tuple[tuple[Finding, ...], Devices]:
    platform = spec.platform
    if platform.accelerator is Accelerator.CUDA:
        return (), replace(NO_DEVICES, gpus=config.trainer.devices)
    if platform.accelerator is Accelerator.CPU:
        return (), NO_DEVICES
    node_devices, findings = devices(config, platform.instance_type, instances.stated_devices(platform))
    return findings, node_devices or NO_DEVICES


def _bare_ones(spec: JobSpec) -> tuple[Finding, ...]:
    trainer = (spec.config or {}).get("trainer")
    values = trainer if isinstance(trainer, dict) else {}
    return tuple(
        warning(
            f"spec.config.trainer.{key}",
            "1 means one batch (the API server stores 1.0 as 1, so the two cannot be distinguished).",
            'For all batches, write the fraction as a string: "1.0".',
        )
        for key in _ONE_MEANS_ONE
        if isinstance(values.get(key), int | float) and values[key] == 1 and values[key] is not True
    )


def _too_many_nodes(config: TrainingConfig) -> tuple[Finding, ...]:
    """More pods than a status has room for: its write would be refused after they were created."""
    nodes = config.trainer.num_nodes
    if nodes <= contract.MAX_NODES:
        return ()
    message = f"{nodes} nodes are more than the {contract.MAX_NODES} that a job can have."
    return (error("spec.config.trainer.num_nodes", message, "Use fewer, with more processes on each."),)


def _config_changed(key: _ValidationKey, loaded: Loaded) -> tuple[Finding, ...]:
    """Another configuration than the checkpoints': the copy was lost and its source edited, or the schema bypassed."""
    if key.started_with in ("", loaded.hash):
        return ()
    where = "spec.configFrom" if key.spec.config is None else "spec.config"
    return (
        error(
            where,
            "the configuration was changed after the job had started.",
            "Restore it, or create a new job with exp_manager.resume_from_checkpoint.",
        ),
    )


def _sentences(findings: tuple[Finding, ...]) -> str:
    text = " ".join(str(finding) for finding in findings)
    return text if len(text) <= _MESSAGE_LIMIT else f"{text[:_MESSAGE_LIMIT]} …"
