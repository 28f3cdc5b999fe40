"""Names that a user writes into a job become a part of a path: they must not become another path.

The operator may read ConfigMaps in every namespace. A job's `configMapKeyRef.name` of `../../other/configmaps/theirs`
was one (the HTTP client resolves `..`), and the job's condition and its own copy told what was in there. How far this
looked: every field of a job whose name is asked for, names that change the path, the query or the fragment, encoded
ones, and every verb of the gateway.
"""

from types import SimpleNamespace
from typing import Any, Final

import pytest
import yarl
from pydantic import ValidationError

from builders import make_job
from neuron_operator.kube import gateway as api
from neuron_operator.kube.errors import NotFoundError
from neuron_operator.kube.gateway import Cluster
from neuron_operator.readers import job_reader

EVIL: Final = (
    "../../other/configmaps/theirs", "..", ".", "../pods", "a/b", "/", "a/../../b", "x?watch=true", "x#y", "x\\y",
    "..%2f..%2fother%2fconfigmaps%2ftheirs", "%2e%2e", "a b", "a\r\nHost: b", "\x00", "\u2024\u2024/x", "", " ",
)  # fmt: skip


class Recording(Cluster):
    """Has what is asked for, whatever that is, and remembers where it was asked."""

    def __init__(self) -> None:
        super().__init__(SimpleNamespace())  # type: ignore[arg-type]
        self.paths: list[str] = []

    async def _call(self, verb: str, kind: Any, path: str, *_: Any) -> Any:  # type: ignore[override]
        self.paths.append(yarl.URL(f"https://server{path}").raw_path)
        return {"metadata": {"name": "theirs", "uid": "x"}, "data": {"config.yaml": "name: a secret"}}


@pytest.mark.parametrize("name", EVIL, ids=ascii)
async def test_a_name_that_no_object_can_have_is_not_asked_for(name: str) -> None:
    cluster = Recording()
    for kind in (api.CONFIG_MAP, api.CLAIM, api.JOB, api.POD):
        assert await cluster.find(kind, "team", name) is None
        with pytest.raises(NotFoundError, match="no object can have this name"):
            await cluster.get(kind, "team", name)
    assert cluster.paths == []


@pytest.mark.parametrize("name", EVIL, ids=ascii)
async def test_nothing_is_written_or_deleted_under_such_a_name(name: str) -> None:
    cluster, body = (
        Recording(),
        {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"namespace": "team", "name": name}},
    )
    await cluster.delete(api.POD, "team", name, "uid")
    await cluster.patch(api.POD, body)
    for write in (cluster.apply(body), cluster.replace(api.JOB, body, "status")):
        with pytest.raises(NotFoundError):
            await write
    assert cluster.paths == []


@pytest.mark.parametrize("name", ["tiny", "tiny.v2-3", "kube-root-ca.crt", "a" * 253, "system:node", "UPPER_case"])
async def test_a_name_that_an_object_may_have_is_asked_for_where_it_is(name: str) -> None:
    cluster = Recording()
    await cluster.get(api.CONFIG_MAP, "team", name)
    assert cluster.paths == [f"/api/v1/namespaces/team/configmaps/{name}"]


@pytest.mark.parametrize("name", EVIL[:-2], ids=ascii)
async def test_a_job_reads_no_configuration_of_another_namespace(name: str) -> None:
    """The API server refuses such a job; one that was stored before it did is told that there is no such ConfigMap."""
    job = make_job().config_from("mine", "config.yaml").build()
    reference = job.spec.config_from
    assert reference is not None
    evil = reference.model_copy(
        update={"config_map_key_ref": reference.config_map_key_ref.model_copy(update={"name": name})}
    )
    stored = job.model_copy(update={"spec": job.spec.model_copy(update={"config_from": evil})})
    cluster = Recording()
    found = await job_reader._config(cluster, stored, None)
    assert found.text is None
    assert "there is no ConfigMap" in found.missing
    assert found.missing.isprintable()
    assert cluster.paths == []


@pytest.mark.parametrize("name", EVIL, ids=ascii)
@pytest.mark.parametrize("field", ["configMapKeyRef.name", "configMapKeyRef.key", "claimName", "queueName"])
def test_the_schema_refuses_it(field: str, name: str) -> None:
    """As the API server does: the patterns are in the CRD."""
    job = make_job()
    with pytest.raises(ValidationError):
        match field:
            case "configMapKeyRef.name":
                job.config_from(name, "config.yaml").build()
            case "configMapKeyRef.key":
                job.config_from("mine", "x/" if name in ("..", ".", "%2e%2e") else name).build()
            case "claimName":
                job.storage({"claimName": name, "mountPath": "/training"}).build()
            case "queueName":
                job.spec(scheduling={"gang": "Kueue", "queueName": name}).build()
