"""The scripts of hack/ start from anywhere, and none starts its work when it is asked for help or called wrongly.

Found when modules moved: `hack/test-inputs` imported a module of tests/ that no test imported by that path. And
`hack/soak --help` began a soak of eight hours.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from bounds import BOUND

ROOT: Final = Path(__file__).parents[2]
SCRIPTS: Final = sorted(
    path.name for path in (ROOT / "hack").iterdir() if path.is_file() and path.read_bytes().startswith(b"#!")
)


def call(name: str, argument: str, folder: Path) -> tuple[int, str]:
    """Exit code and output; whatever a script has started ends with it."""
    script = ROOT / "hack" / name
    command = [sys.executable, str(script)] if "python" in script.read_text().splitlines()[0] else [str(script)]
    with subprocess.Popen(
        [*command, argument],
        cwd=folder,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=BOUND)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, output


def test_all_scripts_are_listed() -> None:
    assert {"cluster", "demo", "generate", "soak", "test", "venv"} < set(SCRIPTS)


@pytest.mark.slow
@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_says_what_it_does(name: str, tmp_path: Path) -> None:
    code, output = call(name, "--help", tmp_path)
    assert code == 0, output
    assert "usage:" in output.lower()


@pytest.mark.slow
@pytest.mark.parametrize("name", SCRIPTS)
def test_an_unknown_argument_starts_nothing(name: str, tmp_path: Path) -> None:
    code, output = call(name, "--no-such-argument", tmp_path)
    assert code == 2, output
    assert "usage:" in output.lower()
    assert list(tmp_path.iterdir()) == []
