"""The compile cache between starts: lost, moved, cut down or removed meanwhile, and who compiles what is missing.

Real files and the phase's own code on one process; the compiler is a function that writes a file. Real compilations:
tests/distributed/test_compile_phase.py.
"""

import logging
import shutil
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch.distributed as dist

from neuron_trainer.compile_phase.phase import CompilePhase
from neuron_trainer.compile_phase.record import CompileStore
from neuron_trainer.parallel import hosts
from neuron_trainer.storage import lease

FACTS = {"model.num_layers": 2}


@pytest.fixture(scope="module")
def alone(one_process: None) -> None:
    """A process group of this process."""
    hosts.init("cpu", timedelta(seconds=30))


@dataclass
class Run:
    """A run with a cache, whose compiler writes a folder for each graph that is not there."""

    cache: Path
    log: pytest.LogCaptureFixture
    compiled: list[str] = field(default_factory=list)

    def start(self, launch: str = "", *, has_run: bool = False, others: tuple[str, ...] = ()) -> bool:
        """One start's phase, and whether it has compiled; `others`: launchers of other nodes."""
        phase = CompilePhase(CompileStore.create(self.cache, FACTS), lease.myself(), None, launch, has_run)
        gather = dist.all_gather_object

        def with_others(every: list[Any], own: Any, group: Any) -> None:
            gather(every, own, group=group)
            every += [(other, has_run) for other in others]

        with pytest.MonkeyPatch.context() as patch, self.log.at_level(logging.INFO):
            self.log.clear()
            patch.setattr(CompilePhase, "_compile", self._compile)
            patch.setattr(dist, "all_gather_object", with_others)
            return phase.run(lambda: None)  # type: ignore[arg-type,return-value]

    def _compile(self, *_: object) -> int:
        folders = [self.cache / "neff" / f"MODULE_{name}" for name in "abc"]
        missing = [folder for folder in folders if not folder.exists()]
        for folder in missing:
            folder.mkdir(parents=True)
            (folder / "model.neff").write_bytes(b"0")
            self.compiled.append(folder.name)
        return len(missing)


@pytest.fixture
def run(alone: None, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Run:
    del alone
    return Run(tmp_path / "cache", caplog)


def test_once_for_each_fingerprint(run: Run) -> None:
    assert run.start()
    assert f"{run.cache} has no record of the fingerprint" in run.log.text
    assert len(run.compiled) == 3
    assert not run.start()


def test_a_lost_cache_is_compiled_anew_and_said(run: Run) -> None:
    run.start()
    shutil.rmtree(run.cache)
    assert run.start()
    assert f"{run.cache} has no record of the fingerprint" in run.log.text
    assert len(run.compiled) == 6


def test_locks_that_a_killed_compiler_has_left_do_not_stop_the_next_phase(run: Run) -> None:
    lock = run.cache / "neuronxcc" / "MODULE_a" / "model.hlo_module.pb.lock"
    lock.parent.mkdir(parents=True)
    lock.touch()
    assert run.start()
    assert not lock.exists()


def test_graphs_that_are_gone_while_their_record_is_there_are_compiled_before_training(run: Run) -> None:
    run.start()
    shutil.rmtree(run.cache / "neff" / "MODULE_b")
    assert run.start()
    assert f"2 of the 7 files that the compilers had in {run.cache} are gone" in run.log.text
    assert run.compiled[3:] == ["MODULE_b"]
    assert not run.start()


def test_a_cache_that_was_moved_with_all_that_is_in_it_is_used(run: Run) -> None:
    run.start()
    run.cache = run.cache.rename(run.cache.with_name("elsewhere"))
    assert not run.start()
    (run.cache / "neff" / "MODULE_of_another_run").mkdir()
    (run.cache / "neff" / "draft.tmp").touch()
    assert not run.start(), "others add to it"


def test_only_its_record_was_moved(run: Run) -> None:
    run.start()
    new = run.cache.with_name("new")
    shutil.copytree(run.cache / "fingerprints", new / "fingerprints")
    run.cache = new
    assert run.start()
    assert "7 of the 7 files" in run.log.text


def test_a_cache_that_vanishes_while_a_phase_runs_costs_the_record_and_not_the_run(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiles = run._compile

    def vanishes(*arguments: object) -> int:
        compiled = compiles(*arguments)
        shutil.rmtree(run.cache)
        return compiled

    monkeypatch.setattr(run, "_compile", vanishes)
    assert run.start("one")
    assert "what is compiled is not recorded: No such file or directory" in run.log.text
    monkeypatch.undo()
    assert not run.start("one", has_run=True), "it trains, and its first step compiles"
    assert run.start("two")


class TestAlways:
    """`compilePolicy.mode: Always`: at every start of a pod, once for all nodes."""

    def test_a_round_that_begins_again_in_the_same_pods_has_none(self, run: Run) -> None:
        assert run.start("one", others=("two",))
        assert not run.start("one", others=("two",)), "also where a launcher has not seen that it was done"
        assert not run.start("one", has_run=True)

    def test_whichever_pod_starts_anew(self, run: Run) -> None:
        run.start("one", others=("two",))
        assert run.start("one", others=("three",))
        assert "Always, and a pod has started since the last phase" in run.log.text
        assert len(run.compiled) == 3, "what is there is not compiled again"
        assert not run.start("one", others=("three",))

    def test_one_that_was_interrupted_is_done_again(self, run: Run) -> None:
        store = CompileStore.create(run.cache, FACTS)
        store.write(graphs=2, compiled=2, seconds=1.0, complete=False, launches=("one",))
        assert run.start("one")
        assert "UTC, did not end" in run.log.text
