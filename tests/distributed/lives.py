"""Lives of runs for the account of their time: real launchers that are killed, stopped, started again, that save and
validate; recorded with the wall time that somebody beside them measured.

    python tests/distributed/lives.py FOLDER    records them anew: a folder for each, with timeline.jsonl, the times of
                                                its logged steps, and wall.json
"""

import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]
if __name__ == "__main__":
    sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "support")]

from distributed.nodes import Gang, Launcher, kill_worker, last_step, metrics, until, workers  # noqa: E402
from distributed.tiny import MODEL, config, write_config, write_rows  # noqa: E402
from neuron_trainer.metrics.timeline.timeline_file import TIMELINE_FILE  # noqa: E402

WALL_FILE: Final = "wall.json"
_BOUND: Final = 180.0
_LAST_WORDS: Final = "training has ended"


@dataclass(frozen=True, slots=True)
class Life:
    """One run: what happens to it at which step, and keys that differ from the smallest configuration."""

    name: str
    events: tuple[tuple[int, str], ...] = ()
    """`rank`: a rank is killed. `launcher`: the launcher is killed and started again. `stop`: SIGTERM, and started
    again. `freeze`: a rank stands still for a while, then is killed."""
    nodes: int = 1
    changes: tuple[tuple[str, Any], ...] = ()


_VALIDATION: Final = (("trainer__val_check_interval", 4), ("trainer__limit_val_batches", 2))
_PIPELINE: Final = (
    ("distributed_strategy__tensor_model_parallel_size", 1),
    ("distributed_strategy__sequence_parallel", False),
    ("distributed_strategy__pipeline_model_parallel_size", 2),
)
LIVES: Final = (
    Life("undisturbed"),
    Life("killed-rank", ((8, "rank"),)),
    Life("killed-ranks", ((7, "rank"), (13, "rank"), (18, "rank"))),
    Life("killed-launcher", ((9, "launcher"),)),
    Life("stopped", ((6, "stop"), (14, "stop"))),
    Life("rank-then-launcher", ((7, "rank"), (16, "launcher"))),
    Life("frozen", ((11, "freeze"),)),
    Life("two-nodes", ((8, "rank"),), nodes=2),
    Life("often-saved", changes=(("exp_manager__checkpoint_callback_params__every_n_train_steps", 1),)),
    Life("validated", changes=_VALIDATION),
    Life("in-background", ((9, "launcher"),), changes=(("exp_manager__async_checkpointing", True),)),
    Life("killed-early", ((1, "rank"),)),
    Life("killed-late", ((19, "rank"),)),
    Life("killed-twice-in-a-row", ((8, "rank"), (9, "rank"))),
    Life("stopped-early", ((1, "stop"),)),
    Life("frozen-then-stopped", ((7, "freeze"), (14, "stop"))),
    Life("two-nodes-stopped", ((9, "stop"),), nodes=2),
    Life("two-nodes-frozen", ((9, "freeze"),), nodes=2),
    Life("validated-and-killed", ((9, "rank"),), changes=_VALIDATION),
    Life("pipeline", ((4, "rank"),), changes=_PIPELINE),
)


def record(life: Life, tiny: Path, folder: Path) -> dict[str, float]:
    """Live it; return when its first launcher was started, and when the last one said how it has ended, as seen from
    outside. How long the interpreter then takes to leave (up to 4 s on a busy machine) is no time of the run."""
    log = folder / "log"
    steps = {"trainer__max_steps": 20, "trainer__devices": 2 // life.nodes, "trainer__num_nodes": life.nodes}
    validation = {"data__val_dir": str(tiny / "data")} if "trainer__val_check_interval" in dict(life.changes) else {}
    values = config(tiny, log, **steps, **validation, **dict(life.changes))
    path = write_config(folder / "config.yaml", values)
    begin = time.time()
    with Gang(folder, path, life.nodes) as gang:
        launchers = gang.start_all()
        for step, event in life.events:
            until(f"step {step} of {life.name}", lambda at=step: _reached(gang, log, at), bound=_BOUND, gang=gang)
            launchers = _strike(gang, launchers, event)
        host = launchers[0].log
        until("the end", lambda: _LAST_WORDS in host.read_text() or None, bound=_BOUND, gang=gang)
        end = time.time()
        codes = [launcher.wait(_BOUND) for launcher in launchers]
        assert codes == [0] * life.nodes, gang.logs()
    return {"begin": round(begin, 3), "end": round(end, 3)}


def _reached(gang: Gang, log: Path, step: int) -> bool | None:
    return last_step(log) >= step or any(launcher.process.poll() for launcher in gang.started[-1:]) or None


def _strike(gang: Gang, launchers: Sequence[Launcher], event: str) -> list[Launcher]:
    host = launchers[0]
    if event == "rank":
        kill_worker(host)
        return list(launchers)
    if event == "freeze":
        pid, since = workers(host)[-1], time.monotonic()
        os.kill(pid, signal.SIGSTOP)
        until("a while", lambda: time.monotonic() - since > 8 or None)
        os.kill(pid, signal.SIGKILL)
        return list(launchers)
    for launcher in launchers:
        if event == "stop":
            launcher.process.terminate()
            launcher.wait(_BOUND)
        else:
            launcher.kill()
    return gang.start_all()


def main(target: Path) -> None:
    """Record all lives."""
    with tempfile.TemporaryDirectory() as scratch:
        tiny = Path(scratch) / "tiny"
        tiny.mkdir()
        write_rows(tiny / "data", 512)
        (tiny / "model.json").write_text(json.dumps(MODEL))
        for life in LIVES:
            folder, kept = Path(scratch) / life.name, target / life.name
            if (kept / WALL_FILE).exists():
                continue
            folder.mkdir()
            wall = record(life, tiny, folder)
            kept.mkdir(parents=True, exist_ok=True)
            (kept / TIMELINE_FILE).write_bytes((folder / "log" / TIMELINE_FILE).read_bytes())
            times = [line["time"] for line in metrics(folder / "log")]
            (kept / WALL_FILE).write_text(json.dumps({**wall, "steps": times, "events": life.events}) + "\n")
            print(life.name, round(wall["end"] - wall["begin"], 1), flush=True)  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]))
