"""The scripts of hack/ start from anywhere: what they import is where they look for it.

Found when modules moved: `hack/test-inputs` imported a module of tests/ that no test imported by that path.
"""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["test-inputs", "numerics", "measure-code", "record-megatron-indices"])
def test_a_script_says_what_it_does(name: str, tmp_path: Path) -> None:
    script = ROOT / "hack" / name
    done = subprocess.run([sys.executable, script, "--help"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "usage:" in done.stdout.lower()
