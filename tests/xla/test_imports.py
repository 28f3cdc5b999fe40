"""The trainer on PyTorch 2.9: everything but the backend `native` is there, and nothing of it takes a core."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import neuron_trainer
from distributed import families
from distributed.splits import REFERENCES
from neuron_trainer import parallel
from neuron_trainer.metrics import graphs
from neuron_trainer.metrics.graphs import GraphCounts

from . import lazy

PACKAGE = Path(neuron_trainer.__file__).parent
NOT_HERE = ("parallel.native", "launcher.elastic.preload")
"""What needs PyTorch 2.14, and what changes the process that imports it (its own test)."""


def modules() -> list[str]:
    """Names of all modules that have to work here."""
    paths = (path.relative_to(PACKAGE).with_suffix("") for path in PACKAGE.rglob("*.py"))
    names = {".".join(path.parts).removesuffix(".__init__") for path in paths}
    return sorted(name for name in names if name != "__init__" and not name.startswith(NOT_HERE))


def python(code: str) -> str:
    """What a process of its own prints."""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


def test_every_module_but_native_is_imported_without_a_runtime() -> None:
    names = modules()
    assert len(names) > 150
    code = f"""
import importlib, sys
for name in {names}:
    importlib.import_module("neuron_trainer." + name)
print("torch_xla" in sys.modules)
"""
    assert python(code) == "False\n"


def test_the_forkserver_has_no_runtime_and_one_thread() -> None:
    code = """
import sys, threading
import neuron_trainer.launcher.elastic.preload
print("torch_xla" in sys.modules, threading.active_count(), "neuron_trainer.loop.run" in sys.modules)
"""
    assert python(code) == "False 1 True\n"


def test_a_run_on_hosts_takes_the_backend_that_this_pytorch_has(tmp_path: Path) -> None:
    typed = families._config("llama", REFERENCES["one process"], tmp_path)
    assert parallel.select(typed, "cpu") is parallel.provider("xla")
    assert parallel.select(typed, "xla") is parallel.provider("xla")


def test_graphs_are_compiled_and_counted() -> None:
    """The counts that tests of compilations rely on are real here."""
    lazy.load()
    import torch_xla
    from torch_xla.debug import metrics

    device = torch_xla.device()
    metrics.clear_all()
    before = graphs.count()
    values = torch.ones(3, device=device)
    for _ in range(3):
        values = values * 2
        torch_xla.sync()
    assert values.cpu().tolist() == pytest.approx([8.0, 8.0, 8.0])
    compiled, _, _ = metrics.metric_data("CompileTime")
    executed, _, _ = metrics.metric_data("ExecuteTime")
    assert torch.__version__.startswith("2.9.1") and 0 < compiled < executed
    assert before.done == 0 and graphs.count() == GraphCounts(compiled=compiled)
