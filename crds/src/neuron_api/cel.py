"""Rules between fields that the API server checks at `kubectl apply`, in the words of the offline checks.

Scalars of `spec.config` are int-or-string, so each rule first asks whether they are integers: an interpolation is left
to the operator, which sees the resolved value. Messages are fixed texts: the API server estimates the cost of an
expression
over int-or-string values beyond its budget (by a factor of more than 100, Kubernetes 1.34).
"""

from typing import Final

from .instances import INSTANCE_TYPES

Rule = dict[str, str]

_CORES: Final = "{" + ", ".join(f"'{t.name}': {t.chips * t.cores_per_chip}" for t in INSTANCE_TYPES.values()) + "}"
_LNC: Final = "{" + ", ".join(f"'{t.name}': {t.default_lnc}" for t in INSTANCE_TYPES.values()) + "}"
_CPU: Final = "has(self.platform) && has(self.platform.accelerator) && self.platform.accelerator == 'cpu'"
_TYPE: Final = "has(self.platform) && has(self.platform.instanceType)"


def _integer(path: str, default: str = "1") -> str:
    """The value at `path` (below `self`) as an integer, or the default when a part of the path is absent."""
    parts = path.split(".")
    present = " && ".join(f"has(self.{'.'.join(parts[:n])})" for n in range(1, len(parts) + 1))
    return f"({present} && type(self.{path}) == int ? int(self.{path}) : {default})"


def _known(*paths: str) -> str:
    """Whether every one of these is absent or an integer."""
    rules = []
    for path in paths:
        parts = path.split(".")
        present = " && ".join(f"has(self.{'.'.join(parts[:n])})" for n in range(1, len(parts) + 1))
        rules.append(f"(!({present}) || type(self.{path}) == int)")
    return " && ".join(rules)


_TP = "distributed_strategy.tensor_model_parallel_size"
_PP = "distributed_strategy.pipeline_model_parallel_size"
_CP = "distributed_strategy.context_parallel_size"
_WORLD = f"({_integer('trainer.devices')} * {_integer('trainer.num_nodes')})"
_PARTS = f"({_integer(_TP)} * {_integer(_PP)} * {_integer(_CP)})"
_STEP = f"({_integer('data.micro_batch_size')} * ({_WORLD} / {_PARTS}))"
_SIZES = _known("trainer.devices", "trainer.num_nodes", _TP, _PP, _CP)
_POSITIVE = f"{_PARTS} > 0"


def _same(*fields: str) -> str:
    """Whether none of these fields of the spec is changed."""
    return " && ".join(
        f"has(self.spec.{field}) == has(oldSelf.spec.{field}) && "
        f"(!has(self.spec.{field}) || self.spec.{field} == oldSelf.spec.{field})"
        for field in fields
    )


def root_rules() -> list[Rule]:
    """Rules about the object's name, which becomes part of pod and host names (63 characters), and about changes."""
    started = "has(oldSelf.status) && has(oldSelf.status.startTime)"
    has_pods = "has(oldSelf.status) && has(oldSelf.status.pods) && size(oldSelf.status.pods) > 0"
    return [
        {
            "rule": f"!({started}) || ({_same('config', 'configFrom')})",
            "message": "spec.config and spec.configFrom cannot be changed once the job has been started, since its "
            "checkpoints belong to them: create a new job with exp_manager.resume_from_checkpoint.",
        },
        {
            "rule": f"!({started}) || ({_same('devicesMeaning')})",
            "message": "spec.devicesMeaning cannot be changed once the job has been started, since the number of its "
            "processes depends on it: create a new job.",
        },
        {
            "rule": f"!({has_pods}) || ({_same('platform', 'image', 'storage', 'podTemplate')})",
            "message": "spec.platform, spec.image, spec.storage and spec.podTemplate cannot be changed while the job "
            "has pods, since a pod that is replaced would differ from the others: set spec.suspend to true first, and "
            "to false afterwards.",
        },
        {
            "rule": "size(self.metadata.name) <= 48 && !self.metadata.name.contains('.')",
            "message": "metadata.name becomes a host name: use at most 48 characters and no dot.",
        },
    ]


def spec_rules() -> list[Rule]:
    """Rules between the configuration, the platform and the storage."""
    config = "has(self.config) && has(self.config.trainer)"
    devices, nodes = _integer("config.trainer.devices"), _integer("config.trainer.num_nodes")
    lnc = _integer("config.trainer.lnc", f"{_LNC}[self.platform.instanceType]")
    cores = f"({_CORES}[self.platform.instanceType] / {lnc})"
    return [
        {
            "rule": "has(self.config) != has(self.configFrom)",
            "message": "give exactly one of spec.config and spec.configFrom.",
        },
        {
            "rule": f"({_CPU}) || ({_TYPE})",
            "message": "spec.platform.instanceType is not set, so the devices of a node are not known: set it "
            "to one of "
            f"{', '.join(INSTANCE_TYPES)}, or spec.platform.accelerator to cpu.",
        },
        {
            "rule": f"({_CPU}) || !({_TYPE}) || self.platform.instanceType in {_CORES}",
            "message": f"spec.platform.instanceType is not a known Trainium type: use one of "
            f"{', '.join(INSTANCE_TYPES)}.",
        },
        {
            "rule": f"!({config}) || {nodes} == 1 || "
            "(has(self.storage) && self.storage.exists(s, !has(s.readOnly) || !s.readOnly))",
            "message": "spec.storage has no writable claim, but spec.config.trainer.num_nodes is more than 1: "
            "checkpoints "
            "would be lost with the pods; add an entry with claimName and mountPath.",
        },
        {
            "rule": f"({_CPU}) || !({_TYPE}) || !({config}) || !(self.platform.instanceType in {_CORES}) || "
            f"{lnc} == 0 || "
            f"{devices} <= {cores}",
            "message": "spec.config.trainer.devices is more than the logical NeuronCores of "
            "spec.platform.instanceType (its "
            "physical cores / trainer.lnc): use fewer; more processes come from more nodes (trainer.num_nodes).",
        },
    ]


def config_rules() -> list[Rule]:
    """Rules between the keys of the configuration."""
    return [
        {
            "rule": f"!({_SIZES}) || !({_POSITIVE}) || {_WORLD} % {_PARTS} == 0",
            "message": "trainer.devices x trainer.num_nodes cannot be divided into groups of "
            "tensor_model_parallel_size x "
            "pipeline_model_parallel_size x context_parallel_size: change them so that the product divides the "
            "processes.",
        },
        {
            "rule": f"!({_SIZES} && {_known('data.micro_batch_size', 'data.global_batch_size')}) || !({_POSITIVE}) || "
            f"{_WORLD} % {_PARTS} != 0 || {_STEP} == 0 || {_integer('data.global_batch_size')} % {_STEP} == 0",
            "message": "data.global_batch_size is not a multiple of data.micro_batch_size x the data-parallel "
            "size (processes / "
            "parallel sizes): samples would be lost; change one of the two.",
        },
    ]
