"""`kubectl-neuron completion SHELL`: the words that a tab adds in the shell itself, on a terminal of its own.

Kind: a script that reads well and completes nothing, or something else than kubectl's own completion would. bash is on
every machine that runs this; zsh and fish take part where they are installed.
"""

import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from neuron_operator.cli import completion, completion_scripts
from neuron_operator.cli.__main__ import main as plugin
from neuron_operator.cli.completion_scripts import SCRIPTS

START: Final = {
    "bash": ["--norc", "--noprofile", "-i"],
    "zsh": ["-f", "-i"],
    "fish": ["--no-config", "--interactive"],
}
PREPARE: Final = {"bash": "bind 'set bell-style none'", "zsh": "autoload -Uz compinit; compinit -D -u", "fish": "true"}
PROGRAM: Final = """#!/bin/sh
printf 'RAN: %s\\n' "$*"
"""
INSTALLED: Final = tuple(shell for shell in SCRIPTS if shutil.which(shell))


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder with a `kubectl-neuron` that says how it was called, and the real program that completes."""
    folder = tmp_path / "bin"
    folder.mkdir()
    helper = f'#!/bin/sh\nexec {sys.executable} -m {completion.__name__} "$@"\n'
    for name, text in {"kubectl-neuron": PROGRAM, "kubectl_complete-neuron": helper}.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return folder


def typed(shell: str, line: str, folder: Path) -> str:
    """What the program says that it was called with, when a person types this line in an interactive shell."""
    (folder / "script").write_text(SCRIPTS[shell])
    controller, terminal = pty.openpty()
    environment = os.environ | {"PATH": f"{folder}:{os.environ['PATH']}", "TERM": "dumb", "HOME": str(folder)}
    # One command a line, as they are typed: the last one ends the shell.
    keys = f"{PREPARE[shell]}; source {folder}/script\n{line}\nexit\n"
    with subprocess.Popen(
        ["setsid", "--ctty", shell, *START[shell]],  # a terminal of its own, as fish asks for
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env=environment,
        cwd=folder,
    ) as process:
        os.close(terminal)
        os.write(controller, keys.encode())
        output = b"".join(iter(lambda: read(controller), b"")).decode()
        process.wait()
    os.close(controller)
    calls = [text.rstrip("\r") for text in output.split("\n") if text.startswith("RAN: ")]
    assert calls, output
    return calls[-1].removeprefix("RAN: ").strip()


def read(controller: int) -> bytes:
    """Bytes of the terminal; none when its shell has ended, which Linux reports as an error."""
    try:
        return os.read(controller, 4096)
    except OSError:
        return b""


@pytest.mark.slow
@pytest.mark.parametrize("shell", INSTALLED)
@pytest.mark.parametrize(
    ("line", "call"),
    [
        ("kubectl-neuron stat\t", "status"),
        ("kubectl-neuron plan --instance-type trn2.4\t", "plan --instance-type trn2.48xlarge"),
        ("kubectl-neuron status --output=js\t", "status --output=json"),
        ("kubectl-neuron submit my-conf\t", "submit my-configuration.yaml"),
        ("./kubectl-neuron completion fi\t", "completion fish"),
    ],
)
def test_a_tab_completes(shell: str, line: str, call: str, programs: Path) -> None:
    (programs / "my-configuration.yaml").touch()
    assert typed(shell, line, programs) == call


def test_bash_takes_part() -> None:
    assert "bash" in INSTALLED


@pytest.mark.parametrize("shell", SCRIPTS)
def test_the_command_writes_the_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert plugin(["completion", shell]) == 0
    assert capsys.readouterr().out == SCRIPTS[shell]


def test_a_shell_that_is_none_is_named_with_those_that_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        completion_scripts.run(["csh"], print)
    assert "bash, zsh, fish" in capsys.readouterr().err.replace("'", "")
