"""A process that ends in native code leaves no traceback: what it wrote to its standard error is the report."""

import signal
from pathlib import Path

import pytest

from neuron_api.resource.progress import ProcessFailure
from neuron_operator import failure_rules
from neuron_operator.planning.failures import signals

from .nodes import Gang, until
from .tiny import config, write_config

pytestmark = pytest.mark.distributed

EXAMPLES = Path(__file__).parents[2] / "examples"
SAID = "NRT: nrt_execute: execution failed, status_code=1202"
MODULE = f"""
import os
from counting import Counting, Numbers


class Faulty(Numbers):
    def take(self, indices):
        if os.environ.get("RANK") == "1" and max(indices) >= 32:
            os.write(2, b"{SAID}\\n")
            os.abort()
        return super().take(indices)


class Module(Counting):
    def samples(self, part):
        return Faulty(64, self._length, self._stride, vocabulary=64)
"""


def test_the_runtimes_last_words_are_in_the_report_and_on_the_console(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "native.py").write_text(MODULE)
    monkeypatch.setenv("PYTHONPATH", f"{EXAMPLES}:{tmp_path}")
    values = config(
        tiny, tmp_path / "log", trainer__num_nodes=1, trainer__max_steps=8, data__stride=3,
        data__data_module="native:Module", data__train_dir=None,
        distributed_strategy__tensor_model_parallel_size=1, distributed_strategy__sequence_parallel=False,
    )  # fmt: skip
    with Gang(tmp_path, write_config(tmp_path / "config.yaml", values), num_nodes=1) as gang:
        launcher = gang.start(0)

        def failures() -> tuple[ProcessFailure, ...] | None:
            report = launcher.report()
            return report.failures if report else None

        failure = until("a failure in the report", failures, gang=gang)[0]
        assert launcher.wait() == 1, gang.logs()
        logs = gang.logs()
    assert (failure.rank, failure.exit_code, failure.message) == (1, -signal.SIGABRT, "ended by SIGABRT")
    assert SAID in failure.lines
    assert f"failed at step {failure.step}: ended by SIGABRT" in logs
    assert signals.neuron_code(failure_rules.built_in(), signals.process_text(failure)) == 1202
