"""What a command line or a call changes about a NeuronTrainingJob before it is created.

`kubectl neuron submit` and the Python client share it: the same words give the same job.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from neuron_api.findings.finding import Finding
from neuron_api.loading import overrides
from neuron_api.platform.instances import generation_of
from neuron_api.resource.accelerator import Accelerator
from neuron_operator.kube.errors import UserInputError

from .convert import MOUNT_PATH
from .platform_flags import PlatformFlags

Json = dict[str, Any]

_OF_THE_SERVER: Final = (
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "selfLink",
    "managedFields",
)
"""Fields of metadata that the API server sets; some of them it refuses in a new object."""
_LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"
"""Annotation of `kubectl apply`: it describes the object that was exported, not the new one."""
_DEVICES: Final = ("neuronDevices", "efaInterfaces")
"""Fields of `spec.platform` that describe one instance type."""
_ONLY_NEURON: Final = ("instanceType", *_DEVICES, "resourceClaims")


def config_overrides(texts: Sequence[str], nodes: int | None) -> tuple[str, ...]:
    """Return all changes of the configuration; a number of nodes of its own wins over an override."""
    return (*texts, *((f"trainer.num_nodes={nodes}",) if nodes is not None else ()))


@dataclass(frozen=True, slots=True)
class ManifestChanges:
    """What is changed; None and empty: as the manifest has it."""

    name: str | None = None
    overrides: tuple[str, ...] = ()
    """Of the configuration, as `config_overrides` returns them."""
    platform: PlatformFlags = field(default_factory=PlatformFlags)
    claims: tuple[tuple[str, str | None], ...] = ()
    """Claims, each with where it is mounted."""
    image: str | None = None

    def apply(self, manifest: Mapping[str, Any]) -> tuple[Json, tuple[Finding, ...]]:
        """Return a changed copy, and a finding for each override that cannot be applied."""
        spec, findings = _mapping(manifest.get("spec")), tuple[Finding, ...]()
        if self.overrides:
            if not isinstance(spec.get("config"), dict):
                raise UserInputError(
                    "nodes and overrides change spec.config, which this job does not have: edit the object that "
                    "configFrom names"
                )
            spec["config"], findings = overrides.apply(spec["config"], self.overrides)
        if self.platform.fields():
            spec["platform"] = _platform(_mapping(spec.get("platform")), self.platform)
        if self.claims:
            spec["storage"] = [{"claimName": claim, "mountPath": path or MOUNT_PATH} for claim, path in self.claims]
        if self.image:
            spec["image"] = self.image
        metadata = _mapping(manifest.get("metadata"))
        if self.name:
            metadata["name"] = self.name
        return {**manifest, "metadata": metadata, "spec": spec}, findings


def without_server_fields(manifest: Mapping[str, Any]) -> Json:
    """Return a job that can be created from one that was read: no status, nothing that the server has set."""
    metadata = {key: value for key, value in _mapping(manifest.get("metadata")).items() if key not in _OF_THE_SERVER}
    if isinstance(annotations := metadata.get("annotations"), dict) and _LAST_APPLIED in annotations:
        metadata["annotations"] = {key: value for key, value in annotations.items() if key != _LAST_APPLIED}
    return {**{key: value for key, value in manifest.items() if key != "status"}, "metadata": metadata}


def _platform(before: Json, flags: PlatformFlags) -> Json:
    """Return `spec.platform` with the flags: an instance type does not leave the job on CPUs, nor another accelerator
    the devices of an instance type."""
    platform, changes = dict(before), flags.fields()
    if flags.accelerator not in (None, Accelerator.NEURON):
        platform = {key: value for key, value in platform.items() if key not in _ONLY_NEURON}
    if flags.instance_type is not None and flags.instance_type != before.get("instanceType"):
        platform = {key: value for key, value in platform.items() if key not in _DEVICES}
    if _needs_neuron(flags, before.get("accelerator")):
        platform.pop("accelerator", None)
    return {**platform, **changes}


def _needs_neuron(flags: PlatformFlags, accelerator: Any) -> bool:
    """Return whether an instance type takes the place of the manifest's accelerator; CUDA has instance types too."""
    if flags.instance_type is None:
        return False
    return accelerator != Accelerator.CUDA or generation_of(flags.instance_type) is not None


def _mapping(value: Any) -> Json:
    return dict(value) if isinstance(value, Mapping) else {}
