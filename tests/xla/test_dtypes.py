"""Dtypes on a lazy device are what they are called, with the variables that the launcher sets, in a process of its own.

torch_xla reads XLA_DOWNCAST_BF16 once, and `dtype` says float32 with it, too: so the text of a program is asked, and
weights whether they move.
"""

import json
import os
import re
import subprocess
import sys
from typing import Any

import pytest

from distributed import families
from distributed.splits import REFERENCES
from neuron_api.platform import environment

CODE = """
import json
from distributed import families
from xla import lazy

def of(kind):
    backend, gradients, optimizer, _ = lazy._build(*lazy._configured(f"llama, in {kind}", "one process"), device)
    leaves = [parameter.leaf for parameter in backend.parameters()]
    norm = min(leaves, key=lambda leaf: leaf.numel())
    before = norm.detach().cpu().clone()
    for step in range(2):
        for group in optimizer.param_groups:
            group["lr"] = 1e-4
        batch = {name: part.to(device) for name, part in families.batch("llama", step, backend.share).items()}
        sums = gradients.compute(batch)
        optimizer.step()
        states = [value for state in optimizer.state.values() for value in state.values() if value.numel() > 1]
        results = [sums.loss, sums.gradient_norm, *leaves, *states]
        text = torch_xla._XLAC._get_xla_tensors_hlo(results)
        backend.end_step(step + 1)
    return {"moved": (norm.cpu() - before).abs().max().item(), "text": text, "leaves": len(leaves)}

with lazy.alone() as device:
    import torch_xla
    print(json.dumps({kind: of(kind) for kind in KINDS}))
"""
KINDS = ("mixed_precision", "mixed_precisionSR", "autocast", "bf16SR")


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Of each type: how far the weights of a norm have moved, and the text of a step."""
    config = families._config("llama, in mixed_precision", REFERENCES["one process"], tmp_path_factory.mktemp("config"))
    present = {**os.environ, "XLA_DOWNCAST_BF16": "1", "XLA_USE_BF16": "1"}  # of an image for NxDT
    variables = present | environment.apply(environment.derive(config), present)
    code = CODE.replace("KINDS", repr(KINDS))
    variables["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))  # with pytest's
    done = subprocess.run([sys.executable, "-c", code], env=variables, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return result


@pytest.mark.parametrize("kind", KINDS)
def test_masters_states_losses_and_norms_are_fp32_in_the_program(kind: str, steps: dict[str, dict[str, Any]]) -> None:
    (line,) = re.findall(r"ROOT .* = \((.*?)\) tuple\(", steps[kind]["text"])
    loss, norm, *weights = re.findall(r"([a-z]+\d+)\[", line)
    assert (loss, norm) == ("f32", "f32")
    count = steps[kind]["leaves"]
    assert set(weights[:count]) == ({"bf16"} if kind == "bf16SR" else {"f32"})
    assert set(weights[count:]) == {"f32"}, "states of adamw_fp32OptState"


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "bf16SR"])
def test_weights_move_by_less_than_bf16_has(kind: str, steps: dict[str, dict[str, Any]]) -> None:
    """The weight of a norm is 1, beside which bf16 has nothing nearer than 0.0039 below and 0.0078 above."""
    assert 1e-4 < steps[kind]["moved"] < 1e-3
