"""LoRA against full fine-tuning, and against PEFT with the same model: memory, checkpoint, tokens per second.

Each measurement is a process of its own, in turns; the model has 100 M parameters. `make bench-alignment`. PEFT's turn
needs `peft` (pip install peft==0.21.2); without it the comparison is left out, and the output says so.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
SEQUENCE, ROWS = 128, 2
MODEL = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 16_000, "hidden_size": 768,
    "intermediate_size": 2048, "num_hidden_layers": 12, "num_attention_heads": 12, "num_key_value_heads": 4,
    "max_position_embeddings": SEQUENCE, "rms_norm_eps": 1e-5, "initializer_range": 0.02, "tie_word_embeddings": False,
}  # fmt: skip
"""100.1 million parameters."""
TARGETS = {"lora": ["qkv_proj"], "lora, all linears": ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]}
COMPARED = ["q_proj", "v_proj"]
"""Targets that PEFT has, too."""
BARS = {"memory": 0.45, "checkpoint": 0.02, "speed": 0.97}


def _values(folder: Path, peft: dict[str, Any] | None) -> dict[str, Any]:
    values: dict[str, Any] = {
        "name": "lora", "model_source": "hf", "seed": 1, "precision": {"type": "fp32"},
        "trainer": {"devices": 1, "num_nodes": 1, "max_steps": 10, "gradient_clip_val": None},
        "exp_manager": {"explicit_log_dir": str(folder), "create_checkpoint_callback": False},
        "distributed_strategy": {"zero1": False},
        "data": {"micro_batch_size": ROWS, "global_batch_size": ROWS, "train_dir": str(folder / "x.jsonl"),
                 "seq_length": SEQUENCE, "tokenizer": {"type": str(folder)}},
        "model": {"model_config": str(folder / "config.json"), "encoder_seq_length": SEQUENCE,
                  "optim": {"name": "adamw", "lr": 1e-4, "weight_decay": 0.0,
                            "sched": {"name": "WarmupPolicy", "max_steps": 99}}},
        "model_alignment_strategy": {"sft": {}, **({"peft": peft} if peft else {})},
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(MODEL))
    return values


def _batches(count: int) -> Any:
    import torch

    generator = torch.Generator().manual_seed(0)
    return [torch.randint(0, MODEL["vocab_size"], (ROWS, SEQUENCE), generator=generator) for _ in range(count)]


def ours(folder: Path, peft: dict[str, Any] | None, steps: int, *, counts: bool) -> dict[str, float]:
    """The trainer's own step: bytes at the peak and of a checkpoint, or tokens per second."""
    import torch
    import torch.distributed as dist

    sys.path.insert(0, str(ROOT / "tests" / "support"))
    from allocations import Allocations, distinct
    from neuron_api.loading.loader import load_text
    from neuron_api.platform.topology import Topology
    from neuron_trainer import optim, parallel
    from neuron_trainer.checkpoint import tensors
    from neuron_trainer.loop.step import Gradients
    from neuron_trainer.models.family import Family

    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    loaded = load_text(yaml.safe_dump(_values(folder, peft)))
    assert loaded.config is not None, loaded.findings
    config = loaded.config
    backend = parallel.create(config, Topology.from_config(config), torch.device("cpu"))
    backend.build(Family.from_config(config))
    optimizer = optim.for_run(config, backend.parameters())
    gradients = Gradients(backend, None)

    def step(number: int, ids: Any) -> None:
        gradients.compute({"input_ids": ids, "labels": ids})
        optimizer.step()
        backend.end_step(number)

    batches = _batches(steps)
    if not counts:
        return {"tokens_per_second": _speed(step, batches)}
    every = [*backend.parameters(), *backend.frozen_parameters()]
    states = [one for state in optimizer.state.values() for one in state.values()]
    with Allocations([*(one.leaf for one in every), *states]) as allocations:
        step(1, batches[0])
        allocations.restart()
        step(2, batches[1])
    stored = tensors.to_store(backend.parameters(), optimizer, None)
    return {
        "peak": allocations.peak,
        "checkpoint": sum(one.local.nbytes for one in stored.values()),
        "weights": distinct(one.leaf for one in every),
        "trained": sum(one.shape.numel() for one in backend.parameters()),
    }


def of_peft(folder: Path, steps: int) -> dict[str, float]:
    """PEFT's model in a plain loop, with the same optimizer and the same loss."""
    import torch
    import torch.nn.functional as F  # noqa: N812
    from peft import LoraConfig, get_peft_model
    from transformers import AutoConfig, AutoModelForCausalLM

    (folder / "config.json").write_text(json.dumps(MODEL))
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder), dtype=torch.float32)
    model = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, lora_dropout=0.0, target_modules=COMPARED))
    trained = [one for one in model.parameters() if one.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, weight_decay=0.0, foreach=True)

    def step(_: int, ids: Any) -> None:
        logits = model(input_ids=ids, use_cache=False).logits.float()
        loss = F.cross_entropy(logits.flatten(0, 1), ids.flatten())
        loss.backward()
        torch.nn.utils.get_total_norm([one.grad for one in trained])
        optimizer.step()
        optimizer.zero_grad()

    return {"tokens_per_second": _speed(step, _batches(steps))}


def _speed(step: Any, batches: Any) -> float:
    """Median of the steps after the second."""
    times = []
    for number, ids in enumerate(batches):
        begun = time.perf_counter()
        step(number + 1, ids)
        times.append(time.perf_counter() - begun)
    return ROWS * SEQUENCE / statistics.median(times[2:])


def _measure(case: str, steps: int) -> dict[str, float]:
    output = subprocess.run(
        [sys.executable, __file__, "--case", case, "--steps", str(steps)], check=True, capture_output=True, text=True
    ).stdout
    found: dict[str, float] = json.loads(output.splitlines()[-1])
    return found


def _case(case: str, steps: int) -> dict[str, float]:
    import torch

    torch.set_num_threads(1)
    section = {"lora_rank": 16, "lora_alpha": 32, "lora_dropout": 0.0}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "x.jsonl").write_text("")
        if case == "peft":
            return of_peft(folder, steps)
        if case == "speed":
            return ours(folder, {**section, "target_modules": COMPARED}, steps, counts=False)
        peft = {**section, "target_modules": TARGETS[case]} if case in TARGETS else None
        return ours(folder, peft, 2, counts=True)


def main() -> None:
    """Print a line for each figure, with its bar."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--turns", type=int, default=3)
    chosen = parser.parse_args()
    if chosen.case:
        print(json.dumps(_case(chosen.case, chosen.steps)))
        return
    full = _measure("full", 2)
    for case in TARGETS:
        found = _measure(case, 2)
        memory, size = found["peak"] / full["peak"], found["checkpoint"] / full["checkpoint"]
        share = found["trained"] / full["trained"]
        print(f"{case}: trains {share:.2%} of the weights; peak memory {found['peak'] / 1e6:.0f} MB of "
              f"{full['peak'] / 1e6:.0f} MB, {memory:.3f} (bar {BARS['memory']}); checkpoint "
              f"{found['checkpoint'] / 1e6:.1f} MB of {full['checkpoint'] / 1e6:.0f} MB, {size:.2%} "
              f"(bar {BARS['checkpoint']:.0%})")  # fmt: skip
    if find_spec("peft") is None:
        print("speed beside PEFT: left out, peft is not installed (pip install peft==0.21.2)")
        return
    turns = [(_measure("speed", chosen.steps), _measure("peft", chosen.steps)) for _ in range(chosen.turns)]
    pairs = [(own["tokens_per_second"], theirs["tokens_per_second"]) for own, theirs in turns]
    ratio = statistics.median(own / theirs for own, theirs in pairs)
    own, theirs = (statistics.median(one) for one in zip(*pairs, strict=True))
    print(f"speed: {own:.0f} tokens/s, PEFT {theirs:.0f}: {ratio:.3f} (bar {BARS['speed']}), {chosen.turns} turns")


if __name__ == "__main__":
    main()
