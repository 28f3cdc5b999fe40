"""`kubectl neuron status`, `why`, `logs`, `checkpoints`, `suspend`, `resume` as users type them, on a real API server.

With RECORD_SIGHTINGS=1 the job, pods and events of each stage are written to tests/data/sightings, which the unit tests
of the command line and of the GitOps health checks read.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from controlplane.errors import CommandFailed
from neuron_api import contract
from neuron_api.resource.progress import ProcessFailure, Recovery, TrainerPhase
from neuron_operator.cli.__main__ import main
from neuron_operator.kube import gateway as api

from .world import JOB, World, manifest, until, utc

Json = dict[str, Any]
Say = Callable[..., str]

CRD = f"{contract.PLURAL}.{contract.GROUP}"
SIGHTINGS = Path(__file__).parents[1] / "data" / "sightings"


@pytest.fixture
def say(world: World, capsys: pytest.CaptureFixture[str]) -> Say:
    """What a command prints; the exit code is wanted to be 0, or `code`."""

    def run(*arguments: str, code: int = 0, kubeconfig: Path | None = None) -> str:
        flags = ("--kubeconfig", str(kubeconfig or world.plane.kubeconfig), "-n", world.namespace)
        assert main([*arguments, *flags]) == code
        said = capsys.readouterr()
        return said.out if code == 0 else said.err

    return run


async def record(world: World, stage: str) -> None:
    """What a command would read now, without the fields that none reads and that would be most of the bytes."""
    if not os.environ.get("RECORD_SIGHTINGS"):
        return
    events = await world.cluster.list(api.Kind("v1", "events"), world.namespace)
    pods = [{**pod, "spec": {"nodeName": pod["spec"].get("nodeName", "")}} for pod in await world.pods()]
    found = {
        "job": await world.cluster.get(api.JOB, world.namespace, JOB),
        "pods": pods,
        "events": [one for one in events if one["involvedObject"]["kind"] in (contract.KIND, "Pod")],
        "moment": utc().isoformat(),
    }
    SIGHTINGS.mkdir(exist_ok=True)
    text = json.dumps(trimmed(found), indent=1, sort_keys=True).replace(world.namespace, "team")
    (SIGHTINGS / f"{stage}.json").write_text(f"{text}\n")


def trimmed(value: Any) -> Any:
    """Without `managedFields` and annotations, at every depth."""
    if isinstance(value, dict):
        return {key: trimmed(one) for key, one in value.items() if key not in ("managedFields", "annotations")}
    return [trimmed(one) for one in value] if isinstance(value, list) else value


async def test_a_job_is_followed_from_its_creation_to_its_end(world: World, say: Say) -> None:
    world.apply(manifest())
    await record(world, "created")
    assert f"{JOB} waits for the operator" in say("why", JOB)
    assert "no operator has looked at it yet" in say("status", JOB)

    await world.reconcile()
    await record(world, "starting")
    assert "PodsCreated: The pods have been created and are starting." in say("why", JOB)

    await world.waiting(f"{JOB}-0-1", "ImagePullBackOff", "Back-off pulling image")
    told = say("why", f"ntj/{JOB}")  # before the operator has seen it
    assert told.startswith(f"{JOB} has waited for ")
    assert "ImagePullFailed: the operator's default image (spec.image is not set): trainer.example/cpu:1" in told
    assert "Fix spec.image or the pull secret" in told.splitlines()[1]
    await world.reconcile()
    await record(world, "image")
    assert say("why", JOB).startswith(f"{JOB} has stood still for ")

    await world.run_all()
    await world.report(0, phase=TrainerPhase.LOADING)
    await world.reconcile()
    await record(world, "loading")
    assert "WaitingForFirstStep" in say("why", JOB)

    await world.report(20, tokens_per_second=1000.0)
    await world.reconcile()
    await record(world, "running")
    assert "waits for nothing: step 20 of 240 was finished" in say("why", JOB)
    shown = say("status", JOB)
    assert shown.startswith(f"{JOB}  Running  in namespace {world.namespace}, started ")
    # 220 steps of 8 x 128 tokens (examples/quickstart.yaml) at 1000 tokens/s
    batch = yaml.safe_load(shown_config(manifest()))
    tokens = batch["data"]["global_batch_size"] * batch["model"]["encoder_seq_length"]
    assert f"step 20 of 240 (8 %), loss 3.8000, 1,000 tokens/s, {span(220 * tokens / 1000)} left" in shown
    assert "nodes        2/2, 2 processes in each" in shown
    assert "checkpoint   step 20, " in shown
    assert "StepsAdvancing: The first step has been finished." in shown

    await world.report(240, phase=TrainerPhase.SAVING)
    await world.reconcile()
    for name in await world.pod_names():
        await world.end(name, 0)
    await world.reconcile()
    await record(world, "succeeded")
    assert f"{JOB} has ended as configured" in say("why", JOB)
    last = say("status", JOB, "--watch").splitlines()
    assert len(last) == 1
    assert "Succeeded, nodes " in last[0]


def shown_config(job: Json) -> str:
    return yaml.safe_dump(job["spec"]["config"])


def span(seconds: float) -> str:
    from neuron_operator.planning.status.pace import format_duration

    return format_duration(seconds)


async def test_a_failure_is_told_with_its_first_rank_and_the_last_words_of_a_pod_that_is_gone(
    world: World, say: Say
) -> None:
    await world.start()
    assert "no failure is known" in say("logs", JOB, "--first-failure")
    failure = ProcessFailure(time=utc(), round=0, rank=3, local_rank=1, exit_code=1, step=27, message="ValueError: nan")
    await world.report(27, round=1, phase=TrainerPhase.LOADING, failures=(failure,))
    await world.reconcile()
    await record(world, "restarting")
    why = say("why", JOB)
    assert "ProcessFailed: rank 3 in pod tiny-0-0" in why
    assert "what to do   A process ended with an error" in why
    recovery = Recovery(round=1, resumed_from_step=20, steps_lost=7, first_step_time=utc())
    await world.report(28, round=1, failures=(failure,), recoveries=(recovery,))
    await world.reconcile()
    assert "Recovered: from step 20, 7 steps again" in say("status", JOB)
    assert "20    -    yes       restart 1  -" in say("checkpoints", JOB)

    world.kubectl("delete", "pod", f"{JOB}-0-0", "--grace-period=0", "--force")
    await world.reconcile()
    first = say("logs", JOB, "--first-failure", "--restart", "1")
    assert first.startswith("ProcessFailed: rank 3 in pod tiny-0-0 (exit code 1) after step 27: ValueError: nan.")
    assert "Pod tiny-0-0 is gone, and its log with it. Its last words:\n  ValueError: nan\n" in first
    assert "restarts 1 to 2 in its ledger, not 7" in say("logs", JOB, "--first-failure", "--restart", "7", code=2)


async def test_what_the_trainer_refused_is_told_although_the_ledger_has_no_line_of_it(world: World, say: Say) -> None:
    await world.start()
    words = "data.train_dir: there is no directory /training/data."
    await world.end(f"{JOB}-0-0", 2, words)
    await world.reconcile()
    await record(world, "failed")
    assert f"TrainerRefusedConfig: Pod {JOB}-0-0: {words}" in say("why", JOB)
    told = say("logs", JOB, "--first-failure")
    assert told.startswith(f"pod {JOB}-0-0 failed with exit code 2 (Error).")
    assert words in told


async def test_a_claim_that_is_not_there_and_a_configuration_that_cannot_be_are_told(world: World, say: Say) -> None:
    world.kubectl("delete", "pvc", "training")
    world.apply(manifest())
    await world.reconcile()
    await record(world, "claim")
    told = say("why", JOB)
    assert told.startswith(f"{JOB} has stood still for ")
    assert "ClaimNotFound: spec.storage[0].claimName: there is no PersistentVolumeClaim training" in told
    world.kubectl("delete", "ntj", JOB)
    world.apply(manifest(model__num_layer=3))
    await world.reconcile()
    await record(world, "invalid")
    assert "ConfigInvalid: " in say("why", JOB)


async def test_suspend_and_resume_write_one_field_under_a_name_of_their_own(world: World, say: Say) -> None:
    await know_suspend(world)
    world.apply(manifest())
    await world.reconcile()
    told = say("suspend", JOB)
    assert told.startswith(f"{JOB} will be suspended")
    body = await world.cluster.get(api.JOB, world.namespace, JOB)
    assert body["spec"]["suspend"] is True
    (entry,) = [one for one in body["metadata"]["managedFields"] if one["manager"] == "kubectl-neuron"]
    assert entry["fieldsV1"] == {"f:spec": {"f:suspend": {}}}
    version = body["metadata"]["resourceVersion"]
    assert "is already suspended or being suspended (spec.suspend is true)" in say("suspend", JOB)
    assert (await world.cluster.get(api.JOB, world.namespace, JOB))["metadata"]["resourceVersion"] == version
    assert say("resume", JOB).startswith(f"{JOB} will be resumed")
    assert (await world.cluster.get(api.JOB, world.namespace, JOB))["spec"]["suspend"] is False


async def know_suspend(world: World) -> None:
    """The definition has spec.suspend, or is given it."""
    path = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/suspend"
    crd = await world.cluster.get(
        api.Kind("apiextensions.k8s.io/v1", "customresourcedefinitions", namespaced=False), "", CRD
    )
    if "suspend" in crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]:
        return
    change = [{"op": "add", "path": path, "value": {"type": "boolean"}}]
    world.kubectl("patch", "crd", CRD, "--type=json", "--patch", json.dumps(change))
    probe = manifest("probe")
    probe["spec"]["suspend"] = True

    async def served() -> bool:
        try:
            world.kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", stdin=probe)
        except CommandFailed:
            return False
        return True

    await until("spec.suspend to be served", served)


# ---- what cannot be done -----------------------------------------------------------------------------------------


async def test_a_name_that_is_not_there_is_answered_with_the_one_that_was_meant(world: World, say: Say) -> None:
    assert "is it in another one (-n)?" in say("status", "quickstart", code=1)
    world.apply(manifest())
    assert say("status", "tinny", code=1) == (
        f"kubectl neuron: there is no NeuronTrainingJob tinny in namespace {world.namespace}; did you mean tiny?\n"
    )
    assert say("why", "llama", code=1).endswith("; there are: tiny\n")


async def test_without_rights_the_sentence_names_the_verb_and_the_resource(
    world: World, say: Say, tmp_path: Path
) -> None:
    world.apply(manifest())
    await world.reconcile()
    nobody = account(world, tmp_path, "nobody")
    told = say("status", JOB, code=1, kubeconfig=nobody)
    assert f"you may not get neurontrainingjobs.neurontraining.dev in namespace {world.namespace}" in told
    assert 'apiGroups: ["neurontraining.dev"], resources: [neurontrainingjobs], verbs: [get]' in told

    rules = ("--verb=get", "--resource=neurontrainingjobs.neurontraining.dev")
    world.kubectl("create", "role", "reader", *rules)
    world.kubectl("create", "rolebinding", "reader", "--role=reader", f"--serviceaccount={world.namespace}:nobody")
    shown = say("status", JOB, kubeconfig=nobody)
    assert shown.startswith(f"{JOB}  Starting")
    assert "not read     you may not list pods" in shown
    assert "verbs: [patch]" in say("suspend", JOB, code=1, kubeconfig=nobody)


def account(world: World, directory: Path, name: str) -> Path:
    """A kubeconfig with the token of a service account and nothing else."""
    world.kubectl("create", "serviceaccount", name)
    content = yaml.safe_load(world.plane.kubeconfig.read_text())
    content["users"][0]["user"] = {"token": world.kubectl("create", "token", name).strip()}
    path = directory / "kubeconfig"
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(content))
    return path


async def test_the_namespace_is_the_contexts_where_none_is_given(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world.apply(manifest())
    content = yaml.safe_load(world.plane.kubeconfig.read_text())
    (context,) = content["contexts"]
    other = {"name": "other", "context": {**context["context"], "namespace": world.namespace}}
    path = tmp_path / "kubeconfig"
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump({**content, "contexts": [context, other]}))
    assert main(["why", JOB, "--kubeconfig", str(path), "--context", "other"]) == 0
    assert main(["why", JOB, "--kubeconfig", str(path)]) == 1
    assert "in namespace default" in capsys.readouterr().err
    assert main(["why", JOB, "--kubeconfig", str(path), "--context", "third"]) == 1
    assert "third" in capsys.readouterr().err


async def test_a_cluster_without_the_definition_is_told_from_a_job_that_is_not_there(
    world: World, say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    from neuron_operator.cli.live import connection

    path = f"/apis/{contract.GROUP}/v9/namespaces/{{}}/{contract.PLURAL}"
    monkeypatch.setattr(connection, "_JOBS", path)
    assert "this cluster knows no NeuronTrainingJob: install the operator's chart" in say("status", JOB, code=1)
