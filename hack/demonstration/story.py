"""The demo from top to bottom: cluster, images, chart, data, a job with two faults, the same job without."""

import os
import re
import subprocess
import sys
import time
from contextlib import contextmanager
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml
from rich.console import Console

from . import data, faults, report
from .kubectl import DemoError, Kubectl
from .watch import Trigger, follow

ROOT = Path(__file__).resolve().parents[2]
JOB = "quickstart"
UNBROKEN = "quickstart-unbroken"
CHART = ROOT / "helm" / "neuron-training-operator"


@dataclass
class Setting:
    """Where the demo runs."""

    kubectl: Kubectl
    helm: str
    operator_image: str
    trainer_image: str
    console: Console


@contextmanager
def chapter(console: Console, title: str) -> Iterator[None]:
    """Say what comes and how long it took."""
    console.print(f"[bold cyan]==> {title}[/bold cyan]")
    start = time.monotonic()
    yield
    console.print(f"    {time.monotonic() - start:.1f} s")


def install_operator(setting: Setting) -> None:
    """helm upgrade --install, and wait until the operator is ready."""
    environment = dict(os.environ)
    if setting.kubectl.kubeconfig:
        environment["KUBECONFIG"] = setting.kubectl.kubeconfig
    setting.kubectl.run("apply", "--filename", str(ROOT / "crds"))
    values = [f"images.operator={setting.operator_image}", f"images.cpu={setting.trainer_image}"]
    command = [
        setting.helm, "upgrade", "--install", "neuron-training-operator", str(CHART), "--skip-crds",
        "--namespace", "neuron-training-system", "--create-namespace", "--wait", "--timeout", "5m",
        *(part for value in values for part in ("--set", value)),
    ]  # fmt: skip
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DemoError(f"helm: {done.stderr.strip()}")
    # The images carry the same tag when rebuilt, so a running operator is started anew to use the one just built.
    namespaced = ["--namespace", "neuron-training-system"]
    setting.kubectl.run(
        "rollout", "restart", "deployment", "--selector", "app.kubernetes.io/name=neuron-training-operator", *namespaced
    )
    setting.kubectl.run(
        "rollout",
        "status",
        "deployment",
        "--selector",
        "app.kubernetes.io/name=neuron-training-operator",
        "--timeout",
        "180s",
        *namespaced,
        timeout=200,
    )


def clean(setting: Setting) -> None:
    """Remove what an earlier demo left: the jobs and their directories on the claim."""
    setting.kubectl.run(
        "delete", "ntj", JOB, UNBROKEN, "--ignore-not-found", "--wait", "--cascade=foreground", timeout=200
    )
    data.shell(setting.kubectl, f"rm -rf /training/experiments/{JOB} /training/experiments/{UNBROKEN}")


def interrupted(setting: Setting, max_steps: int) -> None:
    """The job that loses a rank at a third and a pod at two thirds."""
    kubectl, console = setting.kubectl, setting.console
    kubectl.run("apply", "--filename", str(ROOT / "examples" / "quickstart.yaml"))
    triggers = [
        Trigger(max_steps // 3, f"kill -9 rank {faults.RANK} in", lambda: faults.kill_rank(kubectl, JOB)),
        Trigger(max_steps * 2 // 3, "delete pod", lambda: faults.delete_pod(kubectl, JOB)),
    ]
    job = follow(kubectl, JOB, console, triggers)
    if not all(trigger.done for trigger in triggers):
        raise DemoError("the job ended before both faults were done")
    console.print(kubectl.run("get", "ntj", JOB))
    report.ledger(job, console)
    rungs = {entry["rung"] for entry in job["status"].get("restarts", [])}
    if rungs < {"Process", "Pod"}:
        raise DemoError(f"the ledger should have a restart of processes and of a pod; it has {sorted(rungs)}")


def unbroken(setting: Setting) -> None:
    """The same configuration, nothing happens to it."""
    job = quickstart()
    job["metadata"]["name"] = UNBROKEN
    job["spec"]["config"]["exp_manager"]["name"] = UNBROKEN
    setting.kubectl.apply(yaml.safe_dump(job))
    follow(setting.kubectl, UNBROKEN, setting.console)


def compare(setting: Setting) -> None:
    """The losses of the two runs, step by step."""
    runs = [
        report.parse_metrics(data.shell(setting.kubectl, f"cat /training/experiments/{name}/metrics.jsonl"))
        for name in (JOB, UNBROKEN)
    ]
    steps = report.compare(*runs)
    loss = runs[0][max(runs[0])]["loss"]
    setting.console.print(
        f"[bold green]final loss {loss!r} in both runs; loss and gradient norm equal bit for bit at all {steps} steps[/bold green]"
    )


def quickstart() -> dict[str, object]:  # type: ignore[type-arg]
    """The NeuronTrainingJob of examples/quickstart.yaml."""
    documents = yaml.safe_load_all((ROOT / "examples" / "quickstart.yaml").read_text())
    return next(document for document in documents if document["kind"] == "NeuronTrainingJob")


def tell(setting: Setting) -> None:
    """The whole demo."""
    console, config = setting.console, quickstart()["spec"]["config"]  # type: ignore[index]
    vocabulary = int(re.search(r'"vocab_size": (\d+)', (ROOT / "examples" / "quickstart.yaml").read_text())[1])  # type: ignore[index]
    with chapter(console, "operator: install the CRD and the chart"):
        install_operator(setting)
    with chapter(console, "data: the King James Bible, tokenised on the claim by `neuron-train data prepare`"):
        data.open_shell(setting.kubectl, setting.trainer_image)
        console.print(f"    {data.prepare(setting.kubectl, config['model']['encoder_seq_length'], vocabulary)}")
        clean(setting)
    with chapter(
        console, "kubectl apply -f examples/quickstart.yaml: 2 pods x 2 processes; a rank and a pod will be lost"
    ):
        interrupted(setting, config["trainer"]["max_steps"])
    with chapter(console, "the same configuration with nothing lost"):
        unbroken(setting)
    with chapter(console, "compare the two runs"):
        compare(setting)
    data.close_shell(setting.kubectl)


def main(setting_of: "object", arguments: list[str]) -> int:
    """Run and turn a DemoError into one sentence."""
    del arguments
    console = Console(highlight=False, soft_wrap=True)
    start = time.monotonic()
    try:
        setting = setting_of(console)  # type: ignore[operator]
        tell(setting)
    except (DemoError, subprocess.TimeoutExpired) as problem:
        console.print(f"[bold red]demo: {problem}[/bold red]")
        return 1
    console.print(f"done in {time.monotonic() - start:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit("run hack/demo")
