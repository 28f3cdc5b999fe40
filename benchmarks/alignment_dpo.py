"""Preference training against TRL's `DPOTrainer`: pairs per second with precomputed reference log-probabilities.

Whole loops, with loader and logging, in turns, each in a process of its own with one thread; all answers fill the row,
so nobody pads. `make bench-alignment`. Prints a JSON line a round and the median of the rounds' ratios.
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
TOKENIZER = ROOT / "tests" / "data" / "alignment" / "tokenizer"
BAR = 0.97
PAIRS, LENGTH, BETA, LR = 4, 128, 0.1, 1e-5
"""Pairs of a step, tokens of a row."""
MODEL = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 4096, "hidden_size": 384,
    "intermediate_size": 1024, "num_hidden_layers": 6, "num_attention_heads": 6, "num_key_value_heads": 2,
    "max_position_embeddings": LENGTH, "rms_norm_eps": 1e-5, "initializer_range": 0.02, "tie_word_embeddings": False,
    "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip
"""12 million parameters."""


def _records(count: int) -> list[dict[str, str]]:
    """Return pairs whose rows have LENGTH tokens: BOS, a prompt of 32, an answer of the rest, EOS."""
    import random

    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(TOKENIZER)
    names = ["rain", "sun", "bird", "fish", "house", "tree", "river", "stone"]
    words = [word for word in names if len(tokenizer(f" {word}", add_special_tokens=False)["input_ids"]) == 1]
    draw = random.Random(0)
    prompt, answer = 32, LENGTH - 34

    def text(tokens: int) -> str:
        return "".join(f" {draw.choice(words)}" for _ in range(tokens))

    return [{"prompt": text(prompt), "chosen": text(answer), "rejected": text(answer)} for _ in range(count)]


def ours(folder: Path, steps: int) -> list[float]:
    """A start on one rank with loader, metrics and hand-off; returns the times at which steps ended."""
    import torch
    import torch.distributed as dist

    from neuron_api import contract
    from neuron_api.loading.loader import load_text
    from neuron_api.platform.topology import Topology
    from neuron_trainer.ipc.phases import Phases
    from neuron_trainer.ipc.worker_channel import Start, WorkerChannel
    from neuron_trainer.loop.run import Run
    from neuron_trainer.metrics.history import MetricsFile

    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    values: dict[str, Any] = {
        "name": "dpo", "model_source": "hf", "seed": 1, "precision": {"type": "fp32"},
        "trainer": {"devices": 1, "num_nodes": 1, "max_steps": steps, "log_every_n_steps": 10,
                    "gradient_clip_val": 1.0},
        "exp_manager": {"explicit_log_dir": str(folder / "log"), "create_checkpoint_callback": False},
        "distributed_strategy": {"zero1": False},
        "data": {"micro_batch_size": PAIRS, "global_batch_size": PAIRS, "train_dir": str(folder / "pairs.jsonl"),
                 "seq_length": LENGTH, "tokenizer": {"type": str(TOKENIZER)}},
        "model": {"model_config": str(folder / "config.json"), "encoder_seq_length": LENGTH,
                  "optim": {"name": "adamw", "lr": LR, "weight_decay": 0.0,
                            "sched": {"name": "WarmupPolicy", "max_steps": 10**9}}},
        "model_alignment_strategy": {"dpo": {"kl_beta": BETA, "max_prompt_length": 64}},
    }  # fmt: skip
    loaded = load_text(yaml.safe_dump(values))
    assert loaded.config is not None, loaded.findings
    ends: list[float] = []
    run = Run.build(
        loaded.config, Topology.from_config(loaded.config), "", torch.device("cpu"), lambda: False, Phases()
    )
    run.module.on_train_batch_end = lambda *_: ends.append(time.perf_counter())  # type: ignore[method-assign]
    for name in ("log", "handoff"):
        (folder / name).mkdir()
    metrics = MetricsFile(folder / "log" / contract.METRICS_FILE)
    run.fit(Start(0), folder / "log", folder / "checkpoints", WorkerChannel(folder / "handoff"), metrics, rank=0)
    return ends


def trl(folder: Path, steps: int) -> list[float]:
    """TRL's loop on the model of `transformers`, logging off."""
    import torch
    from datasets import Dataset
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import DPOConfig, DPOTrainer

    ends: list[float] = []

    class Clock(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *_: Any, **__: Any) -> None:
            ends.append(time.perf_counter())

    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder), dtype=torch.float32)
    arguments = DPOConfig(
        output_dir=str(folder / "trl"), use_cpu=True, bf16=False, max_steps=steps, per_device_train_batch_size=PAIRS,
        learning_rate=LR, lr_scheduler_type="constant", max_grad_norm=1.0, optim="adamw_torch", weight_decay=0.0,
        beta=BETA, max_length=None, precompute_ref_log_probs=True, gradient_checkpointing=False,
        logging_strategy="no", save_strategy="no", report_to=[], disable_tqdm=True, dataloader_pin_memory=False,
    )  # fmt: skip
    records = [json.loads(line) for line in (folder / "pairs.jsonl").read_text().splitlines()]
    trainer = DPOTrainer(
        model, args=arguments, train_dataset=Dataset.from_list(records), callbacks=[Clock()],
        processing_class=AutoTokenizer.from_pretrained(TOKENIZER),
    )  # fmt: skip
    trainer.train()
    return ends


LOOPS = {"ours": ours, "trl": trl}


def _child(loop: str, steps: int) -> None:
    import logging
    import warnings

    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "config.json").write_text(json.dumps(MODEL))
        (folder / "pairs.jsonl").write_text("".join(json.dumps(record) + "\n" for record in _records(8 * PAIRS)))
        ends = LOOPS[loop](folder, steps)
    seconds = [after - before for before, after in itertools.pairwise(ends[2:])]
    print(json.dumps({"pairs_per_second": PAIRS / statistics.median(seconds)}))


def _measure(loop: str, steps: int) -> float:
    command = [sys.executable, __file__, "--child", loop, "--steps", str(steps)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(json.loads(done.stdout.splitlines()[-1])["pairs_per_second"])


def main() -> int:
    """Return 0 when the bar is met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="default 5")
    parser.add_argument("--steps", type=int, default=20, help="of a loop in a round; default 20")
    parser.add_argument("--child", choices=LOOPS, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.child:
        _child(chosen.child, chosen.steps)
        return 0
    ratios = []
    for number in range(chosen.rounds):
        order = list(LOOPS) if number % 2 == 0 else list(LOOPS)[::-1]
        rates = {loop: _measure(loop, chosen.steps) for loop in order}
        ratios.append(rates["ours"] / rates["trl"])
        print(json.dumps({"round": number + 1, **rates, "ratio": round(ratios[-1], 3)}), flush=True)
    median = statistics.median(ratios)
    print(f"DPO, pairs per second, ours over TRL: {median:.2f} (bar {BAR}), {min(ratios):.2f} to {max(ratios):.2f}")
    return 0 if median >= BAR else 1


if __name__ == "__main__":
    sys.exit(main())
