"""Killed at any instant, also between the bytes of a save, or with a full disk or a read-only directory: nothing is
lost beyond the last complete checkpoint. `make test-kills` does it 200 times."""

import os
import sys
from pathlib import Path

import pytest

from .kills import STEPS, Campaign, Kind, draw, table

pytestmark = pytest.mark.distributed

COUNT = int(os.environ.get("KILLS", "20"))


@pytest.mark.timeout(600 * COUNT)
def test_every_start_after_a_mishap_continues_from_the_newest_complete_checkpoint(
    tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    campaign = Campaign(tiny, tmp_path)
    trials = [campaign.trial(number, mishap) for number, mishap in enumerate(draw(COUNT))]
    with capsys.disabled():
        sys.stdout.write(f"\n{table(trials)}\n")
    assert not [(number, trial) for number, trial in enumerate(trials) if trial.fault]
    by_byte = [trial for trial in trials if trial.mishap.kind is Kind.BYTE]
    assert any(trial.incomplete for trial in by_byte), "some were hit inside a save"
    assert any(0 < trial.newest < STEPS for trial in trials), "some had a checkpoint to go on from"
    failing = [trial for trial in trials if trial.mishap.kind in (Kind.FULL, Kind.READ_ONLY)]
    assert any(trial.message for trial in failing), "some were told that a checkpoint could not be written"
