"""`spec` of a NeuronTrainingJob: the configuration and what Kubernetes needs beside it.

The docstring under a field is its description in the CRD. Defaults are applied when the operator reads, never written
to the object, so that GitOps tools see no difference.
"""

from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


class ApiObject(BaseModel):
    """camelCase on the wire; unknown fields are ignored (an older operator, a newer CRD); frozen."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="ignore",
        frozen=True,
        use_attribute_docstrings=True,
    )


class Accelerator(StrEnum):
    """What the processes compute on."""

    NEURON = "neuron"
    CPU = "cpu"


class DevicesMeaning(StrEnum):
    """What the number in `trainer.devices` counts."""

    AUTO = "auto"
    PER_NODE = "perNode"
    TOTAL = "total"


class Platform(ApiObject):
    """The machines that the job runs on."""

    accelerator: Accelerator = Accelerator.NEURON
    """neuron: Trainium devices (needs instanceType); cpu: no devices, for laptops and tests. Default neuron."""

    instance_type: str | None = Field(default=None, max_length=63)
    """EC2 instance type of the nodes, for example trn1.32xlarge; with it the operator knows devices and EFA
    interfaces, and selects nodes by the label node.kubernetes.io/instance-type."""


class VolumeMount(ApiObject):
    """A claim that outlives the pods, mounted into every pod of the job."""

    claim_name: str = Field(min_length=1, max_length=253)
    """Name of a PersistentVolumeClaim in the job's namespace; with several nodes it must allow ReadWriteMany."""

    mount_path: str = Field(min_length=1, max_length=1024, pattern="^/.*$")
    """Where the claim appears in the container; absolute. The first writable mount is the working directory, so that
    relative paths of the configuration lie on it."""

    sub_path: str | None = Field(default=None, max_length=1024)
    """Folder of the claim to mount in place of its root."""

    read_only: bool = False
    """Mount for reading only (data sets). Default false."""


class ConfigMapKey(ApiObject):
    """One key of a ConfigMap in the job's namespace."""

    name: str = Field(min_length=1, max_length=253)
    """Name of the ConfigMap."""

    key: str = Field(min_length=1, max_length=253)
    """Key that holds the YAML text."""


class ConfigSource(ApiObject):
    """Where the configuration's text is."""

    config_map_key_ref: ConfigMapKey
    """The key of a ConfigMap that holds the YAML file verbatim."""


class RestartPolicy(ApiObject):
    """How many failures of each kind the job may have; disruptions (deleted, evicted or preempted pods) are never
    counted."""

    max_process_restarts: int = Field(default=10, ge=0, le=1000)
    """Restarts of all processes inside the running pods, per pod. Default 10."""

    max_gang_restarts: int = Field(default=3, ge=0, le=1000)
    """Times that all pods are replaced after failures that restarts inside the pods could not mend. Default 3."""

    rejoin_timeout_seconds: int = Field(default=900, ge=10, le=86400)
    """Seconds that pods wait for a lost peer to be replaced, before the whole gang is. Default 900."""


class JobSpec(ApiObject):
    """What is to be trained, on what, with which storage."""

    platform: Platform = Platform()
    """The machines that the job runs on."""

    image: str | None = Field(default=None, max_length=1024)
    """Trainer image. Default: the operator's, by accelerator (Helm values images.cpu and images.neuron)."""

    config: dict[str, Any] | None = None
    """The NxDT configuration as an object, key for key. Exactly one of config and configFrom. It cannot be changed
    once the job has been started (status.startTime)."""

    config_from: ConfigSource | None = None
    """The NxDT configuration as the text of a file. Exactly one of config and configFrom."""

    devices_meaning: DevicesMeaning = DevicesMeaning.AUTO
    """What config.trainer.devices counts: perNode, as upstream's launcher and all its files; total, as its document
    says, the processes of all nodes; auto: perNode, but total for a number that only so fits the nodes, with a
    warning. Default auto."""

    storage: tuple[VolumeMount, ...] = Field(default=(), max_length=16)
    """Claims for data, checkpoints and compile cache. Checkpoints must lie on one of them when the job has several
    nodes."""

    pod_template: dict[str, Any] | None = None
    """A partial PodTemplateSpec, merged strategically over the generated pods (containers and volumes by name); the
    trainer's container is called trainer."""

    restart_policy: RestartPolicy = RestartPolicy()
    """How many failures of each kind the job may have."""
