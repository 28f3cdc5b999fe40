"""The compile phase of real runs, by Inductor: nothing is compiled twice, whoever needs it and whatever was killed.

One story, since a compilation takes its time: a run is killed while it compiles; two jobs with the same fingerprint
start at once and train; one of them loses its pod. The C++ compiler is called without its optimizer, three times as
fast; counts are the same.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from neuron_api import contract
from neuron_api.resource.progress import CompileReport

from .nodes import Gang, Launcher, last_step, until
from .tiny import config

pytestmark = [
    pytest.mark.distributed,
    pytest.mark.skipif(shutil.which("g++") is None, reason="Inductor needs a C++ compiler"),
]
STEPS = 100_000
BOUND = 900.0
"""Seconds for a compilation on a busy machine."""


def job(tiny: Path, folder: Path, cache: Path, **changes: Any) -> Path:
    values = config(
        tiny, folder / "log", trainer__devices=1, trainer__num_nodes=1, trainer__max_steps=STEPS,
        distributed_strategy__tensor_model_parallel_size=1, distributed_strategy__sequence_parallel=False,
        model__compile="inductor", **changes,
    )  # fmt: skip
    values["compiler_cache_url"] = str(cache)
    folder.mkdir(exist_ok=True)
    (folder / "run.yaml").write_text(yaml.safe_dump(values))
    return folder / "run.yaml"


def reported(launcher: Launcher) -> CompileReport | None:
    report = launcher.report()
    return report.compilation if report is not None else None


def graphs(launcher: Launcher) -> tuple[int, int]:
    """Graphs that a launcher's newest training compiled, and took from the cache, until its first step."""
    found = re.findall(r"graphs until the first step: (\d+) compiled, (\d+) from the cache", launcher.log.read_text())
    return int(found[-1][0]), int(found[-1][1])


@dataclass
class Story:
    """What came out."""

    killed: CompileReport
    """The last that the run which was killed has reported."""
    phases: list[CompileReport]
    """Of the two jobs that were started at once."""
    logs: list[str]
    trained: list[tuple[int, int]]
    replaced: tuple[int, int]
    replaced_log: str
    command: subprocess.CompletedProcess[str]
    """`neuron-train compile`, without data."""


@pytest.fixture(scope="module")
def story(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    folder = tmp_path_factory.mktemp("compile-phase")
    compiler = folder / "c++"
    compiler.write_text('#!/bin/bash\nexec g++ "${@/-O3/-O0}"\n')
    compiler.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "CXX", str(compiler))
        patch.setitem(os.environ, "TORCHINDUCTOR_COMPILE_THREADS", "1")
        yield carry_out(tiny, folder)


def carry_out(tiny: Path, folder: Path) -> Story:
    cache = folder / "cache"
    one, two = (Gang(folder / name, job(tiny, folder / name, cache), 1) for name in ("one", "two"))
    with one, two:
        victim = one.start(0)

        def some() -> CompileReport | None:
            report = reported(victim)
            return report if report is not None and report.done >= 3 else None

        killed = until("a part to be compiled", some, BOUND, one)
        victim.kill()
        pair = [one.start(0), two.start(0)]
        for gang, launcher in zip((one, two), pair, strict=True):
            until("the first steps", lambda gang=gang: last_step(gang.folder / "log") > 5, BOUND, gang)
            assert launcher.process.poll() is None
        phases = [reported(launcher) for launcher in pair]
        pair[1].kill()
        replacement = two.start(0)
        until("the replaced pod to train", lambda: "first step done" in replacement.log.read_text(), BOUND, two)
        return Story(
            killed,
            [phase for phase in phases if phase is not None],
            [launcher.log.read_text() for launcher in pair],
            [graphs(launcher) for launcher in pair],
            graphs(replacement),
            replacement.log.read_text(),
            compile_alone(job(tiny, folder / "three", cache, data__train_dir=str(folder / "no-data"))),
        )


def compile_alone(path: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "neuron_trainer", "compile", str(path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}  # as `Launcher`: the number of threads is in the graphs
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=BOUND, check=False)


def test_what_a_killed_phase_compiled_is_used_and_its_lock_is_free(story: Story) -> None:
    (compiler,) = (phase for phase in story.phases if phase.compiled)
    assert not story.killed.complete and story.killed.compiled >= 3
    assert compiler.complete and compiler.done == compiler.expected
    assert 0 < compiler.compiled <= compiler.done - story.killed.compiled


def test_two_jobs_with_one_fingerprint_compile_once(story: Story) -> None:
    assert len(story.phases) == 2 and all(phase.complete for phase in story.phases)
    assert sorted(phase.compiled > 0 for phase in story.phases) == [False, True]
    assert sum("the same graphs are being compiled by process" in log for log in story.logs) == 1
    assert sum("compile phase: " in log for log in story.logs) == 1


def test_training_compiles_nothing_after_the_phase(story: Story) -> None:
    counts = {compiled for compiled, _ in story.trained}
    assert counts == {0} and all(reused > 5 for _, reused in story.trained)


def test_a_replaced_pod_compiles_nothing_and_has_no_phase(story: Story) -> None:
    compiled, reused = story.replaced
    assert compiled == 0 and reused > 5
    assert "compile phase: " not in story.replaced_log and "training resumes at step" in story.replaced_log


def test_the_command_does_the_phase_alone_and_needs_no_data(story: Story) -> None:
    assert story.command.returncode == 0, story.command.stderr
    said = story.command.stdout + story.command.stderr
    assert "10 graphs of the first process are in " in said and "0 of them were compiled now" in said
    assert "training begins" not in said


def test_a_part_that_cannot_be_compiled_ends_the_run_at_once(tiny: Path, tmp_path: Path) -> None:
    """The compiler's own words, once, with an exit code that no operator retries."""
    compiler = tmp_path / "c++"
    compiler.write_text(
        '#!/bin/bash\ncase "$*" in *--version*) exec g++ "$@" ;; esac\necho "no room for gelu" >&2; exit 1\n'
    )
    compiler.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "CXX", str(compiler))
        patch.setitem(os.environ, "TORCHINDUCTOR_COMPILE_THREADS", "1")
        with Gang(tmp_path, job(tiny, tmp_path, tmp_path / "cache"), 1) as gang:
            launcher = gang.start(0)
            assert launcher.wait(BOUND) == contract.ExitCode.COMPILATION
    said = launcher.log.read_text()
    assert "a part of the model could not be compiled: " in said
    assert "no room for gelu" in said.partition("The compiler says:")[2]
    assert said.count("The compiler says:") == 1 and "restarting the processes" not in said
