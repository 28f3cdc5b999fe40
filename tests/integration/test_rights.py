"""`kubectl auth can-i` for all that the chart's roles must not allow, and all that they must: on a real API server.

Where all schedulers are allowed every verb on every resource of a long list is asked for, in the jobs' namespace, in
the operator's own and for the cluster, and exactly those of the table are allowed: a right too many fails as a right
too few does, whoever adds it. In every other mode all rights are asked for that the chart ever gives. How far this
looked: every mode of the chart (cluster-wide, by namespace, schedulers of gangs one by one and together, an account
that exists), verbs that RBAC has beside those of requests (escalate, bind, impersonate, approve), paths that are no
resources, the roles that the chart adds for people, and the account that pods of jobs run as, which has no rights at
all.
"""

import os
import subprocess
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from bounds import BOUND
from controlplane import toolchain
from controlplane.controlplane import ControlPlane

from .requests import Requests

CHART: Final = Path(__file__).parents[2] / "helm" / "neuron-training-operator"
RBAC: Final = ("Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding", "ServiceAccount")

VERBS: Final = (
    "get", "list", "watch", "create", "update", "patch", "delete", "deletecollection",
    "escalate", "bind", "impersonate", "*",
)  # fmt: skip
RESOURCES: Final = (
    "*", "*.*", "secrets", "configmaps", "services", "services/proxy", "endpoints", "events", "namespaces",
    "pods", "pods/exec", "pods/attach", "pods/portforward", "pods/proxy", "pods/log", "pods/status",
    "pods/ephemeralcontainers", "pods/eviction", "pods/binding", "pods/resize", "podtemplates",
    "nodes", "nodes/proxy", "nodes/status", "nodes/metrics",
    "persistentvolumeclaims", "persistentvolumes", "resourcequotas", "limitranges", "replicationcontrollers",
    "serviceaccounts", "serviceaccounts/token", "users", "groups", "uids", "userextras",
    "deployments.apps", "daemonsets.apps", "statefulsets.apps", "replicasets.apps", "jobs.batch", "cronjobs.batch",
    "roles.rbac.authorization.k8s.io", "rolebindings.rbac.authorization.k8s.io",
    "clusterroles.rbac.authorization.k8s.io", "clusterrolebindings.rbac.authorization.k8s.io",
    "customresourcedefinitions.apiextensions.k8s.io", "apiservices.apiregistration.k8s.io",
    "mutatingwebhookconfigurations.admissionregistration.k8s.io",
    "validatingwebhookconfigurations.admissionregistration.k8s.io",
    "validatingadmissionpolicies.admissionregistration.k8s.io",
    "certificatesigningrequests.certificates.k8s.io", "certificatesigningrequests/approval.certificates.k8s.io",
    "signers.certificates.k8s.io", "tokenreviews.authentication.k8s.io",
    "subjectaccessreviews.authorization.k8s.io", "networkpolicies.networking.k8s.io", "ingresses.networking.k8s.io",
    "poddisruptionbudgets.policy", "priorityclasses.scheduling.k8s.io", "storageclasses.storage.k8s.io",
    "volumeattachments.storage.k8s.io", "csidrivers.storage.k8s.io", "leases.coordination.k8s.io",
    "events.events.k8s.io", "runtimeclasses.node.k8s.io", "resourceclaims.resource.k8s.io",
    "neurontrainingjobs.neurontraining.dev", "neurontrainingjobs/status.neurontraining.dev",
    "neurontrainingjobs/finalizers.neurontraining.dev", "neurontrainingjobs/scale.neurontraining.dev",
    "workloads.kueue.x-k8s.io", "workloads/status.kueue.x-k8s.io", "localqueues.kueue.x-k8s.io",
    "clusterqueues.kueue.x-k8s.io", "podgroups.scheduling.volcano.sh", "queues.scheduling.volcano.sh",
    "podgroups.scheduling.x-k8s.io", "podgroups.scheduling.k8s.io", "workloads.scheduling.k8s.io",
)  # fmt: skip
RARE: Final = (
    ("approve", "signers.certificates.k8s.io"), ("sign", "signers.certificates.k8s.io"),
    ("use", "podsecuritypolicies.policy"), ("attest", "signers.certificates.k8s.io"),
)  # fmt: skip
"""Verbs that are for one resource."""
PATHS: Final = ("/metrics", "/logs", "/debug/pprof", "/configz", "/flagz", "/", "*")

JOBS: Final = {
    "neurontrainingjobs.neurontraining.dev": ("get", "list", "watch", "delete"),
    "neurontrainingjobs/status.neurontraining.dev": ("update",),
    "pods": ("get", "list", "watch", "create", "delete"),
    "services": ("get", "create", "patch", "delete"),
    "configmaps": ("get", "create", "patch", "delete"),
    "persistentvolumeclaims": ("get",),
    "events.events.k8s.io": ("create",),
}
"""In namespaces of jobs, in every mode."""
GANGS: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "Kueue": {"workloads.kueue.x-k8s.io": ("get", "patch"), "localqueues.kueue.x-k8s.io": ("get",), "pods": ("patch",)},
    "Volcano": {"podgroups.scheduling.volcano.sh": ("list", "create", "patch", "delete")},
    "Coscheduling": {"podgroups.scheduling.x-k8s.io": ("list", "create", "patch", "delete")},
    "Workload": {"podgroups.scheduling.k8s.io": ("list", "create", "patch", "delete")},
}
CLUSTER: Final = {"nodes": ("get",)}
LEASE: Final = ("create", "leases.coordination.k8s.io")
"""In its own namespace; a name cannot be asked for at creation."""
VOLCANO_QUEUES: Final = {"queues.scheduling.volcano.sh": ("get",)}
"""For the cluster; not with namespaces that are named, since a Role cannot grant it."""

Asked = tuple[str, str]


@dataclass(frozen=True)
class Mode:
    gangs: tuple[str, ...] = ()
    by_namespace: bool = False
    account: str = ""
    """One that exists; empty: the chart makes it."""


MODES: Final = {
    "cluster-wide": Mode(),
    **{f"cluster-wide, {gang}": Mode((gang,)) for gang in GANGS},
    "cluster-wide, all schedulers": Mode(tuple(GANGS)),
    "by namespace": Mode(by_namespace=True),
    "by namespace, all schedulers": Mode(tuple(GANGS), by_namespace=True),
    "an account that exists": Mode(account="mine"),
}
ALL_SCHEDULERS: Final = {name: mode for name, mode in MODES.items() if len(mode.gangs) > 1}


@dataclass(frozen=True)
class Installed:
    """The chart's roles under names of their own."""

    mode: Mode
    release: str
    own: str
    team: str
    other: str

    @property
    def account(self) -> str:
        return f"{self.own}:{self.mode.account or self.release}"


@pytest.fixture
def requests(control_plane: ControlPlane) -> Iterator[Requests]:
    with Requests(control_plane) as made:
        yield made


@pytest.fixture
def installed(control_plane: ControlPlane, request: pytest.FixtureRequest) -> Iterator[Installed]:
    mode, mark = request.param, uuid.uuid4().hex[:6]
    made = Installed(mode, f"neuron-training-operator-{mark}", f"own-{mark}", f"team-{mark}", f"other-{mark}")
    objects: list[Any] = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        for name in (made.own, made.team, made.other)
    ]
    objects += [one for one in rendered(made) if one["kind"] in RBAC]
    text = yaml.safe_dump_all(objects)
    control_plane.kubectl("apply", "--filename", "-", stdin=text)
    yield made
    control_plane.kubectl("delete", "--wait=false", "--filename", "-", stdin=text)


def rendered(made: Installed) -> list[dict[str, Any]]:
    values = ["image.repository=registry.example/neuron-operator"]
    if made.mode.gangs:
        values.append(f"gangSchedulers={{{','.join(made.mode.gangs)}}}")
    if made.mode.by_namespace:
        values.append(f"watchNamespaces={{{made.team}}}")
    if made.mode.account:
        values += ["serviceAccount.create=false", f"serviceAccount.name={made.mode.account}"]
    command = [toolchain.programs("helm")["helm"], "template", made.release, str(CHART), "--namespace", made.own]
    command += [part for value in values for part in ("--set", value)]
    done = subprocess.run(command, env=os.environ, capture_output=True, text=True, check=True, timeout=BOUND)
    return [one for one in yaml.safe_load_all(done.stdout) if one]


def pairs(*tables: dict[str, tuple[str, ...]]) -> set[Asked]:
    return {(verb, resource) for table in tables for resource, verbs in table.items() for verb in verbs}


EVERY: Final = (*product(VERBS, RESOURCES), *RARE)
DIFFERENT: Final = sorted(pairs(JOBS, CLUSTER, VOLCANO_QUEUES, *GANGS.values()) | {LEASE})
"""What is allowed in some mode or other."""


def allowed(requests: Requests, account: str, namespace: str, asked: Iterable[Asked] = EVERY) -> set[Asked]:
    """All of a list that the account may do in a namespace (empty: in the cluster)."""
    return {(verb, resource) for verb, resource in asked if requests.allows(account, namespace, verb, resource)}


def expected(mode: Mode) -> tuple[set[Asked], set[Asked]]:
    """What is allowed in a namespace of jobs, and in any other."""
    of_jobs = pairs(JOBS, *(GANGS[gang] for gang in mode.gangs))
    if mode.by_namespace:
        return of_jobs, set()
    everywhere = of_jobs | pairs(CLUSTER, VOLCANO_QUEUES if "Volcano" in mode.gangs else {})
    return everywhere, everywhere


@pytest.mark.parametrize("installed", ALL_SCHEDULERS.values(), ids=ALL_SCHEDULERS.keys(), indirect=True)
def test_the_operator_may_do_what_it_does_and_nothing_else(installed: Installed, requests: Requests) -> None:
    team, elsewhere = expected(installed.mode)
    assert allowed(requests, installed.account, installed.team) == team
    assert allowed(requests, installed.account, "") == elsewhere
    assert allowed(requests, installed.account, installed.own) == elsewhere | {LEASE}


@pytest.mark.parametrize("installed", MODES.values(), ids=MODES.keys(), indirect=True)
def test_each_mode_has_its_own_rights_of_these(installed: Installed, requests: Requests) -> None:
    team, elsewhere = expected(installed.mode)
    assert allowed(requests, installed.account, installed.team, DIFFERENT) == team
    for namespace in (installed.other, "kube-system", ""):
        assert allowed(requests, installed.account, namespace, DIFFERENT) == elsewhere
    assert allowed(requests, installed.account, installed.own, DIFFERENT) == elsewhere | {LEASE}


@pytest.mark.parametrize("installed", [MODES["cluster-wide"], MODES["by namespace"]], indirect=True)
def test_of_all_leases_its_own_alone_is_changed(installed: Installed, requests: Requests) -> None:
    def verbs(namespace: str, name: str) -> set[str]:
        lease = "leases.coordination.k8s.io"
        return {verb for verb in VERBS if requests.allows(installed.account, namespace, verb, lease, name)}

    assert verbs(installed.own, installed.release) == {"get", "update", "create"}
    assert verbs(installed.own, "kube-scheduler") == {"create"}
    assert verbs(installed.team, installed.release) == set()
    assert verbs("kube-system", "kube-scheduler") == set()


@pytest.mark.parametrize("installed", [MODES["cluster-wide, all schedulers"]], indirect=True)
def test_no_path_of_the_api_servers_own_is_open(installed: Installed, requests: Requests) -> None:
    assert not any(requests.allows_path(installed.account, verb, path) for verb, path in product(VERBS, PATHS))


@pytest.mark.parametrize("installed", [MODES["cluster-wide, all schedulers"]], indirect=True)
def test_pods_of_jobs_have_no_rights_at_all(installed: Installed, requests: Requests) -> None:
    """Nothing is bound to the account that they run as; nor do they get its token (`test_restricted_pods.py`)."""
    for namespace in (installed.team, ""):
        assert allowed(requests, f"{installed.team}:default", namespace) == set()


PEOPLE: Final = {
    "view": {
        "neurontrainingjobs.neurontraining.dev": ("get", "list", "watch"),
        "neurontrainingjobs/status.neurontraining.dev": ("get", "list", "watch"),
        "neurontrainingjobs/scale.neurontraining.dev": ("get", "list", "watch"),
    },
    "edit": {
        "neurontrainingjobs.neurontraining.dev": ("create", "update", "patch", "delete", "deletecollection"),
        "neurontrainingjobs/scale.neurontraining.dev": ("update", "patch"),
    },
}
"""What the chart adds to Kubernetes' own roles, by what it is added to."""


@pytest.mark.parametrize("installed", [MODES["cluster-wide"]], indirect=True)
@pytest.mark.parametrize("role", PEOPLE)
def test_people_may_do_with_jobs_what_their_role_says_and_nothing_else(
    installed: Installed, role: str, requests: Requests, control_plane: ControlPlane
) -> None:
    (added,) = (
        one["metadata"]["name"]
        for one in rendered(installed)
        if one["kind"] == "ClusterRole" and one["metadata"]["name"].endswith(f"-{role}")
    )
    account = f"{installed.team}:people"
    control_plane.kubectl(
        "create", "rolebinding", "people", f"--clusterrole={added}", f"--serviceaccount={account}",
        f"--namespace={installed.team}",
    )  # fmt: skip
    assert allowed(requests, account, installed.team) == pairs(PEOPLE[role])
    assert allowed(requests, account, "") == set()
