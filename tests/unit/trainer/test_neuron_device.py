"""The stand-in of a Neuron device: each of its rules bites, and it computes what the CPU computes."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from neuron_device import build, cases, report

pytestmark = pytest.mark.slow

PROGRAM = Path(cases.__file__)


@pytest.fixture(scope="module")
def answers(neuron_device: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[list[str]]]:
    """What each process said of each case: of what is refused, and of what is allowed."""
    file = tmp_path_factory.mktemp("cases") / "answers.json"
    done = subprocess.run(
        [sys.executable, PROGRAM, file], env=neuron_device, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(file.read_text())


@pytest.mark.parametrize("name", cases.CASES)
def test_every_rule_is_enforced_and_what_is_near_it_is_allowed(name: str, answers: dict[str, list[list[str]]]) -> None:
    refused, allowed = answers[name]
    assert all(cases.CASES[name].words in said for said in refused), refused
    assert not any(allowed), allowed


def run(variables: dict[str, str], text: str) -> subprocess.CompletedProcess[str]:
    """Run a program of a few lines."""
    return subprocess.run([sys.executable, "-c", text], env=variables, capture_output=True, text=True, check=False)


def answer(variables: dict[str, str], text: str) -> Any:
    """The JSON that a program prints."""
    done = run(variables, text)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_pytorch_does_not_load_it_where_it_is_told_not_to(neuron_device: dict[str, str]) -> None:
    text = "import json, sys, torch; print(json.dumps('torch_neuronx' in sys.modules))"
    assert answer({**neuron_device, "TORCH_DEVICE_BACKEND_AUTOLOAD": "0"}, text) is False


NUMBERS = """
import json, math, sys, torch
from torch import nn

def train(device):
    torch.manual_seed(1)
    model = nn.Sequential(nn.Embedding(7, 8), nn.Linear(8, 8), nn.GELU(), nn.LayerNorm(8), nn.Linear(8, 7)).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    ids = torch.arange(12).remainder(7).view(3, 4).to(device)
    losses = []
    for _ in range(4):
        loss = nn.functional.cross_entropy(model(ids).flatten(0, 1), ids.flatten().roll(1))
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses

def draw():
    drawn = [torch.rand(3, device="neuron"), nn.functional.dropout(torch.ones(9, device="neuron"), 0.5)]
    return [one.tolist() for one in drawn]

def random():
    torch.manual_seed(3)
    host = torch.rand(3).tolist()
    torch.manual_seed(3)
    state = torch.neuron.get_rng_state()
    drawn, after = draw(), torch.rand(3).tolist()
    torch.neuron.set_rng_state(state)
    return {"bytes": len(state), "host is kept": host == after, "restored": draw() == drawn, "own": host != drawn[0]}

def late():
    number, place = torch.full((2,), 5.0, device="neuron"), torch.empty(2, pin_memory=True)
    place.copy_(number, non_blocking=True)
    event = torch.neuron.Event()
    event.record()
    early = [math.isnan(one) for one in place.tolist()]
    event.synchronize()
    return {"early": early, "after": place.tolist()}

print(json.dumps({"cpu": train("cpu"), "neuron": train("neuron"), "random": random(), "late": late()}))
"""


@pytest.fixture(scope="module")
def numbers(neuron_device: dict[str, str]) -> Any:
    """What a program that computes on the device has found."""
    return answer(neuron_device, NUMBERS)


def test_a_training_has_the_losses_of_the_cpu(numbers: Any) -> None:
    assert numbers["neuron"] == pytest.approx(numbers["cpu"], rel=1e-5)


def test_its_random_numbers_are_its_own(numbers: Any) -> None:
    assert numbers["random"] == {"bytes": 16, "host is kept": True, "restored": True, "own": True}


def test_a_copy_that_is_read_before_the_host_has_waited_is_not_there(numbers: Any) -> None:
    assert numbers["late"] == {"early": [True, True], "after": [5.0, 5.0]}


FALLBACKS = """
import json, torch, torch_neuronx
tensor = torch.ones(4, 2, device="neuron")
tensor.topk(1)
tensor.exp()
tensor[:, 0].add_(1)
print(json.dumps(torch_neuronx.get_fallback_ops()))
"""


def test_operators_that_the_host_computes_are_told(neuron_device: dict[str, str]) -> None:
    variables = {**neuron_device, "NEURON_STANDIN_FALLBACKS": "aten::topk"}
    variables["TORCH_NEURONX_FALLBACK_ONLY_FOR_UNIMPLEMENTED_OPS"] = "0"
    assert answer(variables, FALLBACKS) == ["aten::add", "aten::topk"]


COUNTED = """
import torch
from torch_neuronx import observer
tensor = torch.ones(4, device="neuron")
observer.begin("step 1")
total = tensor.sum() + torch.ones(4).to("neuron").sum()
observer.begin("step 2")
total.item()
tensor[tensor > 0]
torch.neuron.synchronize()
event = torch.neuron.Event(); event.record(); event.synchronize()
event.record(); tensor.exp(); event.synchronize()
total.cpu()
tensor[:2].copy_(torch.ones(2).pin_memory(), non_blocking=True)
tensor[::2].copy_(torch.ones(2, device="neuron"))
observer.begin("step 3")
wide = torch.arange(4).to("neuron")
narrow = wide.int()
(wide + 1, narrow + 1, wide.view(2, 2))
torch.compile(lambda ids: ids + 1, backend="neuron", dynamic=False)(wide)
"""


def test_what_the_host_waits_for_and_copies_is_counted_by_phase(neuron_device: dict[str, str], tmp_path: Path) -> None:
    done = run({**neuron_device, "NEURON_STANDIN_REPORT": str(tmp_path), "RANK": "0"}, COUNTED)
    assert done.returncode == 0, done.stderr
    (seen,) = report.read(tmp_path)
    assert dict(seen.counts("step 1")) == {"to_device": 1}
    expected = {"wait": 4, "late_wait": 1, "to_host": 1, "to_device": 1, "dynamic": 2, "strided_copy": 1, "int64": 1}
    assert dict(seen.counts("step 2")) == expected, report.table([seen], "step 2", *expected)
    assert seen.operators["step 1"]["aten::sum"] == 2
    assert dict(seen.counts("step 3")) == {"to_device": 1, "int64": 2}, report.table([seen], "step 3", "int64")
    assert seen.steps == [1, 2, 3]


TEARDOWN = "import torch; torch.ones(1, device='neuron'); print('done')"


def test_a_crash_in_the_teardown_comes_after_the_work(neuron_device: dict[str, str]) -> None:
    done = run({**neuron_device, "NEURON_STANDIN_TEARDOWN": "crash"}, TEARDOWN)
    assert (done.returncode, done.stdout) == (-11, "done\n")


def test_without_a_compiler_one_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(RuntimeError, match=r"install g\+\+ 11 or newer"):
        build.folder()
