"""A save with PyTorch 2.9, whose own code uses what it warns of."""

import os
import subprocess
import sys
from pathlib import Path

SAVE = """
import sys
from pathlib import Path
import torch
from torch.distributed.checkpoint.default_planner import DefaultSavePlanner
from neuron_trainer.checkpoint.shards import ShardWriter
writer, planner = ShardWriter(Path(sys.argv[1])), DefaultSavePlanner()
planner.set_up_planner({"weight": torch.ones(3)}, None, True)
writer.set_up_storage_writer(True)
plan = writer.prepare_local_plan(planner.create_local_plan())
(plan,) = writer.prepare_global_plan([plan])
writer.write_data(planner.finish_plan(plan), planner).wait()
print(sorted(writer.entries))
"""


def test_a_save_prints_no_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SAVE, str(tmp_path)]
    done = subprocess.run(command, env=os.environ, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() not in {"", "[]"}
    assert "TypedStorage" not in done.stderr
