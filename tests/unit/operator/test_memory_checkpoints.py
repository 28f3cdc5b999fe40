"""`spec.memoryCheckpoints`: what pods get of it, which jobs cannot have it, and what `plan` says of its memory."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from builders import NOW, OPTIONS, JobBuilder, accepted, make_job
from neuron_api import contract
from neuron_api.resource.reasons import Reason
from neuron_api.resource.status import Restart, RestartScope
from neuron_operator.cli.__main__ import main
from neuron_operator.planning.objects import desired
from neuron_operator.planning.observation.observation import ConfigText
from neuron_operator.planning.status.conditions import resumed_from
from neuron_operator.planning.validation import pod_memory, validation
from neuron_operator.planning.validation.validation import Refused

MODEL = "meta-llama/Llama-3.2-1B"
JOB = make_job().nodes(2).config("model.model_config", MODEL).config("exp_manager.resume_if_exists", True)
COPIES: dict[str, Any] = {"everySteps": 5}
STATE = 1_235_814_400 * (4 + 4 + 4)
"""Bytes of the model's weights and of Adam's two moments in fp32, published number of parameters."""


def _with(**copies: int) -> JobBuilder:
    return JOB.spec(memoryCheckpoints={**COPIES, **copies})


def _trainer(job: JobBuilder) -> dict[str, Any]:
    built = job.build()
    container: dict[str, Any] = desired.pod(built, accepted(built), 1, 0)["spec"]["containers"][0]
    return container


def _refusal(job: JobBuilder) -> str:
    built = job.build()
    answer = validation.validate(built, ConfigText(validation.config_text(built)), OPTIONS)
    assert isinstance(answer, Refused)
    return answer.message


def test_pods_are_told_how_often_and_on_how_many_nodes() -> None:
    variables = {entry["name"]: entry.get("value") for entry in _trainer(_with(replicas=1))["env"]}
    assert (variables[contract.ENV_MEMORY_EVERY_STEPS], variables[contract.ENV_MEMORY_REPLICAS]) == ("5", "1")
    assert contract.ENV_MEMORY_EVERY_STEPS not in {entry["name"] for entry in _trainer(JOB)["env"]}


@pytest.mark.parametrize(("replicas", "states"), [(0, 2), (1, 4)])
def test_the_request_has_two_copies_of_each_process_and_those_of_peers(replicas: int, states: int) -> None:
    container = _trainer(_with(replicas=replicas))
    processes = accepted(JOB.build()).topology.processes_per_node
    requested = pod_memory.parse(container["resources"]["requests"]["memory"])
    assert requested == pytest.approx(processes * states * STATE / 2, rel=0.01), "tensor parallel 2"
    assert "limits" not in container["resources"]
    assert "resources" not in _trainer(JOB)


def test_a_limit_that_the_copies_alone_exceed_is_refused() -> None:
    resources = {"limits": {"memory": "8Gi"}, "requests": {"memory": "2000Gi"}}
    template = {"spec": {"containers": [{"name": contract.CONTAINER, "resources": resources}]}}
    message = _refusal(_with().spec(podTemplate=template))
    assert "limits.memory: 8Gi is not more than the copies in memory need alone" in message
    assert "requests.memory" not in message


@pytest.mark.parametrize(("platform", "is_refused"), [({"accelerator": "CPU"}, True), ({"accelerator": "CUDA"}, False)])
def test_a_limit_that_the_copies_exceed_with_processes_in_host_memory_is_refused(
    platform: dict[str, str], is_refused: bool
) -> None:
    """Weights, gradients and optimizer of a CPU are in the same memory; on a device the host needs little."""
    needed = pod_memory.copies((built := _with().build()).spec, accepted(built).config)
    assert needed is not None
    resources = {"limits": {"memory": f"{needed // 2**20 + 1024}Mi"}}
    template = {"spec": {"containers": [{"name": contract.CONTAINER, "resources": resources}]}}
    job = _with().spec(podTemplate=template, platform=platform)
    if is_refused:
        assert "is not more than the copies in memory need with the processes" in _refusal(job)
    else:
        spec, config = job.build().spec, accepted(built).config
        assert not list(pod_memory.findings(template, needed, pod_memory.processes(spec, config)))


@pytest.mark.parametrize(
    ("job", "message"),
    [
        (_with().config("exp_manager.resume_if_exists", False), "Set exp_manager.resume_if_exists to True"),
        (_with(replicas=1).nodes(1), "no other node"),
    ],
)
def test_a_job_that_cannot_have_copies_is_refused(job: JobBuilder, message: str) -> None:
    assert message in _refusal(job)


def test_plan_counts_the_copies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    body = {key: value for key, value in _with().body.items() if key != "status"}
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(body))
    main(["plan", "-o", "json", "-f", str(tmp_path / "job.yaml")])
    counted = json.loads(capsys.readouterr().out)["memory_copies_bytes"]
    main(["plan", "-f", str(tmp_path / "job.yaml")])
    text = capsys.readouterr().out
    assert f"{counted / 2**30:.1f} GiB of shared memory on each node" in text


@pytest.mark.parametrize(
    ("text", "size"), [("64Mi", 64 * 2**20), ("1.5Gi", 3 * 2**29), ("2G", 2 * 10**9), (7, 7), ("1e3", None), ({}, None)]
)
def test_quantities(text: object, size: int | None) -> None:
    assert pod_memory.parse(text) == size


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("Memory", "step 7 in memory"),
        ("Peer", "step 7 in another node's memory"),
        ("Storage", "step 7"),
        ("", "step 7"),
    ],
)
def test_people_read_where_the_step_was(source: str, words: str) -> None:
    scope, cause = RestartScope.PROCESS, Reason.PROCESS_KILLED
    entry = Restart(restart_scope=scope, cause=cause, time=NOW, resumed_from_step=7, resume_source=source)
    assert resumed_from(entry) == words
