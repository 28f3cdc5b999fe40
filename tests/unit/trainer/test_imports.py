"""What a start imports: its largest phase, in a pod and after each loss of one."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow


def printed(code: str) -> str:
    """By a fresh interpreter."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


WORKER = "import neuron_trainer.launcher.elastic.preload"
BEFORE_THE_FORKSERVER = """
import neuron_trainer.__main__
import neuron_trainer.launcher.start
"""
HELP = """
import neuron_trainer.__main__
neuron_trainer.__main__.parser().format_help()
"""
LAUNCHER = f"""{BEFORE_THE_FORKSERVER}
from torch.distributed.elastic.agent.server.api import RunResult
from neuron_trainer.preflight import preflight
from neuron_trainer.worker import Job
from neuron_trainer.launcher.elastic import supervisor
from neuron_trainer.launcher.elastic.shared_state import SharedState
from neuron_trainer.launcher.elastic.shared_state import RestartBudget
from neuron_trainer.launcher.checkpoint_selector import CheckpointSelector
"""
SECONDS = ("matplotlib", "transformers", "rich", "pandas", "datasets", "tensorboard", "torchvision")
"""Packages that take long and that a step does not need."""


@pytest.mark.parametrize(("code", "absent"), [
    (HELP, (*SECONDS, "lightning", "torch", "numpy", "pydantic", "yaml")),
    (BEFORE_THE_FORKSERVER, (*SECONDS, "lightning", "torch", "numpy")),
    (WORKER, SECONDS),
    (LAUNCHER, (*SECONDS, "lightning", "sympy", "torch._dynamo", "torch.distributed.tensor", "torch.distributed.fsdp")),
], ids=["help", "first", "worker", "launcher"])  # fmt: skip
def test_what_no_step_needs_is_not_imported(code: str, absent: tuple[str, ...]) -> None:
    assert printed(f"{code}\nimport sys; print([name for name in {absent} if name in sys.modules])") == "[]"


def test_who_imports_torchmetrics_in_a_worker_has_all_of_it() -> None:
    """Lightning has had it without its plots and its scores of texts."""
    code = f"""
{WORKER}
from lightning_utilities.core.imports import RequirementCache
import torchmetrics
from torchmetrics.functional.text import bert_score
from torchmetrics.utilities.plot import _AX_TYPE
print(_AX_TYPE.__name__, bert_score.__name__, bool(RequirementCache("transformers>=4.4.0")))
"""
    assert printed(code) == "Axes bert_score True"
