"""The cluster's backend without a cluster: what is stored for each call, and which errors it makes of the connection's.

The connection is a stand-in that stores what it is given and refuses as the API server does; tests/integration has the
real one.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from neuron_client import FindingsError, JobExistsError, JobNotFoundError, NeuronTrainingClient, RequestError
from neuron_operator.kube.errors import JobMissingError

ROOT = Path(__file__).parents[3]
Json = dict[str, Any]


class StoredJobs:
    """Stands in for a `Connection`."""

    def __init__(self, namespace: str = "team") -> None:
        self.namespace = namespace
        self.stored: dict[str, Json] = {}
        self.others: dict[str, StoredJobs] = {}

    def in_namespace(self, namespace: str) -> "StoredJobs":
        return self.others.setdefault(namespace, StoredJobs(namespace))

    def create_job(self, body: Json) -> Json | None:
        name = body["metadata"]["name"]
        assert body.keys() == {"apiVersion", "kind", "metadata", "spec"}, "the server sets the rest"
        if name in self.stored:
            return None
        metadata = {**body["metadata"], "namespace": self.namespace, "uid": name, "generation": 1}
        self.stored[name] = {**body, "metadata": metadata}
        return self.stored[name]

    def job(self, name: str) -> Json:
        if name not in self.stored:
            raise JobMissingError(f"there is no NeuronTrainingJob {name}")
        return self.stored[name]

    def jobs(self) -> list[Json]:
        return list(self.stored.values())

    def change(self, name: str, spec: Json) -> Json:
        self.job(name)["spec"].update(spec)
        return self.stored[name]

    def delete_job(self, name: str) -> None:
        self.job(name)
        del self.stored[name]


@pytest.fixture
def jobs() -> StoredJobs:
    return StoredJobs()


@pytest.fixture
def client(jobs: StoredJobs, monkeypatch: pytest.MonkeyPatch) -> Iterator[NeuronTrainingClient]:
    monkeypatch.chdir(ROOT)
    with NeuronTrainingClient() as made:
        made._backend._opened = jobs  # type: ignore[attr-defined]
        yield made


def quickstart() -> Json:
    documents = yaml.safe_load_all((ROOT / "examples" / "quickstart.yaml").read_text())
    return next(dict(document) for document in documents if document["kind"] == "NeuronTrainingJob")


def configuration() -> Json:
    return dict(quickstart()["spec"]["config"])


def test_a_configuration_is_stored_as_a_job(client: NeuronTrainingClient, jobs: StoredJobs) -> None:
    job = client.train(
        configuration(), name="a", nodes=1, accelerator="cpu", storage={"training": "/training", "models": "/models"},
        image="mine:1", overrides={"trainer.max_steps": 7},
    )  # fmt: skip
    assert (job.name, job.namespace, job.phase, job.message) == (
        "a",
        "team",
        "Pending",
        "no operator has looked at it yet",
    )
    spec = jobs.stored["a"]["spec"]
    assert spec["platform"] == {"accelerator": "CPU"}
    assert spec["storage"] == [
        {"claimName": "training", "mountPath": "/training"},
        {"claimName": "models", "mountPath": "/models"},
    ]
    assert (spec["image"], spec["config"]["trainer"]["num_nodes"]) == ("mine:1", 1)
    assert spec["config"]["trainer"]["max_steps"] == 7
    with pytest.raises(JobExistsError, match="there is a job a in namespace team: choose another name"):
        client.train(configuration(), name="a", accelerator="CPU", storage="training")
    assert [listed.name for listed in client.list()] == ["a"]


def test_a_manifest_is_stored_with_what_the_call_changes(client: NeuronTrainingClient, jobs: StoredJobs) -> None:
    manifest = {**quickstart(), "status": {"phase": "Succeeded"}}
    manifest["metadata"] |= {"uid": "1", "resourceVersion": "3", "labels": {"team": "a"}}
    client.train(manifest)
    client.train(manifest, name="b", nodes=1, storage="training", overrides=["trainer.max_steps=7"])
    first, second = jobs.stored["quickstart"], jobs.stored["b"]
    assert first["spec"] == quickstart()["spec"]
    assert first["metadata"]["labels"] == {"team": "a"}
    assert second["spec"]["config"]["trainer"] == {**first["spec"]["config"]["trainer"], "num_nodes": 1, "max_steps": 7}
    assert second["spec"]["storage"] == [{"claimName": "training", "mountPath": "/training"}]


def test_what_the_server_has_set_is_left_out_and_what_a_person_has_set_is_not(
    client: NeuronTrainingClient, jobs: StoredJobs
) -> None:
    manifest = quickstart()
    manifest["metadata"] |= {"generation": 3, "managedFields": [{}], "finalizers": ["example.com/keep"]}
    client.train(manifest)
    assert jobs.stored["quickstart"]["metadata"]["finalizers"] == ["example.com/keep"]
    assert "managedFields" not in jobs.stored["quickstart"]["metadata"]


def test_the_number_of_nodes_wins_over_an_override(client: NeuronTrainingClient, jobs: StoredJobs) -> None:
    client.train(quickstart(), nodes=1, overrides=["trainer.num_nodes=4"])
    client.train(configuration(), name="a", nodes=1, overrides={"trainer.num_nodes": 4}, accelerator="CPU")
    specs = [job["spec"] for job in jobs.stored.values()]
    assert [spec["config"]["trainer"]["num_nodes"] for spec in specs] == [1, 1]


def test_the_namespace_of_a_manifest_is_where_its_job_is(client: NeuronTrainingClient, jobs: StoredJobs) -> None:
    manifest = quickstart()
    manifest["metadata"]["namespace"] = "other"
    job = client.train(manifest)
    assert (job.namespace, jobs.stored) == ("other", {})
    assert client.get(job).namespace == "other"
    with pytest.raises(JobExistsError, match="there is a job quickstart in namespace other"):
        client.train(manifest)
    with pytest.raises(JobNotFoundError):
        client.get("quickstart")
    client.delete(job)
    assert jobs.others["other"].stored == {}


def test_a_namespace_beside_another_one_is_refused(jobs: StoredJobs) -> None:
    manifest = quickstart()
    manifest["metadata"]["namespace"] = "other"
    with NeuronTrainingClient(namespace="team") as client:
        client._backend._opened = jobs  # type: ignore[attr-defined]
        with pytest.raises(RequestError, match="the job says namespace other, and the client has namespace team"):
            client.train(manifest)
        manifest["metadata"]["namespace"] = "team"
        assert client.train(manifest).namespace == "team"


def test_suspended_resumed_and_deleted(client: NeuronTrainingClient, jobs: StoredJobs) -> None:
    job = client.train(quickstart())
    assert client.suspend(job).resource.spec.suspend is True  # type: ignore[union-attr]
    assert client.resume(job).resource.spec.suspend is False  # type: ignore[union-attr]
    jobs.stored["quickstart"]["status"] = {"phase": "Failed"}
    with pytest.raises(RequestError, match=r"quickstart is over \(Failed\): it cannot be resumed"):
        client.resume(job)
    client.delete(job)
    with pytest.raises(JobNotFoundError, match="there is no NeuronTrainingJob quickstart"):
        client.get(job)


@pytest.mark.parametrize(
    ("changes", "arguments", "message"),
    [
        ({"seed": None}, {"accelerator": "CPU", "storage": "training"}, "seed"),
        ({}, {"instance_type": "p4d.24xlarge", "storage": "training"}, "p4d.24xlarge"),
        ({}, {"accelerator": "CPU", "storage": {"training": "relative"}}, r"spec\.storage"),
        ({"model": {}}, {"accelerator": "CPU", "storage": "training"}, r"model\."),
    ],
)
def test_what_the_operator_would_refuse_is_not_stored(
    client: NeuronTrainingClient, jobs: StoredJobs, changes: Json, arguments: Json, message: str
) -> None:
    config = {key: value for key, value in {**configuration(), **changes}.items() if value is not None}
    with pytest.raises(FindingsError, match=message):
        client.train(config, name="a", **arguments)
    with pytest.raises(FindingsError, match=message):
        spec = {**quickstart()["spec"], "config": config}
        client.train({**quickstart(), "spec": spec}, **arguments)
    assert jobs.stored == {}


def test_an_accelerator_that_does_not_exist_is_named(client: NeuronTrainingClient) -> None:
    with pytest.raises(RequestError, match="there is no accelerator 'tpu': Neuron, CPU, CUDA"):
        client.plan(configuration(), accelerator="tpu")
