"""The demo from top to bottom: chart, data, a job with two faults, the same job without, the comparison."""

import json
import os
import subprocess
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import yaml

from controlplane.locations import REPOSITORY

from . import data, faults, report
from .kubectl import DemoError, Kubectl, wait_for
from .setting import Setting, chapter
from .watch import Trigger, follow

JOB = "quickstart"
UNBROKEN = "quickstart-unbroken"
NAMESPACE = "neuron-training-system"
RELEASE = "neuron-training-operator"
EXAMPLE = REPOSITORY / "examples" / "quickstart.yaml"

Json = dict[str, Any]


def tell(setting: Setting) -> None:
    """The whole demo; raises `DemoError` where something is not as it should be."""
    console, job = setting.console, _document("NeuronTrainingJob")
    config = job["spec"]["config"]
    with chapter(console, f"operator: CRD and chart (helm upgrade --install {RELEASE})"):
        install_operator(setting)
    with chapter(console, "data: an English text, tokenised on the claim by `neuron-train data prepare`"):
        data.open_shell(setting.kubectl, setting.trainer_image)
        model = json.loads(_document("ConfigMap")["data"]["config.json"])
        console.print(
            f"    {data.prepare(setting.kubectl, config['model']['encoder_seq_length'], model['vocab_size'])}"
        )
        clean(setting.kubectl)
    with chapter(console, "kubectl apply -f examples/quickstart.yaml: 2 pods x 2 processes; a rank and a pod get lost"):
        interrupted(setting, config["trainer"]["max_steps"])
    with chapter(console, "the same configuration, with nothing lost"):
        unbroken(setting, job)
    with chapter(console, "compare the two runs"):
        compare(setting)
    data.close_shell(setting.kubectl)


def install_operator(setting: Setting, trainers: Mapping[str, str] = MappingProxyType({})) -> None:
    """`helm upgrade --install`, until the operator is ready. Image tags are content ids: a new image rolls it.

    `trainers`: trainer images beside that of CPU jobs, by their name in the chart's trainerImages.
    """
    environment = dict(os.environ)
    if setting.kubectl.kubeconfig:
        environment["KUBECONFIG"] = setting.kubectl.kubeconfig
    setting.kubectl.run("apply", "--filename", str(REPOSITORY / "crds"))
    images = _parts("image", setting.operator_image)
    for kind, image in {"cpu": setting.trainer_image, **trainers}.items():
        images |= _parts(f"trainerImages.{kind}", image)
    values = {
        # A run of a minute is watched more closely than one of a week.
        "pollSeconds": "1",
        # A node of two cores has better things to do than a standby.
        "replicas": "1",
        "statusSeconds": "1",
    }
    command = [
        setting.helm, "upgrade", "--install", RELEASE, str(REPOSITORY / "helm" / RELEASE), "--skip-crds",
        "--namespace", NAMESPACE, "--create-namespace", "--wait", "--timeout", "2m",
        *(part for name, value in values.items() for part in ("--set", f"{name}={value}")),
        # A tag of digits alone is a text all the same.
        *(part for name, value in images.items() for part in ("--set-string", f"{name}={value}")),
    ]  # fmt: skip
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=330, check=False)
    if done.returncode:
        said = setting.kubectl.run("logs", f"deployment/{RELEASE}", "--tail=20", "--namespace", NAMESPACE, check=False)
        raise DemoError(f"helm: {done.stderr.strip()}\nThe operator says:\n{said}")


def _parts(value: str, image: str) -> dict[str, str]:
    """An image's full name as values of the chart; the registry may stand in the repository."""
    name, _, digest = image.partition("@")
    repository, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:
        repository, tag = name, "" if digest else "latest"
    return {f"{value}.repository": repository, f"{value}.tag": tag, f"{value}.digest": digest}


def clean(kubectl: Kubectl) -> None:
    """Remove what an earlier demo left: the jobs with their pods, and their directories on the claim."""
    kubectl.run("delete", "ntj", JOB, UNBROKEN, "--ignore-not-found", timeout=60)
    for job in (JOB, UNBROKEN):
        wait_for(f"the pods of an earlier {job} to go", lambda job=job: not faults.job_pods(kubectl, job), seconds=180)
    data.shell(kubectl, f"rm -rf /training/experiments/{JOB} /training/experiments/{UNBROKEN}")


def interrupted(setting: Setting, max_steps: int) -> None:
    """The job that loses a rank at a third and a pod at two thirds."""
    kubectl, console = setting.kubectl, setting.console
    kubectl.run("apply", "--filename", str(EXAMPLE))
    triggers = [
        Trigger(max_steps // 3, f"kill -9 of rank {faults.RANK} in pod", lambda: faults.kill_rank(kubectl, JOB)),
        Trigger(max_steps * 2 // 3, "kubectl delete pod", lambda: faults.delete_pod(kubectl, JOB)),
    ]
    job = follow(kubectl, JOB, console, triggers)
    if not all(trigger.done for trigger in triggers):
        raise DemoError("the job ended before both faults were done")
    console.print(kubectl.run("get", "ntj", JOB).rstrip())
    report.ledger(job, console)
    rungs = [entry["restartScope"] for entry in job["status"].get("restarts", [])]
    if sorted(rungs) != ["Pod", "Process"]:
        raise DemoError(f"the ledger should have one restart of processes and one of a pod; it has {rungs}")


def unbroken(setting: Setting, job: Json) -> None:
    """The same configuration under another name; nothing happens to it."""
    job["metadata"]["name"] = UNBROKEN
    job["spec"]["config"]["exp_manager"]["name"] = UNBROKEN
    setting.kubectl.apply(yaml.safe_dump(job))
    ended = follow(setting.kubectl, UNBROKEN, setting.console)
    if ended["status"].get("restarts"):
        raise DemoError("the run that should be unbroken was restarted, too: compare it by hand")


def compare(setting: Setting) -> None:
    """The losses of the two runs, step by step."""
    runs = [
        report.parse_metrics(data.shell(setting.kubectl, f"cat /training/experiments/{name}/metrics.jsonl"))
        for name in (JOB, UNBROKEN)
    ]
    steps = report.compare(*runs)
    loss = runs[0][max(runs[0])]["loss"]
    setting.console.print(
        f"[bold green]    final loss {loss!r} in both; loss, gradient norm and rate are equal bit for bit "
        f"at all {steps} steps[/bold green]"
    )


def _document(kind: str) -> Json:
    documents = yaml.safe_load_all(EXAMPLE.read_text())
    found: Json = next(document for document in documents if document["kind"] == kind)
    return found
