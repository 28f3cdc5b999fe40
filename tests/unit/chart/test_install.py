"""The chart on a real API server: accepted, admitted under restricted pod security, enough rights and no more."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from localcluster import toolchain
from localcluster.controlplane import ControlPlane

CHART = Path(__file__).parents[3] / "helm" / "neuron-training-operator"
RELEASE, NAMESPACE = "neuron-training-operator", "neuron-training-system"
ACCOUNT = f"system:serviceaccount:{NAMESPACE}:{RELEASE}"

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    if any(toolchain.find(name) is None for name in ("helm", *toolchain.FOR_TESTS)):
        pytest.skip("helm or the API server is not built: hack/build-tools helm etcd kube-apiserver kubectl")
    directory = tmp_path_factory.mktemp("server")
    with ControlPlane.start(directory, components={"etcd", "kube-apiserver"}) as control_plane:
        control_plane.kubectl("create", "namespace", NAMESPACE)
        control_plane.kubectl("label", "namespace", NAMESPACE, "pod-security.kubernetes.io/enforce=restricted")
        control_plane.kubectl("create", "namespace", "team-a")
        yield control_plane


def helm(server: ControlPlane, *arguments: str) -> str:
    environment = os.environ | {"KUBECONFIG": str(server.kubeconfig)}
    program = toolchain.programs("helm")["helm"]
    command = [program, *arguments, "--namespace", NAMESPACE]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def installed(server: ControlPlane, request: pytest.FixtureRequest) -> Iterator[str]:
    """What Helm says after the installation with the values of the test."""
    values = ("images.operator=registry.example/neuron-operator:1", *getattr(request, "param", ()))
    yield helm(server, "install", RELEASE, str(CHART), *(part for value in values for part in ("--set", value)))
    helm(server, "uninstall", RELEASE)


def may(server: ControlPlane, verb: str, resource: str, namespace: str) -> bool:
    """What the API server would allow the operator."""
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": ACCOUNT, "resourceAttributes": attributes(verb, resource, namespace)},
    }
    path = server.directory / "review.json"
    path.write_text(json.dumps(review))
    answer = json.loads(server.kubectl("create", "--filename", str(path), "--output", "json"))
    return bool(answer["status"].get("allowed"))


def attributes(verb: str, resource: str, namespace: str) -> dict[str, str]:
    names, _, group = resource.partition(".")
    kind, _, part = names.partition("/")
    found = {"verb": verb, "group": group, "resource": kind, "subresource": part, "namespace": namespace}
    return found | ({"name": RELEASE} if kind == "leases" and verb != "create" else {})


def test_the_notes_say_what_comes_next(server: ControlPlane, installed: str) -> None:
    assert "in all namespaces" in installed
    assert "images.neuron is not set" in installed
    assert "kubectl explain ntj.spec.config.trainer" in installed
    assert server.kubectl("explain", "ntj.spec.config.trainer.lnc")


def test_the_pod_is_admitted_where_restricted_is_enforced(server: ControlPlane, installed: str) -> None:
    template = json.loads(server.kubectl("get", "deployments", "--namespace", NAMESPACE, "--output", "json"))
    pod = {"apiVersion": "v1", "kind": "Pod", **template["items"][0]["spec"]["template"]}
    pod["metadata"] = {"name": "probe", "namespace": NAMESPACE, "labels": pod["metadata"]["labels"]}
    path = server.directory / "pod.json"
    path.write_text(json.dumps(pod))
    assert "created" in server.kubectl("create", "--dry-run=server", "--filename", str(path))


def test_cluster_wide_rights_hold_in_every_namespace(server: ControlPlane, installed: str) -> None:
    assert may(server, "create", "pods", "team-a")
    assert may(server, "patch", "neurontrainingjobs/status.neurontraining.dev", "team-a")
    assert may(server, "get", "nodes", "")
    assert not may(server, "list", "nodes", "")
    assert not may(server, "get", "secrets", "team-a")
    assert not may(server, "patch", "neurontrainingjobs.neurontraining.dev", "team-a")
    assert may(server, "update", "leases.coordination.k8s.io", NAMESPACE)
    assert not may(server, "update", "leases.coordination.k8s.io", "team-a")


@pytest.mark.parametrize("installed", [("watchNamespaces={team-a}",)], indirect=True)
def test_rights_by_namespace_end_at_its_border(server: ControlPlane, installed: str) -> None:
    assert "in team-a." in installed
    assert may(server, "create", "pods", "team-a")
    assert not may(server, "create", "pods", "default")
    assert not may(server, "get", "nodes", "")
    assert may(server, "create", "leases.coordination.k8s.io", NAMESPACE)


def test_the_definition_outlives_an_uninstall_with_the_jobs_of_its_kind(server: ControlPlane) -> None:
    helm(server, "install", RELEASE, str(CHART), "--set", "images.operator=registry.example/neuron-operator:1")
    helm(server, "uninstall", RELEASE)
    assert "neurontrainingjobs.neurontraining.dev" in server.kubectl("get", "crds", "--output", "name")
