"""What is wrong with a job is said once: by `kubectl apply` where it can know, by one condition otherwise."""

from collections.abc import Callable
from typing import Any

import pytest

from controlplane.errors import CommandFailed

from .world import JOB, World, manifest

Json = dict[str, Any]


def on_trainium(job: Json, instance_type: str, devices: int) -> Json:
    job["spec"]["platform"] = {"instanceType": instance_type}
    job["spec"]["config"]["trainer"]["devices"] = devices
    return job


def without_storage(job: Json) -> Json:
    del job["spec"]["storage"]
    return job


def with_both_sources(job: Json) -> Json:
    job["spec"]["configFrom"] = {"configMapKeyRef": {"name": "a", "key": "b"}}
    return job


REFUSED: dict[str, tuple[Callable[[], Json], str, str]] = {
    "unknown key": (
        lambda: manifest(trainer__max_stepz=3),
        "spec.config.trainer.max_stepz",
        "unknown field",
    ),
    "world size not divisible": (
        lambda: manifest(distributed_strategy__tensor_model_parallel_size=3),
        "tensor_model_parallel_size",
        "Change them so that the product divides the processes. [NTJ-2301]",
    ),
    "batch size not divisible": (
        lambda: manifest(data__global_batch_size=18),
        "data.global_batch_size",
        "Use a multiple; `kubectl neuron plan` names two. [NTJ-2302]",
    ),
    "more devices than the instance type has": (
        lambda: on_trainium(manifest(), "trn1.32xlarge", 66),
        "spec.config.trainer.devices",
        "Use fewer, and more nodes. [NTJ-3004]",
    ),
    "unknown instance type": (
        lambda: on_trainium(manifest(), "p5.48xlarge", 2),
        "spec.platform.instanceType",
        "Use one of trn1.2xlarge",
    ),
    "no claim for several nodes": (lambda: without_storage(manifest()), "spec.storage", "Add an entry with claimName"),
    "an optimizer that there is not": (
        lambda: manifest(model__optim__name="lion"),
        "spec.config.model.optim.name",
        "Use one of the list. [NTJ-1404]",
    ),
    "both sources": (
        lambda: with_both_sources(manifest()),
        "spec.config",
        "exactly one of spec.config and spec.configFrom",
    ),
    "a name that is no host name": (lambda: manifest(name="a" * 60), "metadata.name", "at most 48 characters"),
    "a name that no Service can have": (lambda: manifest(name="7b-llama"), "metadata.name", "a letter first"),
    "a key without its value": (lambda: manifest(trainer__devices=None), "spec.config.trainer.devices", "Required"),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_kubectl_apply_says_it(world: World, case: str) -> None:
    make, key, remedy = REFUSED[case]
    for dry_run in ([], ["--dry-run=server"]):
        with pytest.raises(CommandFailed) as refused:
            world.kubectl("apply", *dry_run, "-f", "-", stdin=make())
        assert key in str(refused.value)
        assert remedy in str(refused.value)


TOLD: dict[str, tuple[Callable[[], Json], str, tuple[str, ...]]] = {
    "a misspelled key of an open section": (
        lambda: manifest(model__num_layer=3),
        "ConfigInvalid",
        ("model.num_layer", "Did you mean num_layers?"),
    ),
    "a size that only the resolved value tells": (
        lambda: manifest(distributed_strategy__tensor_model_parallel_size="${add:1,2}"),
        "ConfigInvalid",
        ("distributed_strategy.tensor_model_parallel_size", "divides the processes"),
    ),
    "an interpolation of a key that is not there": (
        lambda: manifest(model__optim__lr="${trainer.rate}"),
        "ConfigInvalid",
        ("model.optim", "Name a key that exists"),
    ),
    "a schedule of a later release": (
        lambda: manifest(model__optim__sched__name="CyclicLR"),
        "ConfigInvalid",
        ("model.optim.sched.name", "'CyclicLR' is not supported", "Supported: LinearAnnealingWithWarmUp"),
    ),
    "no place for checkpoints on the claim": (
        lambda: manifest(exp_manager__exp_dir="/elsewhere"),
        "StorageMissing",
        ("spec.storage", "/elsewhere", "Add an entry with claimName"),
    ),
}


@pytest.mark.parametrize("case", TOLD)
async def test_one_condition_says_it_and_nothing_is_started(world: World, case: str) -> None:
    make, reason, words = TOLD[case]
    world.apply(make())
    assert await world.reconcile() is None
    for kind in ("Stalled", "ConfigValid"):
        status, found, message = await world.condition(kind)
        assert status == ("True" if kind == "Stalled" else "False")
        assert found == reason
        assert all(word in message for word in words), message
    assert await world.pods() == []


async def test_a_claim_that_does_not_exist_is_waited_for(world: World) -> None:
    job = manifest()
    job["spec"]["storage"][0]["claimName"] = "elsewhere"
    world.apply(job)
    assert await world.reconcile() == 10.0  # looked for again
    status, reason, message = await world.condition("Stalled")
    assert (status, reason) == ("True", "ClaimNotFound")
    assert "spec.storage[0].claimName" in message
    assert "Create it; the job then continues." in message
    assert await world.pods() == []


async def test_an_image_that_does_not_exist_is_told_with_the_kubelets_words(world: World) -> None:
    job = manifest()
    job["spec"]["image"] = "nowhere.example/nothing:1"
    world.apply(job)
    await world.reconcile()
    await world.waiting(f"{JOB}-0-0", "ImagePullBackOff", "Back-off pulling image")
    await world.reconcile()
    status, reason, message = await world.condition("Stalled")
    assert (status, reason) == ("True", "ImagePullFailed")
    assert "spec.image: " in message
    assert "Fix the name or the pull secret" in message


async def test_a_pod_template_that_the_api_server_refuses_is_told_with_its_words(world: World) -> None:
    job = manifest()
    job["spec"]["podTemplate"]["spec"]["containers"][0]["resources"]["requests"] = {"cpu": "much"}
    world.apply(job)
    await world.reconcile()
    status, reason, message = await world.condition("Stalled")
    assert (status, reason) == ("True", "PodRejected")
    assert "spec.podTemplate" in message
    assert "much" in message or "quantit" in message


async def test_a_service_of_somebody_else_with_the_jobs_name_is_not_touched(world: World) -> None:
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": JOB},
        "spec": {"ports": [{"port": 80}], "selector": {"app": "other"}},
    }
    world.apply(service)
    world.apply(manifest())
    await world.reconcile()
    status, reason, message = await world.condition("Stalled")
    assert (status, reason) == ("True", "NameTaken")
    assert "Delete it, or give the job another name." in message
    assert world.kubectl("get", "service", JOB, "-o", "jsonpath={.spec.selector.app}") == "other"


async def test_a_refused_configuration_can_be_mended_in_place(world: World) -> None:
    world.apply(manifest(model__num_layer=3))
    await world.reconcile()
    assert (await world.condition("Stalled"))[:2] == ("True", "ConfigInvalid")
    world.apply(manifest())
    await world.reconcile()
    assert (await world.condition("Stalled"))[0] == "False"
    assert len(await world.pods()) == 2


async def test_a_started_jobs_configuration_cannot_be_changed(world: World) -> None:
    await world.start()
    with pytest.raises(CommandFailed, match="cannot be changed"):
        world.apply(manifest(trainer__max_steps=999))
