"""`wait`: what ends it, what it raises, and how often it looks; and calls that take a job or its name."""

import pytest

from neuron_client import (
    Job,
    JobFailedError,
    NeuronTrainingClient,
    RequestError,
    UnreachableError,
    WaitTimeoutError,
)

from .fake_backend import StoryBackend

PENDING, RUNNING = Job("a", "Pending"), Job("a", "Running", step=3, max_steps=10)
DONE, FAILED = Job("a", "Succeeded", step=10, max_steps=10), Job("a", "Failed", message="OutOfMemory: too large")
SUSPENDED = Job("a", "Suspended")


def client(*story: Job | None) -> tuple[NeuronTrainingClient, list[float]]:
    pauses: list[float] = []
    made = NeuronTrainingClient(backend="local", pause=pauses.append)
    made._backend = StoryBackend(*story)
    return made, pauses


def test_the_default_is_that_the_job_has_succeeded() -> None:
    made, pauses = client(PENDING, RUNNING, RUNNING, DONE)
    seen: list[Job] = []
    assert made.wait("a", on_change=seen.append) == DONE
    assert seen == [PENDING, RUNNING, DONE]
    assert len(pauses) == 3


def test_a_job_that_fails_is_an_exception_with_its_message() -> None:
    made, _ = client(RUNNING, FAILED)
    with pytest.raises(JobFailedError, match="a is Failed: OutOfMemory: too large") as caught:
        made.wait(RUNNING)
    assert caught.value.job == FAILED


@pytest.mark.parametrize("until", ["Failed", ("Failed", "Suspended"), lambda job: job.phase == "Failed"])
def test_a_failure_that_is_waited_for_is_none(until: object) -> None:
    made, _ = client(RUNNING, FAILED)
    assert made.wait("a", until) == FAILED  # type: ignore[arg-type]


def test_a_job_that_ends_otherwise_than_it_was_waited_for_is_an_exception() -> None:
    made, _ = client(RUNNING, DONE)
    with pytest.raises(JobFailedError, match="a is Succeeded"):
        made.wait("a", "Suspended")


def test_a_function_may_ask_for_a_step() -> None:
    made, pauses = client(PENDING, RUNNING, DONE)
    assert made.wait("a", lambda job: job.step >= 3) == RUNNING
    assert len(pauses) == 1


def test_a_word_that_is_no_phase_is_refused_before_anything_is_asked() -> None:
    made, pauses = client(RUNNING)
    with pytest.raises(RequestError, match="until names Complete, which is no phase: Pending, "):
        made.wait("a", "Complete")
    assert pauses == []


def test_the_time_may_be_over() -> None:
    made, _ = client(RUNNING)
    with pytest.raises(TimeoutError, match="a is still Running after 0 s") as caught:
        made.wait("a", timeout=0)
    assert isinstance(caught.value, WaitTimeoutError)
    assert caught.value.job == RUNNING


def test_a_server_that_has_answered_once_is_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    made, pauses = client(RUNNING, None, None, DONE)
    assert made.wait("a") == DONE
    assert len(pauses) == 3
    assert "a is waited for still: the API server answers 503" in caplog.text


def test_a_server_that_never_answers_is_an_exception_at_once() -> None:
    made, pauses = client(None)
    with pytest.raises(UnreachableError, match="503"):
        made.wait("a")
    assert pauses == []


def test_the_time_is_over_while_the_server_is_away() -> None:
    made, _ = client(RUNNING, None)
    with pytest.raises(WaitTimeoutError, match="a is still Running"):
        made.wait("a", timeout=0.0)
    assert made._backend.story == [None]  # type: ignore[attr-defined]


def test_a_job_is_looked_for_in_its_own_namespace() -> None:
    job = Job("a", "Running", namespace="other")
    made, _ = client(job)
    made.get(job)
    made.suspend(job)
    made.events("a")
    assert made._backend.calls == ["in other", "in other", "suspend a", "in other"]  # type: ignore[attr-defined]


def test_a_job_and_its_name_are_the_same() -> None:
    made, _ = client(RUNNING, SUSPENDED)
    backend = made._backend
    assert isinstance(backend, StoryBackend)
    assert list(made.logs(RUNNING, node=2, follow=True, tail=5)) == ["a 2 True 5"]
    assert made.suspend(RUNNING) == RUNNING
    assert made.resume("a") == SUSPENDED
    made.delete(SUSPENDED)
    with made:
        pass
    assert backend.calls == ["suspend a", "resume a", "delete a", "close"]


def test_a_wrong_backend_is_refused() -> None:
    with pytest.raises(RequestError, match="backend must be 'kubernetes' or 'local', got 'slurm'"):
        NeuronTrainingClient(backend="slurm")  # type: ignore[arg-type]
    with pytest.raises(RequestError, match="namespace, context and kubeconfig are for backend='kubernetes'"):
        NeuronTrainingClient(backend="local", namespace="team")
