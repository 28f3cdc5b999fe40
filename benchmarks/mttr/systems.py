"""The systems that are compared: how an agent of each is started, tuned as its own documentation says.

torchrun: https://docs.pytorch.org/docs/stable/elastic/run.html (monitor interval, `--rdzv-conf`), the c10d keys in the
docstring of `torch.distributed.elastic.rendezvous.dynamic_rendezvous.create_handler`. NVRx 0.7:
https://nvidia.github.io/nvidia-resiliency-ext/fault_tolerance/usage_guide.html. DLRover 0.6:
the page on Flash Checkpoint in its repository (intelligent-machine-learning/dlrover).
"""

import json
import os
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import yaml

from neuron_api import contract

from . import trainer

ROOT: Final = Path(__file__).parents[2]
NODES: Final = 2
RANKS_OF_A_NODE: Final = 2
JOB_UID: Final = "mttr"
STEPS: Final = 100_000
EVERY: Final = 20
"""Steps from checkpoint to checkpoint, in storage."""
PACE: Final = 0.1
"""Seconds that a step takes at least."""
HANG_TIMEOUT: Final = 10.0
"""Seconds without a heartbeat, or of a collective, until a rank counts as hanging; ours does not take less than 30."""


@dataclass(frozen=True, slots=True)
class Command:
    """A program and its variables."""

    arguments: list[str]
    variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class System:
    """One way to run the trainer."""

    name: str
    python: str = sys.executable
    replicas: int | None = None
    """Copies in the memory of other nodes, ours only; None: no copies in memory."""

    def agent(self, folder: Path, node: int, port: int) -> Command:
        """Return the command of a node's agent; `port`: free, of the whole gang."""
        match self.name.replace(",", "").split()[0]:
            case "ours":
                return self._ours(folder, node, port)
            case "torchrun":
                return Command([*self._torchrun("torch.distributed.run", node, port), *_script(folder)])
            case "NVRx":
                module = "nvidia_resiliency_ext.fault_tolerance.launcher"
                detection = [
                    f"--ft-rank-heartbeat-timeout={HANG_TIMEOUT}", "--ft-initial-rank-heartbeat-timeout=300",
                    "--ft-workload-check-interval=1", "--ft-restart-check-interval=1",
                    "--ft-max-no-progress-cycles=0",
                ]  # fmt: skip
                return Command([*self._torchrun(module, node, port), *detection, *_script(folder, "nvrx")])
        return self._dlrover(folder, node, port)

    def master(self, port: int) -> Command | None:
        """Return what runs beside the agents; only DLRover has one."""
        if not self.name.startswith("DLRover"):
            return None
        arguments = ["--platform=local", f"--port={port}", f"--node_num={NODES}", "--job_name=mttr"]
        return Command([self.python, "-m", "dlrover.python.master.main", *arguments])

    def _ours(self, folder: Path, node: int, port: int) -> Command:
        variables = {
            contract.ENV_JOB_UID: JOB_UID,
            contract.ENV_NODE_RANK: str(node),
            contract.ENV_NUM_NODES: str(NODES),
            contract.ENV_RENDEZVOUS_ENDPOINT: f"127.0.0.1:{port}",
            contract.ENV_MAX_PROCESS_RESTARTS: "1000",
            contract.ENV_PROGRESS_PORT: "0",
            "PYTHONPATH": str(ROOT),
        }
        if self.replicas is not None:
            variables |= {
                contract.ENV_MEMORY_EVERY_STEPS: "1",
                contract.ENV_MEMORY_REPLICAS: str(self.replicas),
            }
        configuration = folder / "ours.yaml"
        if not configuration.exists():
            configuration.write_text(yaml.safe_dump(_configuration(folder)))
        return Command([self.python, "-m", "neuron_trainer", "run", str(configuration)], variables)

    def _torchrun(self, module: str, node: int, port: int) -> list[str]:
        conf = [
            f"is_host={int(node == 0)}", "join_timeout=600", "last_call_timeout=1", "keep_alive_interval=1",
            "keep_alive_max_attempt=3",
        ]  # fmt: skip
        return [
            self.python, "-m", module, f"--nnodes={NODES}", f"--nproc-per-node={RANKS_OF_A_NODE}",
            "--rdzv-backend=c10d", f"--rdzv-endpoint=127.0.0.1:{port}", "--rdzv-id=mttr",
            f"--rdzv-conf={','.join(conf)}", f"--local-addr=127.0.0.{node + 1}", "--max-restarts=1000",
            "--monitor-interval=0.1",
        ]  # fmt: skip

    def _dlrover(self, folder: Path, node: int, port: int) -> Command:
        variables = {
            "DLROVER_MASTER_ADDR": f"127.0.0.1:{port}",
            "NODE_RANK": str(node),
            "NODE_ID": str(node),
            "NODE_TYPE": "worker",
            "NODE_NUM": str(NODES),
            "WORKER_RANK": str(node),
            "POD_IP": f"127.0.0.{node + 1}",
        }
        arguments = [
            self.python, "-m", "dlrover.trainer.torch.main", f"--nnodes={NODES}",
            f"--nproc-per-node={RANKS_OF_A_NODE}", "--max-restarts=1000", "--monitor-interval=0.1",
            "--rdzv-conf=join_timeout=600,lastcall_timeout=1,pend_timeout=3600",
        ]  # fmt: skip
        return Command([*arguments, *_script(folder, "dlrover")], variables)


COMMON: Final = {
    "GLOO_SOCKET_IFNAME": "lo",
    "OMP_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "",
    # Without it torchrun's rendezvous does not recover the loss of an agent: node 0 keeps its processes' address to
    # itself after the first round, and the successor waits 60 s for it and fails.
    "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
}
"""Variables of all."""


def environment(command: Command) -> dict[str, str]:
    return {**os.environ, **COMMON, **command.variables}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _script(folder: Path, with_what: str = "") -> list[str]:
    return [
        str(Path(trainer.__file__)), str(folder), f"--steps={STEPS}", f"--every={EVERY}", f"--pace={PACE}",
        f"--timeout={HANG_TIMEOUT}", f"--with={with_what}",
    ]  # fmt: skip


def _configuration(folder: Path) -> dict[str, object]:
    """The trainer of `trainer.py` as a configuration of ours: the same sizes, and a step of the same samples."""
    model = {
        "model_type": "llama", "vocab_size": trainer.VOCABULARY, "hidden_size": trainer.HIDDEN,
        "intermediate_size": 64, "num_hidden_layers": trainer.LAYERS, "num_attention_heads": 4,
        "num_key_value_heads": 4, "rms_norm_eps": 1e-5, "max_position_embeddings": trainer.SEQUENCE,
        "initializer_range": 0.1,
    }  # fmt: skip
    (folder / "model.json").write_text(json.dumps(model))
    ranks = NODES * RANKS_OF_A_NODE
    return {
        "name": "mttr",
        "model_source": "hf",
        "seed": 7,
        "neuron_rt_exec_timeout": 30,
        "trainer": {
            "devices": RANKS_OF_A_NODE, "num_nodes": NODES, "max_steps": STEPS, "log_every_n_steps": 1,
            "gradient_clip_val": 1.0,
        },
        "exp_manager": {
            "explicit_log_dir": str(folder), "resume_if_exists": True, "resume_ignore_no_checkpoint": True,
            "log_local_rank_0_only": True,
            "checkpoint_callback_params": {"save_top_k": 2, "every_n_train_steps": EVERY},
        },
        "distributed_strategy": {"tensor_model_parallel_size": 1, "zero1": False},
        "data": {
            "micro_batch_size": trainer.SAMPLES, "global_batch_size": trainer.SAMPLES * ranks,
            "data_module": "benchmarks.mttr.paced:Paced", "pace": PACE, "folder": str(folder),
        },
        "model": {
            "model_config": str(folder / "model.json"), "encoder_seq_length": trainer.SEQUENCE,
            "optim": {"name": "adamw_fp32OptState", "lr": 3e-3, "sched": {"warmup_steps": 5, "max_steps": STEPS}},
        },
        "precision": {"type": "fp32"},
    }  # fmt: skip
