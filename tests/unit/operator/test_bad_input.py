"""Input that cannot be trained: one condition says it, with the key and with the remedy, and nothing is started."""

from dataclasses import dataclass
from typing import Any

import pytest

from builders import NOW, OPTIONS, JobBuilder, make_job, make_pod, observed, with_status
from neuron_api.resource.reasons import ConditionType, Reason
from neuron_api.resource.status import Condition, ConditionStatus, JobStatus, Phase
from neuron_operator.planning.observation.observation import ConfigText
from neuron_operator.planning.observation.waiting import Rejection
from neuron_operator.planning.options import Options
from neuron_operator.planning.outcome import finalize_status
from neuron_operator.planning.plan import PlanOutcome
from neuron_operator.planning.planner import plan

JOB = make_job().nodes(2)
KSTATUS = (ConditionType.READY, ConditionType.RECONCILING, ConditionType.STALLED)
CLAIM = {"claimName": "training", "mountPath": "/training"}


@dataclass(frozen=True)
class Case:
    job: JobBuilder
    reason: Reason
    says: tuple[str, ...]
    """The key, what is wrong, the remedy."""
    stalled: bool = True
    seen: dict[str, Any] | None = None


def trainer(**values: object) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "trainer", **values}]}}


CASES = {
    "several nodes without a claim": Case(
        JOB.no_storage(), Reason.STORAGE_MISSING,
        ("spec.storage:", "no writable claim", "Add an entry with claimName and a mountPath above /training/exp"),
    ),
    "several nodes with a claim for reading only": Case(
        JOB.storage({**CLAIM, "readOnly": True}), Reason.STORAGE_MISSING, ("spec.storage:", "Add an entry"),
    ),
    "checkpoints beside the claim": Case(
        JOB.config("exp_manager.exp_dir", "/elsewhere"), Reason.STORAGE_MISSING,
        ("spec.storage:", "/elsewhere", "set exp_manager.exp_dir to a mounted path"),
    ),
    "a claim that does not exist": Case(
        JOB, Reason.CLAIM_NOT_FOUND,
        ("spec.storage[0].claimName:", "no PersistentVolumeClaim training in namespace team", "Create it"),
        seen={"missing_claims": ("training",)},
    ),
    "an unknown key": Case(
        JOB.config("trainer.max_stepz", 5), Reason.CONFIG_INVALID,
        ("trainer.max_stepz", "Did you mean max_steps?"),
    ),
    "more nodes than a status holds": Case(
        JOB.nodes(100_000).config("data.global_batch_size", 100_000), Reason.CONFIG_INVALID,
        ("spec.config.trainer.num_nodes:", "100000 nodes are more than the 4096", "Use fewer"),
    ),
    "a world that cannot be divided": Case(
        JOB.config("distributed_strategy.tensor_model_parallel_size", 3), Reason.CONFIG_INVALID,
        ("trainer.devices", "cannot be divided into groups of 3", "Change"),
    ),
    "a batch that cannot be divided": Case(
        JOB.config("data.global_batch_size", 7), Reason.CONFIG_INVALID,
        ("data.global_batch_size:", "7 is not a multiple", "Use 6 or 8"),
    ),
    "more devices than the instance type has": Case(
        JOB.config("trainer.devices", 66).trainium("trn1.32xlarge"), Reason.CONFIG_INVALID,
        ("trainer.devices", "trn1.32xlarge", "32"),
    ),
    "no instance type": Case(
        JOB.spec(platform={}), Reason.CONFIG_INVALID,
        ("spec.platform.instanceType", "spec.platform.accelerator"),
    ),
    "an image that cannot be pulled": Case(
        JOB.spec(image="registry/none:1"), Reason.IMAGE_PULL_FAILED,
        ("spec.image:", "registry/none:1 cannot be pulled", "not found", "Fix the name or the pull secret"),
        seen={"waiting": ("ErrImagePull", "not found.", "registry/none:1")},
    ),
    "an image that is still not pulled": Case(
        JOB, Reason.IMAGE_PULL_FAILED,
        ("the operator's default image (spec.image is not set)", "trainer:cpu", "Fix the name"),
        seen={"waiting": ("ImagePullBackOff", "Back-off pulling image", "trainer:cpu")},
    ),
    "a container that cannot be made": Case(
        JOB, Reason.CONTAINER_NOT_STARTING,
        ("spec.podTemplate", "CreateContainerConfigError", "secret \"x\" not found", "Fix what it names"),
        seen={"waiting": ("CreateContainerConfigError", 'secret "x" not found', "trainer:cpu")},
    ),
    "a ConfigMap that is not there": Case(
        JOB, Reason.CONFIG_MAP_NOT_FOUND,
        ("spec.configFrom.configMapKeyRef.name:", "Create it"),
        seen={"config": ConfigText(None, "spec.configFrom.configMapKeyRef.name: there is no ConfigMap c. Create it.")},
    ),
    "a template that overrides the command": Case(
        JOB.pod_template(trainer(command=["sleep"])), Reason.CONFIG_INVALID,
        ("spec.podTemplate.spec.containers[trainer].command:", "it cannot be set", "Remove it."),
    ),
    "no image at all": Case(
        JOB, Reason.CONFIG_INVALID, ("spec.image:", "no default image", "Set it", "trainerImages.cpu"),
        seen={"options": Options()},
    ),
    "no node that fits": Case(
        JOB, Reason.PODS_PENDING,
        ("0/3 nodes are available", "spec.platform", "Add nodes, or ask for less"), stalled=False,
        seen={"unschedulable": "0/3 nodes are available: 3 Insufficient aws.amazon.com/neuron."},
    ),
    "a quota": Case(
        JOB, Reason.POD_REJECTED, ("exceeded quota", "spec.podTemplate", "tries again by itself"),
        seen={"refused": "exceeded quota: pods"},
    ),
}  # fmt: skip
AT_THE_GATE = [name for name, case in CASES.items() if case.seen is None or {"config", "options"} & set(case.seen)]


def status_of(case: Case) -> JobStatus:
    job, seen = case.job.build(), dict(case.seen or {})
    options, refused = seen.pop("options", OPTIONS), seen.pop("refused", None)
    pods = []
    if waiting := seen.pop("waiting", None):
        pods = [make_pod(job, index).waiting(*waiting) for index in range(2)]
    if message := seen.pop("unschedulable", None):
        pods = [make_pod(job, index).unschedulable(message) for index in range(2)]
    planned = plan(observed(job, pods, **seen), options, NOW)
    outcome = PlanOutcome({}, (Rejection("Pod tiny-0-0", refused),)) if refused else PlanOutcome()
    assert refused or not planned.creates, "something is started"
    return finalize_status(planned, outcome, NOW)


def one(status: JobStatus, kind: ConditionType) -> Condition:
    return next(condition for condition in status.conditions if condition.type is kind)


@pytest.mark.parametrize("name", CASES)
def test_bad_input_gives_one_story_with_key_and_remedy(name: str) -> None:
    case = CASES[name]
    status = status_of(case)
    expected = ConditionType.STALLED if case.stalled else ConditionType.RECONCILING
    assert [c.type for c in status.conditions if c.type in KSTATUS and c.status is ConditionStatus.TRUE] == [expected]
    stories = {(c.reason, c.message) for c in status.conditions if c.type in KSTATUS}
    assert len(stories) == 1
    told = one(status, expected)
    assert told.reason is case.reason
    for part in case.says:
        assert part in told.message
    assert status.phase is Phase.PENDING
    assert one(status, ConditionType.PODS_READY).status is ConditionStatus.FALSE
    assert one(status, ConditionType.PROGRESSING).status is ConditionStatus.FALSE


@pytest.mark.parametrize("name", CASES)
def test_config_valid_is_false_for_what_is_wrong_with_the_spec_and_for_nothing_else(name: str) -> None:
    valid = one(status_of(CASES[name]), ConditionType.CONFIG_VALID)
    assert (valid.status is ConditionStatus.FALSE) == (name in AT_THE_GATE)
    if name in AT_THE_GATE:
        assert valid.reason is CASES[name].reason


def test_everything_that_is_wrong_is_told_at_once() -> None:
    job = JOB.no_storage().config("trainer.max_stepz", 5).pod_template(trainer(args=["x"]))
    message = one(status_of(Case(job, Reason.CONFIG_INVALID, ())), ConditionType.STALLED).message
    assert "trainer.max_stepz" in message
    late = one(status_of(Case(JOB.no_storage().pod_template(trainer(args=["x"])), Reason.CONFIG_INVALID, ())),
               ConditionType.STALLED).message  # fmt: skip
    assert "spec.storage" in late
    assert "spec.podTemplate.spec.containers[trainer].args" in late


def test_a_job_goes_on_by_itself_when_the_claim_is_there() -> None:
    waits = with_status(JOB.build(), **dict(status_of(CASES["a claim that does not exist"])))
    assert len(plan(observed(with_status(waits, start_time=NOW)), OPTIONS, NOW).creates) == 2


def test_a_claim_that_is_missing_is_looked_for_again() -> None:
    planned = plan(observed(JOB.build(), missing_claims=("training",)), OPTIONS, NOW)
    assert planned.requeue_after == OPTIONS.wait_seconds
