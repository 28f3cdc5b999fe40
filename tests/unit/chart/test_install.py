"""The chart on a real API server: accepted, admitted under restricted pod security, enough rights and no more."""

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from bounds import BOUND
from controlplane import toolchain
from controlplane.controlplane import ControlPlane
from controlplane.errors import CommandFailed
from controlplane.freeport import free_ports
from controlplane.shell import wait_until

ROOT = Path(__file__).parents[3]
CHART = ROOT / "helm" / "neuron-training-operator"
RELEASE, NAMESPACE = "neuron-training-operator", "neuron-training-system"
IMAGE = "image.repository=registry.example/neuron-operator"
ACCOUNT = f"system:serviceaccount:{NAMESPACE}:{RELEASE}"

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    directory = tmp_path_factory.mktemp("server")
    with ControlPlane.start(directory, components={"etcd", "kube-apiserver"}) as control_plane:
        control_plane.kubectl("create", "namespace", NAMESPACE)
        control_plane.kubectl("label", "namespace", NAMESPACE, "pod-security.kubernetes.io/enforce=restricted")
        for name in ("team-a", "team-b"):
            control_plane.kubectl("create", "namespace", name)
            control_plane.kubectl("create", "serviceaccount", "default", "--namespace", name)
        yield control_plane


def helm(server: ControlPlane, *arguments: str) -> str:
    environment = os.environ | {"KUBECONFIG": str(server.kubeconfig)}
    program = toolchain.programs("helm")["helm"]
    command = [program, *arguments, "--namespace", NAMESPACE]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=BOUND)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def installed(server: ControlPlane, request: pytest.FixtureRequest) -> Iterator[str]:
    """What Helm says after the installation with the values of the test."""
    values = (IMAGE, *getattr(request, "param", ()))
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
    assert "trainerImages.torchneuron is not set" in installed
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
    assert may(server, "update", "neurontrainingjobs/status.neurontraining.dev", "team-a")
    assert may(server, "get", "nodes", "")
    assert not may(server, "list", "nodes", "")
    assert not may(server, "get", "secrets", "team-a")
    assert not may(server, "patch", "neurontrainingjobs.neurontraining.dev", "team-a")
    assert not may(server, "patch", "pods", "team-a")
    assert not may(server, "create", "podgroups.scheduling.x-k8s.io", "team-a")
    assert may(server, "update", "leases.coordination.k8s.io", NAMESPACE)
    assert not may(server, "update", "leases.coordination.k8s.io", "team-a")


@pytest.mark.parametrize("installed", [("gangSchedulers={Kueue,Coscheduling}",)], indirect=True)
def test_rights_for_gangs_are_those_of_the_schedulers_that_are_named(server: ControlPlane, installed: str) -> None:
    assert may(server, "patch", "pods", "team-a")
    assert may(server, "get", "workloads.kueue.x-k8s.io", "team-a")
    assert not may(server, "delete", "workloads.kueue.x-k8s.io", "team-a")
    assert may(server, "create", "podgroups.scheduling.x-k8s.io", "team-a")
    assert not may(server, "create", "podgroups.scheduling.volcano.sh", "team-a")
    assert not may(server, "get", "queues.scheduling.volcano.sh", "")


@pytest.mark.parametrize("installed", [("watchNamespaces={team-a}",)], indirect=True)
def test_rights_by_namespace_end_at_its_border(server: ControlPlane, installed: str) -> None:
    assert "in team-a." in installed
    assert may(server, "create", "pods", "team-a")
    assert not may(server, "create", "pods", "default")
    assert not may(server, "get", "nodes", "")
    assert may(server, "create", "leases.coordination.k8s.io", NAMESPACE)


def test_the_definition_outlives_an_uninstall_with_the_jobs_of_its_kind(server: ControlPlane) -> None:
    helm(server, "install", RELEASE, str(CHART), "--set", IMAGE)
    helm(server, "uninstall", RELEASE)
    assert "neurontrainingjobs.neurontraining.dev" in server.kubectl("get", "crds", "--output", "name")


@pytest.mark.parametrize(
    "installed", [("networkPolicy.enabled=true", "networkPolicy.jobNamespaces={team-a}")], indirect=True
)
def test_two_replicas_with_a_budget_and_policies_are_accepted(server: ControlPlane, installed: str) -> None:
    def names(kind: str, namespace: str) -> list[str]:
        return server.kubectl("get", kind, "--namespace", namespace, "--output", "name").split()

    assert names("poddisruptionbudgets", NAMESPACE) == [f"poddisruptionbudget.policy/{RELEASE}"]
    assert names("networkpolicies", NAMESPACE) == [f"networkpolicy.networking.k8s.io/{RELEASE}"]
    assert names("networkpolicies", "team-a") == [f"networkpolicy.networking.k8s.io/{RELEASE}-jobs"]


def test_the_definition_is_upgraded_as_the_page_says_and_the_jobs_stay(server: ControlPlane, tmp_path: Path) -> None:
    """Helm made it, as its own field manager: what the new version changes may be a conflict."""
    crd = "neurontrainingjobs.neurontraining.dev"
    server.kubectl("delete", "crd", crd, "--ignore-not-found", "--wait=true")
    older = tmp_path / "chart"
    shutil.copytree(CHART, older)
    file = older / "crds" / f"{crd}.yaml"
    definition = yaml.safe_load(file.read_text())
    definition["spec"]["names"]["shortNames"] = ["oldname"]
    file.write_text(yaml.safe_dump(definition))
    helm(server, "install", RELEASE, str(older), "--set", IMAGE)
    wait_until("jobs to be accepted", lambda: _accepts(server), seconds=30)
    helm(server, "upgrade", RELEASE, str(CHART), "--reset-then-reuse-values")
    assert "oldname" in server.kubectl("get", "crd", crd, "--output", "jsonpath={.spec.names.shortNames}")
    page = (CHART / "README.md").read_text()
    (command,) = {line for line in page.splitlines() if line.startswith("kubectl apply --server-side")}
    words = [str(CHART / "crds") if word.endswith("/crds/") else word for word in command.split()[1:]]
    server.kubectl(*words)
    assert "ntj" in server.kubectl("get", "crd", crd, "--output", "jsonpath={.spec.names.shortNames}")
    assert "quickstart" in server.kubectl("get", "neurontrainingjobs", "--namespace", "team-a", "--output", "name")
    server.kubectl("delete", "neurontrainingjobs", "quickstart", "--namespace", "team-a")
    helm(server, "uninstall", RELEASE)


def _accepts(server: ControlPlane) -> bool:
    try:
        apply(server, "team-a", quickstart())
    except CommandFailed:
        return False
    return True


# ---- the program under these rights -----------------------------------------------------------------------------

CLAIM = """
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: training}
spec: {accessModes: [ReadWriteMany], resources: {requests: {storage: 1Gi}}}
"""


def account_kubeconfig(server: ControlPlane) -> Path:
    """As the operator logs in: with its account's token and nothing else."""
    content = yaml.safe_load(server.kubeconfig.read_text())
    token = server.kubectl("create", "token", RELEASE, "--namespace", NAMESPACE).strip()
    content["users"][0]["user"] = {"token": token}
    path = server.directory / "account.kubeconfig"
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(content))
    return path


def quickstart() -> str:
    documents = yaml.safe_load_all((ROOT / "examples" / "quickstart.yaml").read_text())
    return yaml.safe_dump(next(document for document in documents if document["kind"] == "NeuronTrainingJob"))


def apply(server: ControlPlane, namespace: str, manifest: str) -> None:
    path = server.directory / "manifest.yaml"
    path.write_text(manifest)
    server.kubectl("apply", "--namespace", namespace, "--filename", str(path))


def until(condition: Callable[[], bool], what: str, operator: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + BOUND
    while not condition():
        assert operator.poll() is None, f"the operator ended before {what}:\n{log.read_text()}"
        assert time.monotonic() < deadline, f"{what} did not happen within {BOUND:.0f} s:\n{log.read_text()}"
        time.sleep(0.2)


def requests_refused(port: int) -> list[str]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=BOUND) as answer:
        lines = answer.read().decode().splitlines()
    assert any(line.startswith("neuron_operator_api_requests_total") for line in lines)
    return [line for line in lines if line.startswith("neuron_operator_api_requests_total") and 'code="403"' in line]


@pytest.mark.parametrize(
    ("installed", "namespace", "flag"),
    [
        pytest.param((), "team-a", "", id="cluster-wide"),
        pytest.param(("watchNamespaces={team-b}",), "team-b", "--namespaces=team-b", id="by namespace"),
    ],
    indirect=["installed"],
)
def test_the_operator_does_its_work_with_the_charts_rights(
    server: ControlPlane, installed: str, namespace: str, flag: str
) -> None:
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "neuron_operator", f"--http-port={port}", *([flag] if flag else ())]
    command += ["--image-cpu=registry.example/neuron-trainer:1", f"--lease-namespace={NAMESPACE}"]
    environment = os.environ | {"KUBECONFIG": str(account_kubeconfig(server))}
    log = server.directory / f"operator-{namespace}.log"

    def told(what: str, *words: str) -> bool:
        return all(word in server.kubectl("get", what, "--namespace", namespace, "--output", "yaml") for word in words)

    with log.open("w") as output:
        operator = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
        try:
            apply(server, namespace, quickstart())
            until(lambda: told("ntj", "ClaimNotFound"), "the look at the claim", operator, log)
            apply(server, namespace, CLAIM)
            until(lambda: told("pods", "quickstart-0-0", "quickstart-0-1"), "the creation of the pods", operator, log)
            until(lambda: told("events.events.k8s.io", "PodsCreated"), "the event", operator, log)
            assert requests_refused(port) == []
        finally:
            operator.terminate()
            status = operator.wait(BOUND)
    assert status == 0, log.read_text()
    assert not any(f" {level} " in log.read_text() for level in "WEC"), log.read_text()
