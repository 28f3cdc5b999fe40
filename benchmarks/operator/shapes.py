"""The same work for everybody: a NeuronTrainingJob, a PyTorchJob with the same pods, and the pods themselves."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import yaml
from servers import NODE

from controlplane.locations import REPOSITORY
from neuron_api import contract

Json = dict[str, Any]

OURS = f"/apis/{contract.API_VERSION}/namespaces/{{}}/{contract.PLURAL}"
THEIRS = "/apis/kubeflow.org/v1/namespaces/{}/pytorchjobs"
PODS = "/api/v1/namespaces/{}/pods"
BESIDE_PODS = (
    "/api/v1/namespaces/{}/configmaps",
    "/api/v1/namespaces/{}/services",
    "/apis/events.k8s.io/v1/namespaces/{}/events",
)
IMAGE = "trainer.example/cpu:1"

CLAIM = {
    "apiVersion": "v1",
    "kind": "PersistentVolumeClaim",
    "metadata": {"name": "training"},
    "spec": {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}},
}


def job(name: str, pods: int) -> Json:
    """The quickstart's job, bound to the fake node."""
    documents = yaml.safe_load_all((REPOSITORY / "examples" / "quickstart.yaml").read_text())
    body: Json = next(document for document in documents if document["kind"] == contract.KIND)
    body["metadata"]["name"] = name
    body["spec"]["image"] = IMAGE
    body["spec"]["config"]["trainer"]["num_nodes"] = pods
    body["spec"]["config"]["data"]["global_batch_size"] = 4 * pods
    body["spec"]["podTemplate"]["spec"]["nodeName"] = NODE
    return body


def pytorch_job(name: str, pods: int, pod: Json) -> Json:
    """One master and workers with the spec of our pods; `ExitCode` is the policy that replaces single pods."""
    spec = copy.deepcopy(pod["spec"])
    for key in ("hostname", "subdomain", "restartPolicy"):
        spec.pop(key, None)
    spec["containers"][0]["name"] = "pytorch"
    replica = {"restartPolicy": "ExitCode", "template": {"spec": spec}}
    replicas = {"Master": {"replicas": 1, **replica}}
    if pods > 1:
        replicas["Worker"] = {"replicas": pods - 1, **copy.deepcopy(replica)}
    return {
        "apiVersion": "kubeflow.org/v1",
        "kind": "PyTorchJob",
        "metadata": {"name": name},
        "spec": {"runPolicy": {"cleanPodPolicy": "None"}, "pytorchReplicaSpecs": replicas},
    }


def bare(thing: Json) -> Json:
    """What was sent to create it."""
    body = {key: value for key, value in copy.deepcopy(thing).items() if key != "status"}
    for key in ("uid", "resourceVersion", "creationTimestamp", "managedFields", "generation", "namespace"):
        body["metadata"].pop(key, None)
    return body


@dataclass
class Written:
    """What our operator writes for one job, beside its pods."""

    job: str
    """Name of the job that it was read from."""
    status: Json
    others: list[tuple[str, Json]]
    """Path of a collection, and what is POSTed there: ConfigMap, Service, Event."""

    def lines(self, namespace: str, names: Iterable[str]) -> str:
        """The same for other jobs."""
        found = [(f"PATCH {OURS.format(namespace)}/{self.job}/status", {"status": self.status})]
        found += [(path.format(namespace), body) for path, body in self.others]
        text = "".join(f"{path}\t{json.dumps(body)}\n" for path, body in found)
        return "".join(text.replace(self.job, name) for name in names)


def lines(path: str, bodies: Iterator[Json]) -> str:
    """For the bare client."""
    return "".join(f"{path}\t{json.dumps(body)}\n" for body in bodies)


def pods(jobs: int, each: int, pod: Json) -> Iterator[Json]:
    """All pods of so many jobs, as our operator would name them."""
    for number in range(jobs):
        for index in range(each):
            body = {**pod, "metadata": {**pod["metadata"], "name": f"j{number}-0-{index}"}}
            yield body
