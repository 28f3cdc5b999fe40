"""Rights of people on a real API server with RBAC: Kubernetes' own roles view, edit and admin know NeuronTrainingJobs.

Kind: a namespace editor who may not create a job, or a viewer who may. The controller that aggregates roles runs, too.
"""

import subprocess
from collections.abc import Iterator

import pytest

from controlplane.controlplane import ControlPlane
from controlplane.errors import CommandFailed
from controlplane.shell import wait_until

from .test_install import CHART, IMAGE, NAMESPACE, RELEASE, ROOT, helm, quickstart

pytestmark = pytest.mark.integration

PEOPLE = {"vera": "view", "eddi": "edit", "ada": "admin"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """The chart is installed, and each of the people has a role in team-a and none in team-b."""
    components = {"etcd", "kube-apiserver", "kube-controller-manager"}
    with ControlPlane.start(tmp_path_factory.mktemp("people"), components=components) as plane:
        for name in (NAMESPACE, "team-a", "team-b"):
            plane.kubectl("create", "namespace", name)
        helm(plane, "install", RELEASE, str(CHART), "--set", IMAGE)
        for user, role in PEOPLE.items():
            words = ("create", "rolebinding", user, f"--clusterrole={role}", f"--user={user}", "--namespace", "team-a")
            plane.kubectl(*words)
        wait_until("the roles to be aggregated", lambda: all(may(plane, user, "get") for user in PEOPLE), seconds=120)
        wait_until("the editors' role", lambda: may(plane, "eddi", "create"), seconds=120)
        yield plane


def may(plane: ControlPlane, user: str, verb: str, part: str = "", namespace: str = "team-a") -> bool:
    """Whether the API server lets a user do this with jobs, or with a subresource of them."""
    words = ("auth", "can-i", verb, "neurontrainingjobs", f"--subresource={part}", "--namespace", namespace)
    try:
        plane.kubectl(*words, "--as", user)
    except CommandFailed:
        return False
    return True


@pytest.mark.parametrize("user", PEOPLE)
def test_everybody_with_a_role_reads_jobs_and_nobody_writes_their_status(server: ControlPlane, user: str) -> None:
    assert all(may(server, user, verb) for verb in ("get", "list", "watch"))
    assert may(server, user, "get", "status")
    assert not any(may(server, user, verb, "status") for verb in ("update", "patch"))
    assert not may(server, user, "get", namespace="team-b")


@pytest.mark.parametrize("user", PEOPLE)
def test_editors_change_jobs_and_viewers_do_not(server: ControlPlane, user: str) -> None:
    verbs = ("create", "update", "patch", "delete", "deletecollection")
    assert {may(server, user, verb) for verb in verbs} == {user != "vera"}
    assert {may(server, user, verb, "scale") for verb in ("update", "patch")} == {user != "vera"}


def test_a_job_is_created_by_an_editor_and_refused_to_a_viewer(server: ControlPlane) -> None:
    path = server.directory / "job.yaml"
    path.write_text(quickstart())
    create = ("create", "--namespace", "team-a", "--filename", str(path), "--as")
    with pytest.raises((CommandFailed, subprocess.CalledProcessError), match="cannot create resource"):
        server.kubectl(*create, "vera")
    assert "created" in server.kubectl(*create, "eddi")
    assert "quickstart" in server.kubectl("get", "ntj", "--namespace", "team-a", "--output", "name", "--as", "vera")


@pytest.mark.parametrize("name", ["storage", "files", "job"])
def test_manifests_for_eks_are_accepted_by_the_api_server(server: ControlPlane, name: str) -> None:
    """What of examples/eks is Kubernetes' own or ours; an unknown field would be refused."""
    path = ROOT / "examples" / "eks" / f"{name}.yaml"
    words = ("create", "--dry-run=server", "--validate=strict", "--namespace", "team-b", "--filename", str(path))
    assert "created" in server.kubectl(*words)
