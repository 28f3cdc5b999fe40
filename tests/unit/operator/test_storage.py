"""Checkpoints must outlive the pods: on a writable claim, or on something like it."""

from typing import Any

import pytest

from builders import JobBuilder, accepted, make_job
from neuron_api.findings.finding import Severity
from neuron_operator.planning.validation import storage

JOB = make_job()
CLAIM = {"claimName": "training", "mountPath": "/training"}
READ_ONLY = {"claimName": "data", "mountPath": "/data", "readOnly": True}


def check(job: JobBuilder, nodes: int = 1) -> list[Severity]:
    config = accepted(JOB.nodes(nodes).build()).config
    wanted = job.build().spec.config or {}
    manager = config.exp_manager.model_validate(wanted["exp_manager"])
    config = config.model_copy(update={"exp_manager": manager})
    return [finding.severity for finding in storage.findings(job.build().spec, config) if not finding.code]


def template(volume: dict[str, Any], **mount: Any) -> dict[str, Any]:
    mounts = [{"name": "v", "mountPath": "/training", **mount}]
    return {"spec": {"containers": [{"name": "trainer", "volumeMounts": mounts}], "volumes": [{"name": "v", **volume}]}}


@pytest.mark.parametrize(
    "job",
    [
        JOB,
        JOB.storage(READ_ONLY, CLAIM),
        JOB.config("exp_manager.exp_dir", "experiments"),
        JOB.config("exp_manager.exp_dir", None),
        JOB.config("exp_manager.exp_dir", "/training"),
        JOB.no_storage().config("exp_manager.exp_dir", "s3://bucket/run"),
        JOB.no_storage().config("exp_manager.checkpoint_callback_params.dirpath", "s3://bucket/run"),
        JOB.config("exp_manager.exp_dir", "/local").config("exp_manager.checkpoint_callback_params.dirpath", "ckpt"),
        JOB.no_storage().config("exp_manager.create_checkpoint_callback", False),
        JOB.no_storage().config("exp_manager.checkpoint_callback_params.save_top_k", 0),
        JOB.no_storage().pod_template(template({"persistentVolumeClaim": {"claimName": "x"}})),
        JOB.no_storage().pod_template(template({"nfs": {"server": "s", "path": "/"}})),
        JOB.no_storage().pod_template(template({"hostPath": {"path": "/x"}})),
    ],
)
def test_checkpoints_that_outlive_the_pods_are_fine(job: JobBuilder) -> None:
    assert check(job, nodes=2) == []


@pytest.mark.parametrize(
    "job",
    [
        JOB.no_storage(),
        JOB.storage(READ_ONLY),
        JOB.storage({**CLAIM, "readOnly": True}),
        JOB.config("exp_manager.exp_dir", "/trainings/x"),
        JOB.config("exp_manager.explicit_log_dir", "/elsewhere"),
        JOB.config("exp_manager.checkpoint_callback_params.dirpath", "/elsewhere"),
        JOB.no_storage().pod_template(template({"emptyDir": {}})),
        JOB.no_storage().pod_template(template({"ephemeral": {}})),
        JOB.no_storage().pod_template(template({"persistentVolumeClaim": {"claimName": "x"}}, readOnly=True)),
        JOB.no_storage().pod_template({"spec": {"containers": "none"}}),
        JOB.no_storage().pod_template({"spec": None}),
    ],
)
def test_checkpoints_that_end_with_the_pods_are_an_error_for_several_nodes_and_a_warning_for_one(
    job: JobBuilder,
) -> None:
    assert check(job, nodes=2) == [Severity.ERROR]
    assert check(job, nodes=1) == [Severity.WARNING]


def test_the_finding_says_where_checkpoints_go_and_what_to_do() -> None:
    job = JOB.no_storage().config("exp_manager.exp_dir", "runs")
    (finding,) = (one for one in storage.findings(job.build().spec, accepted(job.build()).config) if not one.code)
    assert str(finding).startswith("spec.storage: no writable claim holds /runs, where exp_manager puts checkpoints")
    assert "Add an entry with claimName and a mountPath above /runs" in str(finding)


@pytest.mark.parametrize(
    ("cache", "job", "told"),
    [
        ("/var/tmp/neuron-cache", JOB, True),
        ("/var/tmp/neuron-cache", JOB.no_storage(), True),
        ("/training/cache", JOB, False),
        ("neuron_cache", JOB, False),  # on the working directory, the first mount
        ("s3://bucket/cache", JOB, False),
        (None, JOB, False),
    ],
)
@pytest.mark.parametrize("on_trainium", [True, False])
def test_a_compile_cache_that_ends_with_the_pods_is_warned_of(
    cache: str | None, job: JobBuilder, told: bool, on_trainium: bool
) -> None:
    job = job.config("compiler_cache_url", cache).config("exp_manager.exp_dir", "s3://bucket/run")
    built = (job.trainium("trn1.32xlarge") if on_trainium else job).build()
    found = storage.findings(built.spec, accepted(JOB.config("compiler_cache_url", cache).build()).config)
    found = tuple(one for one in found if "compiler_cache_url" in str(one))
    assert [one.severity for one in found] == [Severity.WARNING] * (told and on_trainium)


@pytest.mark.parametrize(
    ("mounts", "directory"),
    [
        ([], None),
        ([READ_ONLY], None),
        ([READ_ONLY, CLAIM], "/training"),
        ([CLAIM, {**CLAIM, "mountPath": "/b"}], "/training"),
    ],
)
def test_the_working_directory_is_the_first_writable_mount(mounts: list[dict[str, Any]], directory: str | None) -> None:
    assert storage.working_directory(JOB.storage(*mounts).build().spec) == directory
