"""The objects of one attempt: the same input gives the same bytes, and nothing that the gang needs can be lost."""

import json
from typing import Any

import pytest

from builders import NOW, JobBuilder, accepted, make_job
from neuron_api import contract
from neuron_operator.planning.objects import desired
from neuron_operator.planning.validation import validation

JOB = make_job().nodes(12)


def pod(job: JobBuilder = JOB, attempt: int = 3, index: int = 1) -> dict[str, Any]:
    built = job.build()
    return desired.pod(built, accepted(built), attempt, index)


def trainer(body: dict[str, Any]) -> dict[str, Any]:
    return next(one for one in body["spec"]["containers"] if one["name"] == contract.CONTAINER)


def environment(body: dict[str, Any]) -> dict[str, Any]:
    return {one["name"]: one.get("value", one.get("valueFrom")) for one in trainer(body)["env"]}


def test_the_same_input_gives_the_same_bytes() -> None:
    assert json.dumps(pod()) == json.dumps(pod())


@pytest.mark.parametrize("make", [desired.service, lambda job: desired.config_map(job, "a: 1")])
def test_every_child_belongs_to_the_job_and_is_found_by_its_labels(make: Any) -> None:
    for body in (make(JOB.build()), pod()):
        metadata = body["metadata"]
        (owner,) = metadata["ownerReferences"]
        assert (owner["kind"], owner["name"], owner["uid"]) == ("NeuronTrainingJob", "tiny", "uid-of-tiny")
        assert owner["controller"] is True
        assert metadata["namespace"] == "team"
        assert metadata["labels"][contract.LABEL_JOB] == "tiny"
        assert metadata["labels"][contract.LABEL_JOB_UID] == "uid-of-tiny"


def test_the_service_gives_host_names_before_pods_are_ready_and_selects_this_job_only() -> None:
    spec = desired.service(JOB.build())["spec"]
    assert (spec["clusterIP"], spec["publishNotReadyAddresses"]) == ("None", True)
    assert spec["selector"] == {contract.LABEL_JOB: "tiny", contract.LABEL_JOB_UID: "uid-of-tiny"}
    assert spec["selector"].items() <= pod()["metadata"]["labels"].items()


def test_the_copy_of_the_configuration_cannot_be_changed() -> None:
    body = desired.config_map(JOB.build(), "name: x\n")
    assert body["immutable"] is True
    assert body["data"] == {"config.yaml": "name: x\n"}
    volume = next(one for one in pod()["spec"]["volumes"] if one["name"] == "neuron-training-config")
    assert volume["configMap"]["name"] == body["metadata"]["name"]


def test_a_pod_knows_its_place() -> None:
    body = pod()
    assert body["metadata"]["name"] == "tiny-3-01"
    assert body["metadata"]["labels"][contract.LABEL_ATTEMPT] == "3"
    assert body["metadata"]["labels"][contract.LABEL_NODE_RANK] == "1"
    assert (body["spec"]["hostname"], body["spec"]["subdomain"]) == ("tiny-01", "tiny")
    found = environment(body)
    assert found["NTJ_POD_UID"] == {"fieldRef": {"fieldPath": "metadata.uid"}}
    expected = {
        "NTJ_JOB_NAME": "tiny", "NTJ_JOB_UID": "uid-of-tiny", "NTJ_ATTEMPT": "3", "NTJ_NODE_RANK": "1",
        "NTJ_NUM_NODES": "12", "NTJ_PROCESSES_PER_NODE": "2", "NTJ_ACCELERATOR": "cpu", "MASTER_PORT": "41000",
        "NTJ_RENDEZVOUS_ENDPOINT": "tiny-00.tiny.team.svc:41000", "MASTER_ADDR": "tiny-00.tiny.team.svc",
        "NTJ_MAX_PROCESS_RESTARTS": "10", "NTJ_REJOIN_TIMEOUT_SECONDS": "900", "NTJ_PROGRESS_PORT": "41001",
        "NEMO_EXPM_VERSION": NOW.strftime("%Y-%m-%d_%H-%M-%S"),
    }  # fmt: skip
    assert {key: found[key] for key in expected} == expected
    assert all(isinstance(one.get("value", ""), str) for one in trainer(body)["env"])


def test_only_attempt_and_place_differ_between_the_pods_of_a_job() -> None:
    one, other = (json.dumps(pod(index=index)) for index in (1, 2))
    assert one.replace("tiny-3-01", "tiny-3-02").replace("tiny-01", "tiny-02") != other
    assert environment(pod(attempt=1)).keys() == environment(pod(attempt=2)).keys()
    first, second = environment(pod(attempt=1)), environment(pod(attempt=2))
    assert {key for key in first if first[key] != second[key]} == {"NTJ_ATTEMPT"}
    first, second = environment(pod(index=1)), environment(pod(index=2))
    assert {key for key in first if first[key] != second[key]} == {"NTJ_NODE_RANK"}


def test_processes_of_a_job_that_cannot_resume_are_not_begun_again() -> None:
    assert environment(pod(JOB.cannot_resume()))["NTJ_MAX_PROCESS_RESTARTS"] == "0"


def test_the_restart_policy_reaches_the_launcher() -> None:
    found = environment(pod(JOB.restart_policy(maxProcessRestarts=4, rejoinTimeoutSeconds=60)))
    assert (found["NTJ_MAX_PROCESS_RESTARTS"], found["NTJ_REJOIN_TIMEOUT_SECONDS"]) == ("4", "60")


def test_the_kubelet_starts_no_pod_again_and_gives_time_to_save() -> None:
    spec = pod()["spec"]
    assert (spec["restartPolicy"], spec["terminationGracePeriodSeconds"]) == ("Never", 120)
    assert spec["automountServiceAccountToken"] is False
    assert trainer(pod())["command"] == ["neuron-train", "run", "/etc/neuron-training/config.yaml"]
    assert trainer(pod())["readinessProbe"]["httpGet"] == {"path": "/healthz", "port": 41001}


def test_each_claim_is_one_volume_however_often_it_is_mounted() -> None:
    job = JOB.storage(
        {"claimName": "data", "mountPath": "/data", "readOnly": True},
        {"claimName": "work", "mountPath": "/training"},
        {"claimName": "work", "mountPath": "/cache", "subPath": "neuron"},
    )
    body = pod(job)
    claims = {v["name"]: v["persistentVolumeClaim"] for v in body["spec"]["volumes"] if "persistentVolumeClaim" in v}
    assert claims == {"storage-0": {"claimName": "data"}, "storage-1": {"claimName": "work"}}
    mounts = [one for one in trainer(body)["volumeMounts"] if one["name"].startswith("storage")]
    assert mounts == [
        {"name": "storage-0", "mountPath": "/data", "readOnly": True},
        {"name": "storage-1", "mountPath": "/training"},
        {"name": "storage-1", "mountPath": "/cache", "subPath": "neuron"},
    ]
    assert trainer(body)["workingDir"] == "/training"


def test_extended_resources_are_requested_and_limited_alike() -> None:
    job = make_job().config("trainer.devices", 32).config("data.global_batch_size", 64).trainium("trn1.32xlarge")
    resources = trainer(pod(job, index=0))["resources"]
    assert resources["requests"] == resources["limits"] == {"aws.amazon.com/neuron": "16", "vpc.amazonaws.com/efa": "8"}
    assert "resources" not in trainer(pod())


def test_the_users_template_is_merged_under_what_the_gang_needs() -> None:
    template = {
        "metadata": {"labels": {"team": "x", "name": "mine"}, "annotations": {"a": "b"}},
        "spec": {
            "priorityClassName": "high",
            "containers": [{"name": "trainer", "env": [{"name": "A", "value": "1"}]}, {"name": "logs", "image": "l"}],
        },
    }
    body = pod(JOB.pod_template(template))
    assert body["metadata"]["labels"]["team"] == "x"
    assert body["metadata"]["labels"]["name"] == "mine"
    assert body["metadata"]["labels"][contract.LABEL_NODE_RANK] == "1"
    assert body["metadata"]["annotations"] == {"a": "b"}
    assert body["metadata"]["name"] == "tiny-3-01"
    assert body["spec"]["priorityClassName"] == "high"
    assert environment(body)["A"] == "1"
    assert environment(body)["NTJ_NODE_RANK"] == "1"
    assert [one["name"] for one in body["spec"]["containers"]] == ["trainer", "logs"]


@pytest.mark.parametrize("metadata", [None, {"labels": None}, {"annotations": {"a": "b"}}])
def test_a_template_cannot_take_the_labels_away(metadata: Any) -> None:
    body = pod(JOB.pod_template({"metadata": metadata, "spec": None}))
    assert trainer(body)["image"] == "trainer:cpu"
    labels = body["metadata"]["labels"]
    assert labels[contract.LABEL_ATTEMPT] == "3"
    assert labels[contract.LABEL_JOB] == "tiny"


@pytest.mark.parametrize(
    ("name", "label"),
    [("hf_llama", "hf_llama"), ("my run", "my-run"), ("-x-", "x"), ("ü" * 9, ""), ("a" * 70, "a" * 63)],
)
def test_the_experiment_is_a_legal_label(name: str, label: str) -> None:
    assert pod(JOB.config("name", name))["metadata"]["labels"][contract.LABEL_EXPERIMENT] == label


@pytest.mark.parametrize(
    ("actual", "wanted", "covered"),
    [
        ({"a": 1, "b": 2}, {"a": 1}, True),
        ({"a": 1}, {"a": 1, "b": 2}, False),
        ({"a": {"x": 1, "y": 2}}, {"a": {"y": 2}}, True),
        ({"a": [{"x": 1, "default": 2}]}, {"a": [{"x": 1}]}, True),
        ({"a": [1, 2]}, {"a": [1]}, False),
        ({"a": None}, {"a": {}}, False),
        ({}, {}, True),
    ],
)
def test_fields_that_others_set_are_no_difference(actual: Any, wanted: Any, covered: bool) -> None:
    assert desired.covers(actual, wanted) is covered


def test_what_was_applied_is_not_applied_again() -> None:
    for body in (desired.service(JOB.build()), desired.config_map(JOB.build(), validation.config_text(JOB.build()))):
        stored = json.loads(json.dumps(body)) | {"status": {}}
        stored["metadata"]["resourceVersion"] = "9"
        assert desired.covers(stored, body)
