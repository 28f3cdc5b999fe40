"""Which run a directory is of: a resume goes on with it, another start is a run of its own.

The kind: who is taken for whom. Tried: the file missing, damaged, of an older release, lost beside checkpoints with an
id; a job that is restarted from scratch.
"""

from pathlib import Path

import pytest

from neuron_trainer.checkpoint import Candidate
from neuron_trainer.run_directory.resume import candidates_of_run
from neuron_trainer.run_directory.run_identity import FILE, read, take

from .test_resume import candidate


def of(run_id: str, step: int, job_uid: str = "") -> Candidate:
    found = candidate(step, job_uid)
    return Candidate(found.path, found.manifest.model_copy(update={"run_id": run_id}))


def test_a_new_directory_is_a_new_run(tmp_path: Path) -> None:
    first = take(tmp_path, (), resumes=True)
    assert len(first) == 16
    assert read(tmp_path) == first


def test_a_resume_goes_on_with_the_run_and_another_start_does_not(tmp_path: Path) -> None:
    first = take(tmp_path, (), resumes=False)
    assert take(tmp_path, (of(first, 4),), resumes=True) == first
    second = take(tmp_path, (of(first, 4),), resumes=False)
    assert second != first
    assert take(tmp_path, (of(first, 4),), resumes=True) == second, "the directory is of the second run since then"


def test_a_job_that_is_restarted_from_scratch_stays_one_run(tmp_path: Path) -> None:
    """Else each restart would leave save_top_k checkpoints for good."""
    first = take(tmp_path, (), resumes=False, job_uid="job")
    assert take(tmp_path, (), resumes=False, job_uid="job") == first
    assert take(tmp_path, (), resumes=False, job_uid="another") != first


@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"run_id": 3}', "[" * 10**5])
def test_where_the_file_is_lost_the_newest_checkpoint_says_it(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / FILE).write_text(content)
    assert read(tmp_path) == ""
    assert take(tmp_path, (of("mine", 6), of("other", 4)), resumes=True) == "mine"


def test_a_directory_of_an_older_release_stays_one_run(tmp_path: Path) -> None:
    assert take(tmp_path, (of("", 6),), resumes=True) == ""
    assert take(tmp_path, (of("", 6),), resumes=False) != ""


def test_what_may_be_taken_up() -> None:
    mine, other, old = of("mine", 4), of("other", 6), of("", 8)
    assert candidates_of_run((old, other, mine), "", "mine") == (mine,)
    assert candidates_of_run((old, other, mine), "", "") == (old, other, mine), "of an older release: as it was"
    assert candidates_of_run((old, other), "", "mine") == ()
    of_job = of("lost", 6, "job")
    assert candidates_of_run((old, of_job), "job", "mine") == (of_job,), (
        "a job knows its own, whatever became of run.json"
    )
