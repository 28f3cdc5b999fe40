"""The chart as Helm renders it: rights, pod security, flags, and what it says to wrong values."""

import json
import subprocess
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from bounds import BOUND
from controlplane import toolchain
from neuron_api import contract
from neuron_operator import settings

ROOT = Path(__file__).parents[3]
CHART = ROOT / "helm" / "neuron-training-operator"
CRD = "neurontrainingjobs.neurontraining.dev.yaml"
RELEASE, NAMESPACE = "neuron-training-operator", "neuron-training-system"
KUBERNETES = ("--kube-version", toolchain.KUBERNETES)
"""Without it a Helm built by `go build` takes the cluster for 1.20."""
IMAGES = {
    "image": {"registry": "registry.example", "repository": "neuron-operator", "tag": "1"},
    "trainerImages": {"cpu": {"registry": "registry.example", "repository": "neuron-trainer", "tag": "1"}},
}
CPU_IMAGE = "registry.example/neuron-trainer:1"

Json = dict[str, Any]
Rights = dict[tuple[str, str], set[str]]

NO_USER_ROLES = {"rbac": {"aggregateClusterRoles": False}}
"""What is left is the operator's own."""

JOB_RIGHTS: Rights = {
    ("neurontraining.dev", "neurontrainingjobs"): {"get", "list", "watch", "delete"},
    ("neurontraining.dev", "neurontrainingjobs/status"): {"update"},
    ("", "pods"): {"get", "list", "watch", "create", "delete"},
    ("", "services"): {"get", "create", "patch", "delete"},
    ("", "configmaps"): {"get", "create", "patch", "delete"},
    ("", "persistentvolumeclaims"): {"get"},
    ("events.k8s.io", "events"): {"create"},
}
LEASE_RIGHTS: Rights = {("coordination.k8s.io", "leases"): {"get", "create", "update"}}

needs_helm = pytest.mark.integration


def helm(*arguments: str, values: Json | None = None) -> subprocess.CompletedProcess[str]:
    program = toolchain.programs("helm")["helm"]
    command = [program, *arguments, *(("--values", "-") if values is not None else ())]
    given = json.dumps(values) if values is not None else None
    return subprocess.run(command, input=given, capture_output=True, text=True, check=False, timeout=BOUND)


@cache
def _rendered(values: str) -> str:
    done = helm("template", RELEASE, str(CHART), "--namespace", NAMESPACE, *KUBERNETES, values=json.loads(values))
    assert done.returncode == 0, done.stderr
    return done.stdout


def render(**values: Any) -> list[Json]:
    text = _rendered(json.dumps(IMAGES | values, sort_keys=True))
    return [document for document in yaml.safe_load_all(text) if document]


def refusal(**values: Any) -> str:
    done = helm("template", RELEASE, str(CHART), *KUBERNETES, values=IMAGES | values)
    assert done.returncode != 0, "the values should have been refused"
    return done.stderr


def of_kind(objects: list[Json], kind: str) -> list[Json]:
    return [each for each in objects if each["kind"] == kind]


def deployment(**values: Any) -> Json:
    (found,) = of_kind(render(**values), "Deployment")
    return found


def container(**values: Any) -> Json:
    (found,) = deployment(**values)["spec"]["template"]["spec"]["containers"]
    return found


def flags(**values: Any) -> dict[str, str]:
    return dict(argument.removeprefix("--").split("=", 1) for argument in container(**values)["args"])


def rights(role: Json) -> Rights:
    found: Rights = {}
    for rule in role["rules"]:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                found.setdefault((group, resource), set()).update(rule["verbs"])
    return found


# ---- without Helm -----------------------------------------------------------------------------------------------


def test_the_charts_crd_is_the_generated_one() -> None:
    assert (CHART / "crds" / CRD).read_bytes() == (ROOT / "crds" / CRD).read_bytes(), "run `make crds`"


def keys(values: Json, path: str = "") -> set[str]:
    found = set()
    for key, value in values.items():
        found |= keys(value, f"{path}.{key}") if isinstance(value, dict) and value else {f"{path}.{key}"}
    return found


def schema_keys(schema: Json, path: str = "") -> set[str]:
    found = set()
    for key, child in schema["properties"].items():
        found |= schema_keys(child, f"{path}.{key}") if "properties" in child else {f"{path}.{key}"}
    return found


def test_the_schema_describes_every_value_and_no_other() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    values["resources"] = {}
    schema = json.loads((CHART / "values.schema.json").read_text())
    schema["properties"]["resources"].pop("properties")
    assert schema_keys(schema) - {".global"} == keys(values)


def test_every_value_has_a_comment_above_it_or_above_its_group() -> None:
    lines = (CHART / "values.yaml").read_text().splitlines()
    starts_paragraph = [(line, before) for before, line in pairwise(lines) if line and line[0] not in " #"]
    exempt = ("serviceAccount:", "rbac:", "metrics:", "networkPolicy:", "tolerations:", "affinity:", "podLabels:",
              "fullnameOverride:", "extraVolumeMounts:")  # fmt: skip
    bare = [line for line, before in starts_paragraph if not before.startswith("#") and not line.startswith(exempt)]
    assert bare == []


# ---- rights -----------------------------------------------------------------------------------------------------


@needs_helm
def test_helm_finds_no_fault() -> None:
    for values in (None, IMAGES, IMAGES | {"replicas": 2, "watchNamespaces": ["a"]}):
        done = helm("lint", "--strict", *KUBERNETES, str(CHART), values=values)
        assert done.returncode == 0, done.stdout + done.stderr


@needs_helm
def test_cluster_wide_the_operator_may_do_what_it_does_and_nothing_else() -> None:
    (role,) = of_kind(render(**NO_USER_ROLES), "ClusterRole")
    assert rights(role) == JOB_RIGHTS | {("", "nodes"): {"get"}}
    (binding,) = of_kind(render(), "ClusterRoleBinding")
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": RELEASE, "namespace": NAMESPACE}]


@needs_helm
def test_with_watched_namespaces_there_is_a_role_in_each_and_nothing_cluster_wide() -> None:
    objects = render(watchNamespaces=["team-a", "team-b"], **NO_USER_ROLES)
    assert not of_kind(objects, "ClusterRole") and not of_kind(objects, "ClusterRoleBinding")
    roles = {(r["metadata"]["namespace"], r["metadata"]["name"]): r for r in of_kind(objects, "Role")}
    for namespace in ("team-a", "team-b"):
        assert rights(roles[namespace, RELEASE]) == JOB_RIGHTS
    assert set(roles) == {("team-a", RELEASE), ("team-b", RELEASE), (NAMESPACE, f"{RELEASE}-lease")}
    bindings = of_kind(objects, "RoleBinding")
    assert {(b["metadata"]["namespace"], b["roleRef"]["name"]) for b in bindings} == set(roles)
    assert {s["namespace"] for b in bindings for s in b["subjects"]} == {NAMESPACE}


@needs_helm
def test_the_lease_is_the_operators_own_and_the_only_one_it_may_touch() -> None:
    objects = render()
    (role,) = of_kind(objects, "Role")
    assert role["metadata"]["namespace"] == NAMESPACE
    assert rights(role) == LEASE_RIGHTS
    named = [rule for rule in role["rules"] if rule["verbs"] != ["create"]]
    assert [rule["resourceNames"] for rule in named] == [[flags()["lease-name"]]]


@needs_helm
@pytest.mark.parametrize("namespaces", [[], ["team-a"]], ids=["cluster-wide", "by namespace"])
def test_no_wildcard_no_secret_and_no_list_of_nodes(namespaces: list[str]) -> None:
    objects = render(watchNamespaces=namespaces)
    for role in (*of_kind(objects, "ClusterRole"), *of_kind(objects, "Role")):
        for (group, resource), verbs in rights(role).items():
            assert "*" not in (group, resource) and "*" not in verbs
            assert resource != "secrets"
            assert resource != "nodes" or verbs == {"get"}


# ---- the pod ----------------------------------------------------------------------------------------------------


@needs_helm
def test_the_pod_meets_the_restricted_pod_security_standard() -> None:
    pod = deployment()["spec"]["template"]["spec"]
    assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & set(pod)
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert all(set(volume) <= {"name", "emptyDir", "configMap"} for volume in pod["volumes"])
    assert container()["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


@needs_helm
def test_the_flags_are_those_of_the_program() -> None:
    assert flags() == {
        "image-cpu": CPU_IMAGE,
        "failure-table": "/etc/neuron-operator/failure-table.yaml",
        "poll-seconds": "5",
        "status-seconds": "10",
        "resync-seconds": "300",
        "workers": "8",
        "http-port": "8080",
        "lease-name": RELEASE,
        "log-level": "info",
        "log-format": "json",
    }


@needs_helm
def test_every_value_reaches_its_flag() -> None:
    given = flags(
        trainerImages={"nxd": {"repository": "registry.example/neuron-trainer", "tag": "2"}},
        watchNamespaces=["team-a", "team-b"],
        pollSeconds=2,
        statusSeconds=20,
        resyncSeconds=86400,
        workers=16,
        logLevel="debug",
        logFormat="text",
    )
    assert given["image-nxd"] == "registry.example/neuron-trainer:2"
    assert given["namespaces"] == "team-a,team-b"
    assert [given[f"{name}-seconds"] for name in ("poll", "status", "resync")] == ["2", "20", "86400"]
    assert (given["workers"], given["log-level"], given["log-format"]) == ("16", "debug", "text")


@needs_helm
def test_the_program_understands_its_flags() -> None:
    found = settings.parse(container(watchNamespaces=["team-a", "team-b"], workers=4)["args"], environ={})
    assert found.namespaces == ("team-a", "team-b")
    assert found.options.images == {"cpu": CPU_IMAGE}
    assert (found.workers, found.http_port, found.lease_name, found.log_format) == (4, 8080, RELEASE, "json")


@needs_helm
def test_the_program_learns_who_it_is_and_answers_the_probes() -> None:
    environment = {each["name"]: each["valueFrom"]["fieldRef"]["fieldPath"] for each in container()["env"]}
    assert environment == {"POD_NAME": "metadata.name", "POD_NAMESPACE": "metadata.namespace"}
    (port,) = container()["ports"]
    assert str(port["containerPort"]) == flags()["http-port"]
    for probe, path in (("startupProbe", "/livez"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")):
        assert container()[probe]["httpGet"] == {"path": path, "port": port["name"]}


@needs_helm
def test_one_replica_is_recreated_and_needs_no_disruption_budget() -> None:
    assert deployment(replicas=1)["spec"]["strategy"] == {"type": "Recreate"}
    assert deployment(replicas=1)["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 30
    assert not of_kind(render(replicas=1), "PodDisruptionBudget")


@needs_helm
def test_two_replicas_are_the_default_and_go_one_at_a_time() -> None:
    assert deployment()["spec"]["replicas"] == 2
    assert deployment()["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}
    (budget,) = of_kind(render(), "PodDisruptionBudget")
    assert budget["spec"]["maxUnavailable"] == 1
    assert budget["spec"]["selector"] == deployment()["spec"]["selector"]


@needs_helm
def test_pod_labels_of_the_user_do_not_unmake_the_selector() -> None:
    found = deployment(podLabels={"app.kubernetes.io/name": "mine", "team": "a"})
    labels = found["spec"]["template"]["metadata"]["labels"]
    assert found["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert labels["team"] == "a"
    assert labels["app.kubernetes.io/name"] == "neuron-training-operator"


@needs_helm
def test_an_account_that_exists_is_used_and_not_made() -> None:
    objects = render(serviceAccount={"create": False, "name": "mine"})
    assert not of_kind(objects, "ServiceAccount")
    bindings = (*of_kind(objects, "ClusterRoleBinding"), *of_kind(objects, "RoleBinding"))
    assert {subject["name"] for binding in bindings for subject in binding["subjects"]} == {"mine"}
    assert "serviceAccount.name is not set" in refusal(serviceAccount={"create": False})


@needs_helm
def test_metrics_have_a_service_and_a_monitor_on_demand() -> None:
    assert not of_kind(render(), "Service") and not of_kind(render(), "ServiceMonitor")
    objects = render(metrics={"serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}}})
    (service,), (monitor,) = of_kind(objects, "Service"), of_kind(objects, "ServiceMonitor")
    assert service["spec"]["selector"].items() <= deployment()["spec"]["template"]["metadata"]["labels"].items()
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["spec"]["endpoints"][0]["port"] == service["spec"]["ports"][0]["name"]
    assert monitor["metadata"]["labels"]["release"] == "prometheus"


@needs_helm
def test_every_object_carries_the_label_by_which_it_is_found() -> None:
    metrics = {name: {"enabled": True} for name in ("serviceMonitor", "dashboard", "rules")}
    policies = {"enabled": True, "jobNamespaces": ["team-a"]}
    for each in render(metrics=metrics, networkPolicy=policies):
        assert each["metadata"]["labels"]["app.kubernetes.io/name"] == "neuron-training-operator", each["kind"]


# ---- network ----------------------------------------------------------------------------------------------------

OF_JOBS = {"matchExpressions": [{"key": contract.LABEL_JOB, "operator": "Exists"}]}


@needs_helm
def test_the_operator_is_asked_at_one_port_and_asks_the_api_server_and_pods_of_jobs() -> None:
    assert not of_kind(render(), "NetworkPolicy")
    (policy,) = of_kind(render(networkPolicy={"enabled": True}), "NetworkPolicy")
    spec = policy["spec"]
    assert spec["podSelector"] == deployment()["spec"]["selector"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert spec["ingress"] == [{"ports": [{"port": container()["ports"][0]["containerPort"], "protocol": "TCP"}]}]
    server, pods = spec["egress"]
    assert server == {"ports": [{"port": 443, "protocol": "TCP"}, {"port": 6443, "protocol": "TCP"}]}
    assert pods["ports"] == [{"port": contract.PROGRESS_PORT, "protocol": "TCP"}]
    assert pods["to"] == [{"namespaceSelector": {}, "podSelector": OF_JOBS}]


@needs_helm
def test_networks_peers_and_namespaces_narrow_the_policy() -> None:
    peer = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
    given = {"enabled": True, "metricsFrom": [peer], "apiServer": {"ports": [443], "cidrs": ["10.0.0.0/16"]}}
    (policy,) = of_kind(render(networkPolicy=given, watchNamespaces=["team-a", "team-b"]), "NetworkPolicy")
    assert policy["spec"]["ingress"][0]["from"] == [peer]
    server, pods = policy["spec"]["egress"]
    assert server["to"] == [{"ipBlock": {"cidr": "10.0.0.0/16"}}]
    (selected,) = pods["to"][0]["namespaceSelector"]["matchExpressions"]
    assert selected["values"] == ["team-a", "team-b"]


@needs_helm
def test_pods_of_jobs_hear_each_other_and_the_operator() -> None:
    found = of_kind(render(networkPolicy={"jobNamespaces": ["team-a", "team-b"]}), "NetworkPolicy")
    assert [one["metadata"]["namespace"] for one in found] == ["team-a", "team-b"]
    spec = found[0]["spec"]
    assert spec["podSelector"] == OF_JOBS
    assert spec["policyTypes"] == ["Ingress"]
    gang, readers = spec["ingress"]
    assert gang == {"from": [{"podSelector": OF_JOBS}]}
    assert readers["ports"] == [{"port": contract.PROGRESS_PORT, "protocol": "TCP"}]
    (operator,) = readers["from"]
    assert operator["podSelector"] == deployment()["spec"]["selector"]
    assert operator["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": NAMESPACE}


# ---- wrong values -----------------------------------------------------------------------------------------------


@needs_helm
@pytest.mark.parametrize(
    ("values", "words"),
    [
        pytest.param({"replicas": "two"}, ["replicas", "integer"], id="a text for a number"),
        pytest.param({"replicas": 0}, ["replicas", "1"], id="a number out of its range"),
        pytest.param({"replica": 2}, ["replica"], id="an unknown name"),
        pytest.param({"trainerImages": {"gpu": {}}}, ["trainerImages", "gpu"], id="an unknown image"),
        pytest.param({"image": "registry.example/x:1"}, ["image", "object"], id="an image in one piece"),
        pytest.param({"image": {"repository": "x:1"}}, ["image", "repository"], id="a tag in the repository"),
        pytest.param({"image": {"digest": "sha256:12"}}, ["image", "digest"], id="half a digest"),
        pytest.param({"logLevel": "loud"}, ["logLevel", "debug"], id="a word that is none of the list"),
        pytest.param({"watchNamespaces": "team-a"}, ["watchNamespaces", "array"], id="a text for a list"),
        pytest.param({"networkPolicy": {"apiServer": {"cidrs": ["10.0.0.1"]}}}, ["cidrs"], id="no network"),
        pytest.param({"metrics": {"rules": {"budgetShare": 7}}}, ["budgetShare"], id="a share above 1"),
        pytest.param({"watchNamespaces": ["Team_A"]}, ["watchNamespaces"], id="a name that no namespace can have"),
    ],
)
def test_the_schema_refuses_by_path(values: Json, words: list[str]) -> None:
    said = refusal(**values)
    assert all(word in said for word in words), said


@needs_helm
def test_without_an_image_the_refusal_says_which_value_to_set() -> None:
    assert "image.repository is not set" in refusal(image={"repository": ""})
