"""A pod template wins, or is refused by name, because another field of the spec or the gang stands against it."""

from typing import Any

import pytest

from builders import accepted, make_job
from neuron_api.platform.devices import Devices
from neuron_api.resource.scheduling import Scheduling
from neuron_operator.planning.objects import desired
from neuron_operator.planning.validation import template_conflicts

NONE = Devices(neuron=0, efa=0, lnc=None)
SIXTEEN = Devices(neuron=16, efa=8, lnc=1)
NEURON, EFA = "aws.amazon.com/neuron", "vpc.amazonaws.com/efa"


def resources(**values: Any) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "trainer", "resources": values}]}}


def found(template: Any, devices: Devices = NONE, **scheduling: Any) -> list[str]:
    findings = template_conflicts.findings(template, Scheduling.model_validate(scheduling), devices)
    assert all(one.message.endswith(".") and one.remedy.endswith(".") for one in findings)
    return [one.key.removeprefix("spec.podTemplate.") for one in findings]


@pytest.mark.parametrize("part", ["labels", "annotations"])
@pytest.mark.parametrize(
    "key",
    ["kueue.x-k8s.io/queue-name", "scheduling.x-k8s.io/pod-group", "scheduling.volcano.sh/group-name",
     "scheduling.k8s.io/group-name"],
)  # fmt: skip
def test_marks_of_a_queue_are_for_spec_scheduling_to_make(part: str, key: str) -> None:
    assert found({"metadata": {part: {key: "x", "team": "y"}}}) == [f"metadata.{part}[{key}]"]


@pytest.mark.parametrize(
    ("spec", "scheduling", "keys"),
    [
        ({"schedulerName": "mine"}, {}, []),
        ({"schedulerName": "mine"}, {"gang": "Volcano"}, ["spec.schedulerName"]),
        ({"schedulerName": "mine"}, {"schedulerName": "other"}, ["spec.schedulerName"]),
        ({"priorityClassName": "high"}, {"gang": "Volcano"}, []),
        ({"priorityClassName": "high"}, {"gang": "Kueue", "priorityClassName": "one-of-kueues"}, []),
        ({"priorityClassName": "high"}, {"gang": "None", "priorityClassName": "low"}, ["spec.priorityClassName"]),
        ({"schedulingGates": [{"name": "mine"}]}, {}, []),
        ({"schedulingGates": [{"name": "mine"}]}, {"gang": "Kueue"}, ["spec.schedulingGates"]),
        ({"schedulingGroup": {"podGroupName": "x"}}, {}, ["spec.schedulingGroup"]),
        ({"nodeName": "node-1"}, {}, []),
        ({"nodeName": "node-1"}, {"gang": "Coscheduling"}, ["spec.nodeName"]),
        ({"affinity": {"podAffinity": {"x": []}}}, {}, []),
        ({"affinity": {"podAffinity": {"x": []}}}, {"topology": {"required": "zone"}}, ["spec.affinity.podAffinity"]),
        ({"affinity": {"podAffinity": {"x": []}}}, {"gang": "Kueue", "topology": {"required": "zone"}}, []),
        ({"affinity": {"nodeAffinity": {"x": []}}}, {"topology": {"required": "zone"}}, []),
    ],
)  # fmt: skip
def test_who_places_the_pods_is_said_once(spec: Any, scheduling: Any, keys: list[str]) -> None:
    assert found({"spec": spec}, **scheduling) == keys


@pytest.mark.parametrize(
    ("spec", "keys"),
    [
        ({"hostNetwork": True}, ["spec.hostNetwork"]),
        ({"hostNetwork": True, "dnsPolicy": "ClusterFirst"}, ["spec.hostNetwork"]),
        ({"hostNetwork": True, "dnsPolicy": "ClusterFirstWithHostNet"}, []),
        ({"dnsPolicy": "Default"}, ["spec.dnsPolicy"]),
        ({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["10.0.0.10"]}}, []),
        ({"activeDeadlineSeconds": 60}, ["spec.activeDeadlineSeconds"]),
    ],
)
def test_pods_must_find_each_other_and_live_as_long_as_the_job(spec: Any, keys: list[str]) -> None:
    assert found({"spec": spec}) == keys


@pytest.mark.parametrize(
    ("template", "keys"),
    [
        (resources(requests={"cpu": "8", "memory": "64Gi"}), []),
        (resources(limits={NEURON: "16"}, requests={NEURON: 16}), []),
        (resources(limits={NEURON: "1"}), [f"limits[{NEURON}]"]),
        (resources(requests={NEURON: "1"}, limits={NEURON: "1"}), [f"requests[{NEURON}]", f"limits[{NEURON}]"]),
        (resources(limits={NEURON: None}), [f"limits[{NEURON}]"]),
        (resources(limits=None), [f"limits[{NEURON}]", f"limits[{EFA}]"]),
        (resources(limits={"aws.amazon.com/neuroncore": "2"}), ["limits[aws.amazon.com/neuroncore]"]),
        (resources(requests={EFA: "4"}, limits={EFA: "4"}), []),
        (resources(requests={EFA: None}, limits={EFA: None}), []),
        (resources(limits={EFA: "4"}), [f"limits[{EFA}]"]),
        ({"spec": {"containers": [{"name": "trainer", "resources": None}]}},
         [f"requests[{NEURON}]", f"limits[{NEURON}]"]),
        ({"spec": {"containers": [{"name": "beside", "resources": {"limits": {NEURON: "1"}}}]}}, []),
    ],
)  # fmt: skip
def test_the_devices_of_the_trainer_are_those_of_the_configuration(template: Any, keys: list[str]) -> None:
    where = "spec.containers[trainer].resources"
    assert found(template, SIXTEEN) == [f"{where}.{key}" for key in keys]


def test_without_devices_a_template_may_ask_for_what_it_likes() -> None:
    assert found(resources(limits={"example.com/gpu": "1"}, requests={"example.com/gpu": "1"})) == []


def test_what_is_not_refused_wins() -> None:
    template = {
        "metadata": {"labels": {"name": "mine"}, "annotations": {"a": "b"}},
        "spec": {
            "priorityClassName": "high",
            "terminationGracePeriodSeconds": 600,
            "tolerations": [{"key": "mine", "operator": "Exists"}],
            "containers": [
                {
                    "name": "trainer",
                    "image": "mine:1",
                    "env": [{"name": "FI_PROVIDER", "value": "tcp"}, {"name": "MALLOC_ARENA_MAX", "value": "1"}],
                    "resources": {"requests": {"cpu": "8"}},
                    "readinessProbe": {"periodSeconds": 60},
                }
            ],
        },
    }
    job = make_job().trainium("trn1.32xlarge").config("trainer.devices", 32).config("data.global_batch_size", 64)
    made = desired.pod(job.pod_template(template).build(), accepted(job.pod_template(template).build()), 0, 0)
    (trainer,) = made["spec"]["containers"]
    env = {one["name"]: one.get("value") for one in trainer["env"]}
    assert (made["metadata"]["labels"]["name"], made["metadata"]["annotations"]) == ("mine", {"a": "b"})
    assert (made["spec"]["priorityClassName"], made["spec"]["terminationGracePeriodSeconds"]) == ("high", 600)
    assert {one["key"] for one in made["spec"]["tolerations"]} == {NEURON, "mine"}
    assert (trainer["image"], env["MALLOC_ARENA_MAX"]) == ("mine:1", "1")
    assert trainer["resources"]["requests"] == {NEURON: "16", EFA: "8", "cpu": "8"} | {
        key: value for key, value in trainer["resources"]["requests"].items() if key == EFA
    }
    assert trainer["readinessProbe"]["periodSeconds"] == 60
    assert "httpGet" in trainer["readinessProbe"]
