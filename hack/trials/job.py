"""One training of 2 pods x 2 ranks, from its manifest to its numbers."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from demonstration.kubectl import DemoError

from . import processes
from .cluster_fixture import CLAIM, SEQUENCE, VOCABULARY, Ground
from .processes import Process

Json = dict[str, Any]
T = TypeVar("T")

STEPS = 90
EVERY = 5
"""Steps between two checkpoints."""
NAMESPACE = "default"
_API = f"/apis/neurontraining.dev/v1alpha1/namespaces/{NAMESPACE}/neurontrainingjobs"
_CORE = f"/api/v1/namespaces/{NAMESPACE}"
MODEL = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": VOCABULARY, "hidden_size": 32,
    "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "rms_norm_eps": 1e-5, "max_position_embeddings": SEQUENCE, "initializer_range": 0.1,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class PodSeen:
    """A pod of the job."""

    name: str
    uid: str
    index: int
    node: str
    body: Json


class TrialJob:
    """See the module. Use as a context manager: nothing of it is left."""

    def __init__(
        self,
        ground: Ground,
        name: str,
        *,
        steps: int = STEPS,
        claim: str = CLAIM,
        config: Mapping[str, Any] | None = None,
        **spec: Any,
    ) -> None:
        """`config`: keys of the configuration, and of its sections, that are others than below."""
        self.ground, self.name, self.steps, self.claim, self.spec = ground, name, steps, claim, spec
        self._config_changes = config or {}
        self.log_dir = ground.storage / name
        """As this process sees it; another claim's is elsewhere."""

    def __enter__(self) -> "TrialJob":
        self.remove()
        self.ground.kubectl.apply(json.dumps(self.manifest()))
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    # ---- what is asked for ----------------------------------------------------------------------------------------

    def manifest(self) -> Json:
        """The model and the job, as one list."""
        model = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "trial-model"},
            "data": {"config.json": json.dumps(MODEL)},
        }
        job = {
            "apiVersion": "neurontraining.dev/v1alpha1",
            "kind": "NeuronTrainingJob",
            "metadata": {"name": self.name},
            "spec": {
                "platform": {"accelerator": "CPU"},
                "storage": [{"claimName": self.claim, "mountPath": "/training"}],
                "restartPolicy": {"maxProcessRestarts": 100, "rejoinTimeoutSeconds": 300},
                "podTemplate": {"spec": _pod_spec(self.name)},
                "config": self._changed(self._config()),
                **self.spec,
            },
        }
        return {"apiVersion": "v1", "kind": "List", "items": [model, job]}

    def _changed(self, config: Json) -> Json:
        changed = dict(config)
        for name, value in self._config_changes.items():
            changed[name] = {**config.get(name, {}), **value} if isinstance(value, dict) else value
        return changed

    def _config(self) -> Json:
        return {
            "name": "trial",
            "model_source": "hf",
            "seed": 7,
            "trainer": {
                "devices": 2, "num_nodes": 2, "max_steps": self.steps, "log_every_n_steps": 1,
                "gradient_clip_val": "1.0",
            },
            "exp_manager": {
                "explicit_log_dir": f"/training/{self.name}",
                "resume_if_exists": True,
                "resume_ignore_no_checkpoint": True,
                "log_local_rank_0_only": True,
                "enable_recovery_time_instrumentation": True,
                "checkpoint_callback_params": {
                    "save_top_k": 2, "every_n_train_steps": EVERY, "filename": "trial--{step}-{consumed_samples}",
                },
            },
            "distributed_strategy": {"tensor_model_parallel_size": 2, "zero1": True, "sequence_parallel": True},
            "data": {"micro_batch_size": 4, "global_batch_size": 8, "train_dir": "/training/data"},
            "model": {
                "model_config": "/model/config.json",
                "encoder_seq_length": SEQUENCE,
                "optim": {"name": "adamw_fp32OptState", "lr": 3e-3, "sched": {"warmup_steps": 5, "max_steps": 1000}},
            },
            "precision": {"type": "fp32"},
        }  # fmt: skip

    # ---- what can be seen -----------------------------------------------------------------------------------------

    def read(self) -> Json:
        """The object."""
        return self.ground.get(f"{_API}/{self.name}")

    def status(self) -> Json:
        """Its status."""
        found: Json = self.read().get("status", {})
        return found

    def restarts(self) -> list[Json]:
        """The ledger."""
        found: list[Json] = self.status().get("restarts", [])
        return found

    def pods(self) -> list[PodSeen]:
        """By index; those that are going as well."""
        listed = self.ground.get(f"{_CORE}/pods?labelSelector=neurontraining.dev%2Fjob%3D{self.name}").get("items", [])
        found = [
            PodSeen(
                pod["metadata"]["name"], pod["metadata"]["uid"],
                int(pod["metadata"]["labels"]["neurontraining.dev/node-rank"]), pod["spec"].get("nodeName", ""), pod,
            )
            for pod in listed
        ]  # fmt: skip
        return sorted(found, key=lambda pod: (pod.index, pod.name))

    def children(self) -> list[str]:
        """Everything that carries the job's label, as kind/name."""
        query = f"?labelSelector=neurontraining.dev%2Fjob%3D{self.name}"
        return sorted(
            f"{kind}/{one['metadata']['name']}"
            for kind in ("pods", "services", "configmaps")
            for one in self.ground.get(f"{_CORE}/{kind}{query}").get("items", [])
        )

    def processes(self) -> list[Process]:
        """Of all its pods."""
        return processes.of_pods(pod.uid for pod in self.pods())

    def rows(self) -> dict[int, Json]:
        """metrics.jsonl by step."""
        try:
            lines = (self.log_dir / "metrics.jsonl").read_text().splitlines()
        except FileNotFoundError:
            return {}
        rows = [json.loads(line) for line in lines if line.endswith("}")]
        return {row["step"]: row for row in rows if "loss" in row}

    def numbers(self) -> dict[int, tuple[float, ...]]:
        """What must be equal bit for bit."""
        keys = ("loss", "lr", "gradient_norm", "consumed_samples")
        return {step: tuple(row[key] for key in keys) for step, row in self.rows().items()}

    def last_step(self) -> int:
        """Newest finished step in the file."""
        return max(self.rows(), default=0)

    # ---- waiting --------------------------------------------------------------------------------------------------

    def wait(self, what: str, condition: Callable[[], T | None], seconds: float = 300, poll: float = 0.1) -> T:
        """Until the condition gives something; fails when the job does, or with all that is known of it."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if found := condition():
                return found
            if (phase := self.status().get("phase")) in ("Failed", "Succeeded") and not (found := condition()):
                raise DemoError(f"{self.name} has {phase.lower()}; awaited was {what}\n{self.why()}")
            time.sleep(poll)
        raise DemoError(f"{self.name}: waited {seconds:.0f} s for {what}\n{self.why()}")

    def wait_step(self, step: int, seconds: float = 300) -> int:
        """Until so many steps are finished."""
        return self.wait(f"step {step}", lambda: now if (now := self.last_step()) >= step else None, seconds)

    def wait_recovered(self, lines: int, seconds: float = 300) -> list[Json]:
        """Until the ledger has so many lines and none is open; the ledger."""

        def settled() -> list[Json] | None:
            found = self.restarts()
            return found if len(found) >= lines and all("recoveredTime" in line for line in found) else None

        return self.wait(f"{lines} closed lines of the ledger", settled, seconds)

    def wait_end(self, seconds: float = 600) -> str:
        """Until it is over; its phase."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if (phase := str(self.status().get("phase"))) in ("Succeeded", "Failed"):
                return phase
            time.sleep(0.3)
        raise DemoError(f"{self.name} did not end within {seconds:.0f} s\n{self.why()}")

    def why(self) -> str:
        """Conditions, ledger, pods and their last lines, for a trial that fails."""
        status = self.status()
        told = [f"{c['type']}={c['status']} {c['reason']}: {c['message']}" for c in status.get("conditions", [])]
        ledger = [json.dumps(line) for line in status.get("restarts", [])]
        pods = [f"{pod.name} on {pod.node}: {json.dumps(pod.body.get('status', {}))[:600]}" for pod in self.pods()]
        logs = [self.ground.kubectl.run("logs", pod.name, "--tail=15", check=False, timeout=20) for pod in self.pods()]
        return "\n".join([f"step {self.last_step()}", *told, *ledger, *pods, *logs])

    # ---- the end --------------------------------------------------------------------------------------------------

    def remove(self) -> list[str]:
        """Delete it; what is left of it after half a minute, which should be nothing."""
        uids = [pod.uid for pod in self.pods()]
        self.ground.kubectl.run("delete", "ntj", self.name, "--ignore-not-found", timeout=120)
        deadline = time.monotonic() + 150  # terminationGracePeriodSeconds is 120
        while (left := self._left(uids)) and time.monotonic() < deadline:
            time.sleep(0.3)
        _erase(self.log_dir)
        return left

    def _left(self, uids: list[str]) -> list[str]:
        return [*self.children(), *(f"process {one.name}" for one in processes.of_pods(uids))]


def pod_template(environment: Mapping[str, str]) -> Json:
    """A template without wishes for nodes, whose trainer has these variables and the model."""
    container = {**_trainer(), "env": [{"name": name, "value": value} for name, value in environment.items()]}
    return {"spec": {"containers": [container], "volumes": [_MODEL_VOLUME]}}


_MODEL_VOLUME = {"name": "model", "configMap": {"name": "trial-model"}}


def _trainer() -> Json:
    return {
        "name": "trainer",
        "volumeMounts": [{"name": "model", "mountPath": "/model", "readOnly": True}],
        "resources": {"requests": {"cpu": "50m", "memory": "512Mi"}},
    }


def _pod_spec(name: str) -> Json:
    apart = {
        "weight": 100,
        "podAffinityTerm": {
            "labelSelector": {"matchLabels": {"neurontraining.dev/job": name}},
            "topologyKey": "kubernetes.io/hostname",
        },
    }
    away = [
        {"key": f"node.kubernetes.io/{key}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}
        for key in ("not-ready", "unreachable")
    ]
    return {
        "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [apart]}},
        "tolerations": away,
        "containers": [_trainer()],
        "volumes": [_MODEL_VOLUME],
    }


def _erase(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)
