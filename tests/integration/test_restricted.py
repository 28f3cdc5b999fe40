"""Pods of jobs where Pod Security's level `restricted` is enforced: the API server's own judgement.

How far this looked: one and many nodes, CPU and Trainium, pods that avoid a node, a template with an allowed change,
and templates that break the level, which the API server refuses and the job tells with its words.
"""

from typing import Any, Final

import pytest

from builders import JobBuilder, accepted, make_job
from neuron_operator.planning.objects import desired

from .requests import Requests
from .world import World

BATCH: Final = ("data.global_batch_size", 64)
KINDS: Final[dict[str, JobBuilder]] = {
    "one node, CPU": make_job(),
    "many nodes, CPU": make_job().nodes(3),
    "Trainium 1": make_job().nodes(2).trainium("trn1.32xlarge").config("trainer.devices", 32).config(*BATCH),
    "Trainium 2": make_job().trainium("trn2.48xlarge").config("trainer.devices", 64).config(*BATCH),
    "a template that adds what it may": make_job().pod_template(
        {
            "spec": {
                "securityContext": {"fsGroup": 1000, "runAsUser": 1000},
                "containers": [{"name": "trainer", "resources": {"requests": {"cpu": "1"}}}],
                "volumes": [{"name": "scratch", "emptyDir": {}}],
            }
        }
    ),
}
BREACHES: Final[dict[str, dict[str, Any]]] = {
    "the host's processes": {"spec": {"hostPID": True}},
    "a path of the host": {"spec": {"volumes": [{"name": "x", "hostPath": {"path": "/"}}]}},
    "root": {"spec": {"containers": [{"name": "trainer", "securityContext": {"runAsNonRoot": False}}]}},
    "a capability": {
        "spec": {"containers": [{"name": "trainer", "securityContext": {"capabilities": {"add": ["NET_ADMIN"]}}}]}
    },
    "a sidecar that says nothing": {"spec": {"containers": [{"name": "logs", "image": "logs:1"}]}},
}


@pytest.fixture
def restricted(world: World) -> World:
    level = "pod-security.kubernetes.io/enforce=restricted"
    world.plane.kubectl(
        "label", "namespace", world.namespace, level, "pod-security.kubernetes.io/enforce-version=latest"
    )
    return world


def create(world: World, job: JobBuilder) -> tuple[int, dict[str, Any], list[str]]:
    """Dry: admission is asked, nothing is stored."""
    built = job.metadata(namespace=world.namespace).build()
    body = desired.pod(built, accepted(built), 0, 0, avoid=("node-7",))
    with Requests(world.plane) as requests:
        return requests.post(f"/api/v1/namespaces/{world.namespace}/pods?dryRun=All", body)


async def test_pods_of_every_kind_are_admitted_without_a_warning(restricted: World) -> None:
    for kind, job in KINDS.items():
        status, answer, warnings = create(restricted, job)
        assert (status, warnings) == (201, []), (kind, answer.get("message"))


async def test_what_a_template_breaks_is_refused_with_the_level_and_the_field(restricted: World) -> None:
    for name, template in BREACHES.items():
        status, answer, _ = create(restricted, make_job().pod_template(template))
        assert status == 403, (name, answer["message"])
        assert 'violates PodSecurity "restricted:latest"' in answer["message"], name
