"""Which run a log directory is of: `run.json`, and the same id in the manifest of each of its checkpoints.

A start that may resume goes on with the run that the directory is of; one that may not is a run of its own. So the
checkpoints of a run before it are not taken for its own: neither by `save_top_k`, nor by a later resume.
"""

import json
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from neuron_trainer.checkpoint import Candidate
from neuron_trainer.storage.files import replace

FILE: Final = "run.json"


def read(folder: Path) -> str:
    """The id; empty where there is none: of a new directory, or one that an older release wrote."""
    return _read(folder).get("run_id", "")


def take(folder: Path, there: Sequence[Candidate], *, resumes: bool, job_uid: str = "") -> str:
    """The id of this start's run, by the one who holds the directory. `there`: complete checkpoints, newest first.

    Where the file is missing, a start that may resume goes on with the run of the newest checkpoint. A job that is
    restarted from scratch stays one run: what each restart leaves counts in `save_top_k`.
    """
    known = _read(folder)
    if found := known.get("run_id"):
        if resumes or (job_uid and known.get("job_uid") == job_uid):
            return found
    elif resumes and there:
        return there[0].manifest.run_id  # empty: an older release's, and the next start is the same run still
    values = {"run_id": secrets.token_hex(8), "job_uid": job_uid}
    replace(folder / FILE, json.dumps({**values, "since": datetime.now(UTC).isoformat(timespec="seconds")}))
    return values["run_id"]


def _read(folder: Path) -> dict[str, str]:
    try:
        values = json.loads((folder / FILE).read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    return {k: v for k, v in values.items() if isinstance(v, str)} if isinstance(values, dict) else {}
