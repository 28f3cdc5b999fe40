"""What the command line and the Python client ask the API server beyond reads of one job."""

from collections.abc import Iterator

import pytest

from neuron_operator.cli.live.connection import Access, Connection, connect
from neuron_operator.kube.errors import JobMissingError, UserInputError

from .world import JOB, World, manifest


@pytest.fixture
def connection(world: World) -> Iterator[Connection]:
    with connect(Access(str(world.plane.kubeconfig), namespace=world.namespace)) as opened:
        yield opened


async def test_a_job_is_created_listed_and_deleted(world: World, connection: Connection) -> None:
    assert connection.jobs() == []
    created = connection.create_job(manifest())
    assert created is not None
    assert created["metadata"]["uid"]
    assert [job["metadata"]["name"] for job in connection.jobs()] == [JOB]
    assert connection.create_job(manifest()) is None
    connection.delete_job(JOB)
    assert connection.jobs() == []
    with pytest.raises(JobMissingError, match=f"there is no NeuronTrainingJob {JOB}"):
        connection.delete_job(JOB)


async def test_a_job_that_the_crd_refuses_is_one_sentence(world: World, connection: Connection) -> None:
    with pytest.raises(UserInputError, match=r"the API server refuses the job: .*trainer\.devices"):
        connection.create_job(manifest(trainer__devices="many"))
    assert connection.jobs() == []


async def test_a_pod_without_a_log_has_no_lines(world: World, connection: Connection) -> None:
    world.apply(manifest())
    await world.reconcile()
    assert connection.log_lines(f"{JOB}-0-0") is None
    assert connection.log_lines("no-such-pod", follow=True) is None
