"""Which run a log directory belongs to: `run.json`, and the same id in the manifest of each of its checkpoints.

A start that may resume goes on with the directory's run; one that may not is a run of its own. So the checkpoints of a
run before it are not taken for its own: neither by `save_top_k`, nor by a later resume.
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
    """Return the id; empty where there is none: of a new directory, or one that an older release wrote."""
    return _read(folder).get("run_id", "")


def take(folder: Path, candidates: Sequence[Candidate], *, resumes: bool, job_uid: str = "") -> str:
    """Return the id of this start's run, and write it; only the owner of the directory may.

    Where the file is missing, a start that may resume goes on with the run of the newest checkpoint (`candidates`:
    complete ones, newest first). A job that is restarted from scratch stays one run: what each restart leaves counts in
    `save_top_k`.
    """
    record = _read(folder)
    if run_id := record.get("run_id"):
        if resumes or (job_uid and record.get("job_uid") == job_uid):
            return run_id
    elif resumes and candidates:
        return candidates[0].manifest.run_id  # empty: an older release's, and the next start is the same run still
    values = {"run_id": secrets.token_hex(8), "job_uid": job_uid}
    replace(folder / FILE, json.dumps({**values, "since": datetime.now(UTC).isoformat(timespec="seconds")}))
    return values["run_id"]


def _read(folder: Path) -> dict[str, str]:
    try:
        values = json.loads((folder / FILE).read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    return {k: v for k, v in values.items() if isinstance(v, str)} if isinstance(values, dict) else {}
