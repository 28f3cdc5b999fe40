"""What a start takes up: each row of the decision table B-11."""

from datetime import UTC, datetime
from itertools import product
from pathlib import Path

import pytest

from neuron_api.resource.spec import FromScratch
from neuron_trainer.checkpoint import Candidate, Manifest
from neuron_trainer.run_directory.resume import EarlierRuns, Origin, ResumeDecision, decide

from .conftest import alone, typed

ME = "uid-1"


def candidate(step: int, job_uid: str = ME, **metrics: float) -> Candidate:
    manifest = Manifest(
        step=step, epoch=0, consumed_samples=8 * step, global_batch_size=8, job_uid=job_uid, config_hash="h",
        architecture={}, topology={}, precision="fp32", dtype="float32", time=datetime.now(UTC),
        metrics={"step": step, **metrics}, files={},
    )  # fmt: skip
    return Candidate(Path(f"/log/checkpoints/{job_uid}-{step}.ckpt"), manifest)


OWN = (candidate(20), candidate(10))
FOREIGN = (candidate(30, "uid-0"),)
GIVEN = candidate(99, "uid-0")

TABLE = [
    # resume_if_exists, ignore, found, given, weights only -> origin, candidates
    (True, True, (), None, False, Origin.SCRATCH, ()),
    (True, False, (), None, False, Origin.MISSING, ()),
    (False, False, (), None, False, Origin.SCRATCH, ()),
    (False, True, OWN, None, False, Origin.SCRATCH, ()),
    (False, False, FOREIGN, None, False, Origin.SCRATCH, ()),
    (True, False, OWN, None, False, Origin.OWN, OWN),
    (True, False, FOREIGN, None, False, Origin.FOREIGN, FOREIGN),
    (True, False, FOREIGN + OWN, None, False, Origin.OWN, OWN),
    (True, False, (), GIVEN, False, Origin.EXPLICIT, (GIVEN,)),
    (False, False, (), GIVEN, False, Origin.EXPLICIT, (GIVEN,)),
    (False, False, OWN, GIVEN, False, Origin.EXPLICIT, (GIVEN,)),
    (True, False, OWN, GIVEN, False, Origin.OWN, OWN),
    (True, False, FOREIGN, GIVEN, False, Origin.EXPLICIT, (GIVEN,)),
    (True, True, (), GIVEN, True, Origin.WEIGHTS, (GIVEN,)),
    (True, True, FOREIGN, GIVEN, True, Origin.WEIGHTS, (GIVEN,)),
    (True, True, OWN, GIVEN, True, Origin.OWN, OWN),
]


@pytest.mark.slow
@pytest.mark.parametrize(("resume", "ignore", "found", "given", "weights_only", "origin", "taken"), TABLE)
def test_a_start_takes_up_what_the_table_says(
    resume: bool, ignore: bool, found: tuple[Candidate, ...], given: Candidate | None, weights_only: bool,
    origin: Origin, taken: tuple[Candidate, ...], tiny: Path, tmp_path: Path,
) -> None:  # fmt: skip
    values = alone(
        tiny,
        tmp_path,
        exp_manager__resume_if_exists=resume,
        exp_manager__resume_ignore_no_checkpoint=ignore,
        model__weight_init_only=weights_only,
    )
    assert decide(typed(values), found, lambda: given, ME, EarlierRuns()) == ResumeDecision(origin, taken)
    # Whatever is allowed, what has a checkpoint is taken up, and what begins at step 0 has done nothing or may.
    at_zero = origin in (Origin.SCRATCH, Origin.WEIGHTS, Origin.MISSING)
    for step, saved, policy in product((0, 7), (False, True), FromScratch):
        allowed = step == 0 or policy is FromScratch.ALWAYS
        allowed |= policy is FromScratch.BEFORE_FIRST_CHECKPOINT and not saved
        wanted = ResumeDecision(Origin.LOST) if at_zero and not allowed else ResumeDecision(origin, taken)
        assert decide(typed(values), found, lambda: given, ME, EarlierRuns(step, saved, policy)) == wanted


def test_a_given_checkpoint_is_not_looked_for_when_the_job_has_its_own(tiny: Path, tmp_path: Path) -> None:
    found = decide(typed(alone(tiny, tmp_path)), OWN, lambda: pytest.fail("looked for"), ME, EarlierRuns())
    assert found.origin is Origin.OWN


def test_a_job_with_checkpoints_of_its_own_never_begins_again(tiny: Path, tmp_path: Path) -> None:
    for ignore, weights_only, given in product((True, False), (True, False), (None, GIVEN)):
        values = alone(
            tiny, tmp_path, exp_manager__resume_ignore_no_checkpoint=ignore, model__weight_init_only=weights_only
        )
        taken = decide(typed(values), OWN, lambda given=given: given, ME, EarlierRuns())  # type: ignore[misc]
        assert taken.candidates == OWN
