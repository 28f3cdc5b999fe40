"""The verbs that no other test needs, against a real API server."""

from neuron_operator.kube import gateway as api

from .world import World


async def test_a_listing_of_metadata_has_the_versions_of_the_whole_objects_and_nothing_else(world: World) -> None:
    await world.start()
    whole = await world.cluster.list(api.JOB, world.namespace)
    listed = await world.cluster.list_metadata(api.JOB, world.namespace)
    assert [one["resourceVersion"] for one in listed] == [body["metadata"]["resourceVersion"] for body in whole]
    assert {one["namespace"] for one in listed} == {world.namespace}
    page = await world.cluster._call("GET", api.JOB, api.JOB.path(world.namespace), headers=api._METADATA)
    assert "spec" in whole[0]
    assert all("spec" not in one and "status" not in one for one in page["items"])
