"""What the live commands say, from sightings that were recorded on a real API server (tests/data/sightings)."""

import io
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from builders import NOW, at, make_job, make_pod, with_status
from neuron_api.reference.reasons import meaning
from neuron_api.resource.progress import CheckpointReport
from neuron_api.resource.reasons import ConditionType, Reason
from neuron_api.resource.status import JobStatus, Phase, ProgressStatus, Restart, RestartScope
from neuron_operator.cli import watching
from neuron_operator.cli.__main__ import main
from neuron_operator.cli.live import checkpoints, commands, failure_log, screen, status, status_view, why
from neuron_operator.cli.live.connection import Connection
from neuron_operator.cli.live.job_snapshot import JobSnapshot, look, parse_job, reason_and_message
from neuron_operator.kube.errors import MayNotError, UnreachableError, UserInputError

Json = dict[str, Any]

SIGHTINGS = Path(__file__).parents[2] / "data" / "sightings"
STAGES = sorted(path.stem for path in SIGHTINGS.glob("*.json"))


class Recorded:
    """Stands in for a `Connection`: gives what was recorded."""

    namespace = "team"

    def __init__(self, stage: str, **refused: bool) -> None:
        self.found: Json = json.loads((SIGHTINGS / f"{stage}.json").read_text())
        self.moment = datetime.fromisoformat(self.found["moment"])
        self.refused = refused
        self.changes: list[Json] = []
        self.logs: dict[str, str] = {}

    def job(self, name: str) -> Json:
        assert name == self.found["job"]["metadata"]["name"]
        return dict(self.found["job"])

    def pods(self, job: str) -> list[Json]:
        if self.refused.get("pods"):
            raise MayNotError("you may not list pods")
        return list(self.found["pods"])

    def events(self, uid: str) -> list[Json]:
        return [one for one in self.found["events"] if one["involvedObject"].get("uid") == uid]

    def log(self, pod: str, since: str) -> str | None:
        return self.logs.get(pod)

    def progress(self, pod: str) -> bytes | None:
        raise UnreachableError("no answer")

    def change(self, name: str, spec: Json) -> Json:
        self.changes.append(spec)
        return self.found["job"] | {"spec": self.found["job"]["spec"] | spec}


def recorded(stage: str) -> tuple[JobSnapshot, datetime]:
    connection = Recorded(stage)
    return look(as_connection(connection), "tiny"), connection.moment


def as_connection(found: Recorded) -> Connection:
    return found  # type: ignore[return-value]


# ---- why ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stage", "begins", "names"),
    [
        ("created", "tiny waits for the operator", None),
        ("starting", "tiny has waited for 0s: PodsCreated: ", Reason.PODS_CREATED),
        ("image", "tiny has stood still for 0s: ImagePullFailed: ", Reason.IMAGE_PULL_FAILED),
        ("loading", "tiny has waited for 0s: WaitingForFirstStep: ", Reason.WAITING_FOR_FIRST_STEP),
        ("running", "tiny waits for nothing: step 20 of 240 was finished 0s ago.", Reason.STEPS_ADVANCING),
        ("restarting", "tiny has waited for 0s: ProcessFailed: rank 3 in pod tiny-0-0", Reason.PROCESS_FAILED),
        ("claim", "tiny has stood still for 0s: ClaimNotFound: spec.storage[0].claimName", Reason.CLAIM_NOT_FOUND),
        ("invalid", "tiny has stood still for 0s: ConfigInvalid: ", Reason.CONFIG_INVALID),
        ("failed", "tiny failed 0s ago at step 20: TrainerRefusedConfig: Pod tiny-0-0", Reason.TRAINER_REFUSED_CONFIG),
        ("succeeded", "tiny has ended as configured 0s ago at step 240.", Reason.COMPLETED),
    ],
)
def test_why_is_one_sentence_and_the_remedy_of_the_closed_list(stage: str, begins: str, names: Reason | None) -> None:
    seen, now = recorded(stage)
    first, do, *_ = why.answer(seen, now).text.splitlines()
    assert re.sub(r"\b\ds", "0s", first).startswith(begins)
    assert first.endswith(".")
    assert do.removeprefix("  what to do   ") == (meaning(names) if names else why._OPERATOR)


@pytest.mark.parametrize("stage", STAGES)
def test_why_says_no_sentence_twice(stage: str) -> None:
    seen, now = recorded(stage)
    sentences = why.answer(seen, now).text.replace("\n", " ").split(". ")
    assert len(sentences) == len(set(sentences))


def test_every_stage_that_was_recorded_is_asked_about() -> None:
    assert len(STAGES) == 10


def test_every_reason_has_a_meaning_to_print() -> None:
    assert all(meaning(reason) for reason in Reason)


def test_what_the_pods_say_now_is_worth_more_than_what_the_status_said() -> None:
    seen, now = recorded("starting")
    job = seen.job
    pod = make_pod(job, 1).unschedulable("0/3 nodes are available: 3 Insufficient aws.amazon.com/neuron.").build()
    said = why.answer(replace(seen, pods=(pod,)), now)
    assert said.reason is Reason.PODS_PENDING
    assert "0/3 nodes are available: 3 Insufficient aws.amazon.com/neuron." in said.sentence


def test_a_job_that_says_nothing_for_minutes_is_not_called_well() -> None:
    seen, now = recorded("running")
    said = why.answer(seen, now + timedelta(seconds=why.SILENCE + 60))
    assert said.sentence.startswith("tiny has reported no finished step for 6m")
    assert "hang" in said.text


def test_a_spec_that_the_operator_has_not_seen_is_told_before_the_old_status() -> None:
    seen, now = recorded("running")
    newer = seen.job.metadata.model_copy(update={"generation": 9})
    said = why.answer(replace(seen, job=seen.job.model_copy(update={"metadata": newer})), now)
    assert "the operator has not looked yet at the spec as it is now (generation 9)" in said.sentence


def test_what_a_start_has_resumed_with_is_told() -> None:
    seen, now = recorded("running")
    lines = (
        "resume at step 10: 1 key differs",
        "model.optim.lr: 0.1 -> 0.01: the rate is the file's curve at this step",
    )
    status = seen.job.status.model_copy(update={"resume": lines})
    seen = replace(seen, job=seen.job.model_copy(update={"status": status}))
    text = why.with_resume(why.answer(seen, now), seen).text
    assert all(f"  seen         {line}\n" in text for line in lines)


def test_a_job_that_is_being_deleted_waits_for_its_pods() -> None:
    job = make_job().being_deleted().build()
    pod = make_pod(job, 0).terminating().build()
    said = why.answer(JobSnapshot(job, (pod,)), at(5)).text
    assert "tiny has been in deletion for 5s." in said
    assert f"Its pods go first: {pod.name}." in said


# ---- status ------------------------------------------------------------------------------------------------------


def test_a_row_of_status_is_labelled_in_words() -> None:
    assert [status_view._label(one) for one in ("ConfigValid", "Stalled", "PodsReady")] == [
        "config",
        "stalled",
        "pods ready",
    ]
    assert all(len(status_view._label(one)) < 13 for one in ConditionType)


@pytest.mark.parametrize("stage", STAGES)
def test_status_fits_every_stage_and_says_the_headline_once(stage: str) -> None:
    seen, now = recorded(stage)
    text = status_view.view(seen, now).text
    assert text.startswith(f"tiny  {seen.job.status.phase}  in namespace team")
    if seen.headline:
        conditions = text.partition("  restarts ")[0]  # events below say the same again
        assert conditions.count(reason_and_message(seen.headline.reason, seen.headline.message)) == 1
    assert "\n\n" not in text


def test_status_tells_steps_time_left_checkpoint_and_restarts_with_their_cost() -> None:
    seen, now = recorded("restarting")
    text = status_view.view(seen, now).text
    assert re.search(r"step 27 of 240 \(11 %\), loss 3\.7300", text)
    assert re.search(r"checkpoint   step 27, \ds old, /training/27.ckpt", text)
    assert "restarts     1, 0 steps lost" in text
    assert "ProcessFailed: rank 3 in pod tiny-0-0 (exit code 1) after step 27: ValueError: nan." in text
    assert "No step since." in text


def test_status_tells_the_estimated_end_and_the_goodput_that_the_operator_wrote() -> None:
    seen, now = recorded("restarting")
    progress = ProgressStatus(step=40, max_steps=100, last_step_time=at(0), estimated_completion_time=at(90))
    job = with_status(seen.job, progress=progress, goodput=0.874, phase=Phase.RUNNING)
    text = status_view.view(replace(seen, job=job), now).text
    assert f"left (until {at(90):%Y-%m-%d %H:%M} UTC)" in text
    assert "goodput      87% of the time went into steps that were kept" in text


def test_the_time_left_is_the_tokens_that_are_left_over_the_tokens_of_a_second() -> None:
    progress = ProgressStatus(step=40, max_steps=100, tokens_per_second=512.0)
    job = with_status(make_job().build(), progress=progress, phase=Phase.RUNNING)
    assert status_view.tokens_per_step(job) == 24 * 128
    assert status_view.seconds_left(job) == 60 * 24 * 128 / 512
    assert status_view.seconds_left(with_status(job, phase=Phase.FAILED)) is None
    estimated = progress.model_copy(update={"last_step_time": at(0), "estimated_completion_time": at(90)})
    assert status_view.seconds_left(with_status(job, progress=estimated)) == 90
    elsewhere = with_status(make_job().config_from("source", "run.yaml").build(), progress=progress)
    assert status_view.seconds_left(elsewhere) is None
    assert status_view.seconds_left(with_status(job, progress=ProgressStatus(step=40, max_steps=100))) is None


def test_what_may_not_be_read_is_left_out_and_named() -> None:
    connection = Recorded("running", pods=True)
    seen = look(as_connection(connection), "tiny")
    assert seen.pods == ()
    assert "not read     you may not list pods" in status_view.view(seen, connection.moment).text
    assert "not everything: you may not list pods" in why.answer(seen, connection.moment + timedelta(hours=1)).text


def test_on_a_terminal_there_is_a_bar_and_no_word_of_a_job_is_markup() -> None:
    from rich.console import Console

    seen, now = recorded("running")
    shown = status_view.view(seen, now)
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=200, color_system=None)
    console.print(screen.drawn(replace(shown, body=("  [bold]Fix it[/bold]",))))
    assert "━" in out.getvalue()
    assert "step 20 of 240" in out.getvalue()
    assert "[bold]Fix it[/bold]" in out.getvalue()
    screen.show(iter((shown,)), out)


class Watched(Recorded):
    """Two looks, of which the second fails, then the end."""

    def __init__(self) -> None:
        super().__init__("running")
        self._later: Iterator[Json | None] = iter((None, Recorded("succeeded").found))
        self._asked = 0

    def job(self, name: str) -> Json:
        self._asked += 1
        if self._asked > 1:
            found = next(self._later)
            if found is None:
                raise UnreachableError("the API server cannot be reached: refused")
            self.found = found
        return super().job(name)


def test_a_watch_outlives_an_api_server_that_is_away_and_ends_with_the_job() -> None:
    connection = as_connection(Watched())
    pauses: list[float] = []
    found = list(status.snapshots(connection, "tiny", look(connection, "tiny"), pauses.append))
    assert [type(one) for one in found] == [JobSnapshot, UnreachableError, JobSnapshot]
    assert isinstance(found[-1], JobSnapshot)
    assert found[-1].job.status.phase is Phase.SUCCEEDED
    assert pauses == [watching.INTERVAL] * 2


# ---- logs --------------------------------------------------------------------------------------------------------


def test_the_log_of_a_pod_that_is_there_is_cut_around_the_failure() -> None:
    connection = Recorded("restarting")
    moment = parse_job(connection.found["job"]).status.restarts[-1].time
    lines = {
        seconds: f"{(moment + timedelta(seconds=seconds)).strftime('%Y-%m-%dT%H:%M:%S.%f000Z')} line {seconds}"
        for seconds in (-3600, -61, -30, 0, 14, 16)
    }
    connection.logs["tiny-0-0"] = "\n".join([lines[-3600], lines[-61], lines[-30], " its second line", lines[0],
                                             lines[14], lines[16], ""])  # fmt: skip
    text = failure_log.read(as_connection(connection), "tiny", number=None, seconds=60.0).text("tiny")
    assert text.startswith("ProcessFailed: rank 3 in pod tiny-0-0 (exit code 1)")
    assert text.splitlines()[1:] == [
        "log of pod tiny-0-0:", lines[-30], " its second line", lines[0], lines[14],
    ]  # fmt: skip


def test_a_pod_that_is_gone_leaves_its_last_words_and_those_of_the_others() -> None:
    job = with_status(
        make_job().nodes(2).build(),
        restarts=(Restart(restart_scope=RestartScope.GANG, cause=Reason.POD_FAILED, time=NOW, pod="tiny-0-0",
                          pod_uid="gone", exit_code=1, message="boom"),),
    )  # fmt: skip
    other = make_pod(job, 1).failed(1, "rank 3 failed:\nRuntimeError: boom", at=at(-1)).build()
    failure = failure_log.find(job, [other])
    assert failure is not None
    assert failure.pod == "tiny-0-0"
    assert failure_log.without_log(failure, [other], pod_exists=False) == [
        "Pod tiny-0-0 is gone, and its log with it. Its last words:",
        "  boom",
        f"last words of pod {other.name} (exit code 1):",
        "  rank 3 failed:",
        "  RuntimeError: boom",
    ]


def test_the_first_of_the_pods_that_failed_after_the_last_line_of_the_ledger_is_taken() -> None:
    old = Restart(
        restart_scope=RestartScope.POD, cause=Reason.POD_DELETED, time=at(-600), pod="tiny-0-0", pod_uid="old"
    )
    job = with_status(make_job().nodes(2).build(), restarts=(old,))
    first = make_pod(job, 1).failed(2, "no data", at=at(10)).build()
    second = make_pod(job, 0).failed(1, "peer lost", at=at(12)).build()
    found = failure_log.find(job, [second, first])
    assert found is not None
    assert (found.pod, found.message) == (first.name, "no data")
    assert (failure_log.find(job, [second, first], 1) or found).uid == "old"
    with pytest.raises(UserInputError, match="restarts 1 to 1"):
        failure_log.find(job, [], 2)
    assert failure_log.find(make_job().build(), []) is None


# ---- checkpoints -------------------------------------------------------------------------------------------------


def test_checkpoints_are_the_newest_that_anybody_knows_and_those_that_restarts_took_up() -> None:
    restart = Restart(restart_scope=RestartScope.POD, cause=Reason.POD_DELETED, time=NOW, resumed_from_step=10)
    job = with_status(make_job().build(), progress=ProgressStatus(step=47), restarts=(restart, restart))
    report = CheckpointReport(step=40, path="/training/40.ckpt", time=NOW)
    found = checkpoints.newest(job, report)
    assert checkpoints.text(job, found, at(90)).splitlines() == [
        "STEP  AGE    VERIFIED  USED BY       PATH",
        "40    1m30s  -         -             /training/40.ckpt",
        "10    -      yes       restart 1, 2  -",
        "A failure now would cost 7 of tiny's 47 steps.",
    ]
    assert "would cost all 47 steps" in checkpoints.text(with_status(job, restarts=()), None, NOW)


def test_a_job_without_a_finished_step_has_nothing_to_lose() -> None:
    said = checkpoints.text(make_job().build(), None, NOW)
    assert said == "tiny has no complete checkpoint and no finished step yet.\n"


def test_pod_0_that_does_not_answer_costs_nothing_but_freshness() -> None:
    for stage, words in (("running", "20"), ("succeeded", "is over (Succeeded)")):
        job = parse_job((connection := as_connection(Recorded(stage))).job("tiny"))
        assert words in checkpoints.text(job, checkpoints.newest(job, checkpoints.live(connection, job)), NOW)


# ---- suspend and resume ------------------------------------------------------------------------------------------


def test_suspend_writes_the_field_once_and_never_to_a_job_that_is_over() -> None:
    connection = Recorded("running")
    assert "will be suspended" in commands.set_suspend(as_connection(connection), "tiny", suspend=True)
    said = commands.set_suspend(as_connection(connection), "tiny", suspend=False)
    assert said == "tiny is not suspended (spec.suspend is false); nothing was changed.\n"
    assert connection.changes == [{"suspend": True}]
    over = Recorded("succeeded")
    assert "is over (Succeeded)" in commands.set_suspend(as_connection(over), "tiny", suspend=True)
    assert over.changes == []


# ---- what cannot be read -----------------------------------------------------------------------------------------


def test_words_of_a_newer_operator_are_shown_as_they_are() -> None:
    body = Recorded("running").found["job"]
    body["status"]["phase"] = "Dreaming"
    body["status"]["conditions"][0]["reason"] = "CountingSheep"
    job = parse_job(body)
    assert (job.status.phase, job.status.conditions[0].reason) == ("Dreaming", "CountingSheep")


def test_a_job_of_another_version_is_one_sentence() -> None:
    body = Recorded("running").found["job"]
    body["spec"]["storage"] = "/data"
    with pytest.raises(UserInputError, match=r"kubectl-neuron is older or newer than the operator: spec\.storage"):
        parse_job(body)


def test_without_a_cluster_there_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "tiny", "--kubeconfig", str(tmp_path / "none")]) == 1
    said = capsys.readouterr().err
    assert said.startswith("kubectl neuron: no cluster: ")
    assert "--kubeconfig" in said
    nowhere = tmp_path / "kubeconfig"
    nowhere.touch(mode=0o600)
    nowhere.write_text(
        "apiVersion: v1\nkind: Config\ncurrent-context: a\nusers: [{name: a, user: {}}]\n"
        "clusters: [{name: a, cluster: {server: 'http://127.0.0.1:1'}}]\n"
        "contexts: [{name: a, context: {cluster: a, user: a}}]\n"
    )
    assert main(["why", "tiny", "--kubeconfig", str(nowhere)]) == 1
    said = capsys.readouterr().err
    assert said.startswith("kubectl neuron: the API server http://127.0.0.1:1 cannot be reached: ")
    assert "refused" in said
    assert len(said.splitlines()) == 1


def test_a_status_that_nobody_wrote_is_told_as_that() -> None:
    job = make_job().status(JobStatus()).build()
    assert "no operator has looked at it yet" in status_view.view(JobSnapshot(job), NOW).text
