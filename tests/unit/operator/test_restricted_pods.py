"""Every pod that the operator makes meets Pod Security's level `restricted`, on every device and with every scheduler.

The API server's own judgement is in `tests/integration/test_restricted.py`; here are all kinds of jobs. What a user
adds by `spec.podTemplate` is the user's: it is merged in, and the API server refuses it where it must.
"""

from typing import Any, Final

import pytest

from builders import JobBuilder, accepted, make_job
from neuron_operator.planning.objects import desired

Json = dict[str, Any]

KINDS: Final[dict[str, JobBuilder]] = {
    "one node, CPU": make_job(),
    "many nodes, CPU": make_job().nodes(12),
    "Trainium 1": make_job()
    .nodes(2)
    .trainium("trn1.32xlarge")
    .config("trainer.devices", 32)
    .config("data.global_batch_size", 64),
    "Trainium 2": make_job()
    .trainium("trn2.48xlarge")
    .config("trainer.devices", 64)
    .config("data.global_batch_size", 64),
    "a queue": make_job().spec(scheduling={"gang": "Kueue", "queueName": "q"}),
    "a topology": make_job().nodes(2).spec(scheduling={"topology": {"preferred": "zone"}}),
    "read-only claims": make_job().spec(
        storage=[
            {"claimName": "training", "mountPath": "/training"},
            {"claimName": "data", "mountPath": "/data", "readOnly": True, "subPath": "a"},
        ]
    ),
    "labels and a variable": make_job().pod_template(
        {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "trainer", "env": [{"name": "A"}]}]}}
    ),
}
VOLUMES: Final = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}


def breaches(pod: Json) -> list[str]:
    """What the level `restricted` forbids (its published table), by path."""
    spec, found = pod["spec"], []
    found += [f"spec.{name}" for name in ("hostNetwork", "hostPID", "hostIPC") if spec.get(name)]
    found += [f"volume {volume['name']}" for volume in spec.get("volumes", ()) if not set(volume) - {"name"} <= VOLUMES]
    context = spec.get("securityContext", {})
    for container in (*spec.get("initContainers", ()), *spec["containers"]):
        own: Json = context | container.get("securityContext", {})
        rules = {
            "privileged": not own.get("privileged"),
            "allowPrivilegeEscalation": own.get("allowPrivilegeEscalation") is False,
            "capabilities.drop": own.get("capabilities", {}).get("drop") == ["ALL"],
            "capabilities.add": not set(own.get("capabilities", {}).get("add", ())) - {"NET_BIND_SERVICE"},
            "runAsNonRoot": own.get("runAsNonRoot") is True,
            "runAsUser": own.get("runAsUser") != 0,
            "seccompProfile": own.get("seccompProfile", {}).get("type") in ("RuntimeDefault", "Localhost"),
            "ports": not any(port.get("hostPort") for port in container.get("ports", ())),
        }
        found += [f"{container['name']}: {rule}" for rule, holds in rules.items() if not holds]
    return found


def pod_of(job: JobBuilder, attempt: int = 0) -> Json:
    built = job.build()
    return desired.pod(built, accepted(built), attempt, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_every_pod_of_the_operators_is_restricted(kind: str) -> None:
    assert breaches(pod_of(KINDS[kind])) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_trainer_has_no_token_of_a_service_account_and_no_list_of_services(kind: str) -> None:
    spec = pod_of(KINDS[kind])["spec"]
    assert (spec["automountServiceAccountToken"], spec["enableServiceLinks"]) == (False, False)
    assert "serviceAccountName" not in spec


def test_what_a_user_adds_is_the_users() -> None:
    """A container that must be root is not kept from being it; the trainer stays restricted beside it."""
    init = {"name": "own", "image": "busybox", "command": ["chown", "65532", "/training"]}
    pod = pod_of(make_job().pod_template({"spec": {"initContainers": [init]}}))
    assert {breach.partition(":")[0] for breach in breaches(pod)} == {"own"}
    root = make_job().pod_template(
        {"spec": {"containers": [{"name": "trainer", "securityContext": {"runAsNonRoot": False}}]}}
    )
    assert breaches(pod_of(root)) == ["trainer: runAsNonRoot"]
