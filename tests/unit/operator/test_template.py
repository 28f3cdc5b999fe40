"""What a pod template may not change is refused by name; everything else is the user's."""

from typing import Any

import pytest

from neuron_operator.planning.validation import template


def trainer(**values: Any) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "trainer", **values}]}}


def keys(given: Any) -> list[str]:
    return [finding.key for finding in template.findings(given)]


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ({"kind": "Pod"}, ".kind"),
        ({"spec": []}, ".spec"),
        ({"metadata": "x"}, ".metadata"),
        ({"metadata": {"name": "x"}}, ".metadata.name"),
        ({"metadata": {"namespace": "x"}}, ".metadata.namespace"),
        ({"metadata": {"ownerReferences": []}}, ".metadata.ownerReferences"),
        ({"metadata": {"finalizers": ["x"]}}, ".metadata.finalizers"),
        ({"metadata": {"labels": {"neurontraining.dev/job": "x"}}}, ".metadata.labels[neurontraining.dev/job]"),
        (
            {"metadata": {"labels": {"app.kubernetes.io/managed-by": "x"}}},
            ".metadata.labels[app.kubernetes.io/managed-by]",
        ),
        ({"spec": {"restartPolicy": "Always"}}, ".spec.restartPolicy"),
        ({"spec": {"hostname": "x"}}, ".spec.hostname"),
        ({"spec": {"subdomain": "x"}}, ".spec.subdomain"),
        ({"spec": {"setHostnameAsFQDN": True}}, ".spec.setHostnameAsFQDN"),
        ({"spec": {"hostnameOverride": "x"}}, ".spec.hostnameOverride"),
        ({"spec": {"ephemeralContainers": []}}, ".spec.ephemeralContainers"),
        (trainer(restartPolicy="Always"), ".spec.containers[trainer].restartPolicy"),
        (trainer(restartPolicyRules=[]), ".spec.containers[trainer].restartPolicyRules"),
        ({"spec": {"volumes": [{"name": "neuron-training-config"}]}}, ".spec.volumes[neuron-training-config]"),
        ({"spec": {"containers": [{"image": "x"}]}}, ".spec.containers[0]"),
        ({"spec": {"containers": ["x"]}}, ".spec.containers[0]"),
        ({"spec": {"initContainers": [{"image": "x"}]}}, ".spec.initContainers[0]"),
        ({"$patch": "replace"}, ".$patch"),
        ({"spec": {"$patch": "replace"}}, ".spec.$patch"),
        ({"metadata": {"$patch": "replace"}}, ".metadata.$patch"),
        ({"spec": {"containers": [{"$patch": "replace"}]}}, ".spec.containers[0].$patch"),
        ({"spec": {"volumes": [{"name": "x"}, {"$patch": "replace"}]}}, ".spec.volumes[1].$patch"),
        (trainer(env=[{"name": "A", "$patch": "replace"}]), ".spec.containers[0].env[0].$patch"),
        (trainer(**{"$setElementOrder/env": []}), ".spec.containers[0].$setElementOrder/env"),
        ({"spec": {"$retainKeys": ["x"]}}, ".spec.$retainKeys"),
        ({"spec": {"containers": [{"name": "trainer", "$patch": "replace"}]}}, ".spec.containers[trainer].$patch"),
        (trainer(command=["x"]), ".spec.containers[trainer].command"),
        (trainer(args=[]), ".spec.containers[trainer].args"),
        (trainer(terminationMessagePath="/x"), ".spec.containers[trainer].terminationMessagePath"),
        (trainer(terminationMessagePolicy="File"), ".spec.containers[trainer].terminationMessagePolicy"),
        ({"spec": {"containers": [{"name": "trainer", "$patch": "delete"}]}}, ".spec.containers[trainer].$patch"),
        (trainer(env=[{"name": "NTJ_ATTEMPT", "value": "1"}]), ".spec.containers[trainer].env[NTJ_ATTEMPT]"),
        (trainer(env=[{"name": "MASTER_ADDR", "value": "x"}]), ".spec.containers[trainer].env[MASTER_ADDR]"),
        (trainer(ports=[{"containerPort": 41001}]), ".spec.containers[trainer].ports[progress]"),
        (trainer(ports=[{"containerPort": 1, "name": "progress"}]), ".spec.containers[trainer].ports[progress]"),
        (
            trainer(volumeMounts=[{"name": "x", "mountPath": "/etc/neuron-training/"}]),
            ".spec.containers[trainer].volumeMounts[/etc/neuron-training]",
        ),
    ],
)
def test_what_the_gang_cannot_do_without_is_refused_with_its_key_and_a_remedy(given: Any, key: str) -> None:
    (finding,) = template.findings(given)
    assert finding.key == f"spec.podTemplate{key}"
    assert finding.message.endswith(".")
    assert finding.remedy.endswith(".")


@pytest.mark.parametrize(
    "given",
    [
        None,
        {},
        {"metadata": {"labels": {"team": "x"}, "annotations": {"a": "b"}}},
        {"spec": {"restartPolicy": "Never", "priorityClassName": "high", "nodeSelector": {"a": "b"}}},
        trainer(env=[{"name": "NCCL_DEBUG", "value": "INFO"}], resources={"requests": {"cpu": "4"}}),
        trainer(ports=[{"containerPort": 9000}], volumeMounts=[{"name": "x", "mountPath": "/etc/neuron"}]),
        {"spec": {"containers": [{"name": "sidecar", "command": ["x"], "args": ["y"]}]}},
        {"spec": {"initContainers": [{"name": "trainer", "command": ["x"]}]}},
        {"spec": {"volumes": [{"name": "x", "emptyDir": {}}]}},
        {"spec": {"nodeSelector": {"$patch": "replace", "a": "b"}, "volumes": [{"name": "x", "$patch": "delete"}]}},
    ],
)
def test_everything_else_is_the_users(given: Any) -> None:
    assert template.findings(given) == ()


def test_every_fault_is_told() -> None:
    given = {
        "kind": "Pod",
        "metadata": {"name": "x"},
        "spec": {"hostname": "y", "containers": [{}, {"name": "trainer", "args": []}]},
    }
    assert len(keys(given)) == 5


@pytest.mark.parametrize("junk", [1, "x", [], None, {"a": 1}])
@pytest.mark.parametrize("where", ["metadata", "labels", "volumes", "containers", "env", "ports", "volumeMounts"])
def test_a_template_of_the_wrong_shape_is_no_crash(where: str, junk: Any) -> None:
    given: dict[str, Any] = {
        "metadata": {"metadata": junk, "labels": {"labels": junk}}.get(where, {}) or {},
        "spec": {"containers": junk if where == "containers" else [{"name": "trainer", where: junk}]},
    }
    if where == "metadata":
        given["metadata"] = junk
    if where == "labels":
        given["metadata"] = {"labels": junk}
    if where == "volumes":
        given["spec"]["volumes"] = junk
    template.findings(given)
