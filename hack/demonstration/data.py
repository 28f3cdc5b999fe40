"""The data on the claim: real English text, tokenised by the command that a user would use for theirs."""

import os
import shutil
import subprocess
from pathlib import Path

from controlplane.locations import REPOSITORY

from .kubectl import Kubectl, wait_for

POD = "quickstart-data"
DATA = "/training/data/kjv"

_MANIFEST = """
apiVersion: v1
kind: Pod
metadata:
  name: {pod}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 1
  automountServiceAccountToken: false
  containers:
    - name: shell
      image: {image}
      imagePullPolicy: IfNotPresent
      command: [sleep, "7200"]
      volumeMounts:
        - {{name: training, mountPath: /training}}
  volumes:
    - name: training
      persistentVolumeClaim: {{claimName: training}}
"""


def english_text() -> bytes:
    """DEMO_TEXT, or the King James Bible out of the Debian package bible-kjv, or this repository's documentation."""
    if path := os.environ.get("DEMO_TEXT"):
        return Path(path).read_bytes()
    if not shutil.which("bible"):
        if not shutil.which("apt-get") or os.geteuid() != 0:
            return b"\n".join(page.read_bytes() for page in sorted((REPOSITORY / "docs").rglob("*.md")))
        subprocess.run(["apt-get", "install", "--yes", "--quiet", "bible-kjv"], check=True, stdout=subprocess.DEVNULL)
    done = subprocess.run(["bible", "-f", "gen1:1-rev22:21"], capture_output=True, check=True)
    return done.stdout


def open_shell(kubectl: Kubectl, image: str) -> None:
    """A pod with the claim mounted: for the text, the data set, and to read what the runs wrote."""
    if not kubectl.get("persistentvolumeclaim", "training"):
        kubectl.run("apply", "--filename", str(REPOSITORY / "examples" / "claim.yaml"))
    kubectl.run("delete", "pod", POD, "--ignore-not-found")  # of a demo that was interrupted
    kubectl.apply(_MANIFEST.format(pod=POD, image=image))
    wait_for(f"pod {POD}", lambda: kubectl.get("pod", POD).get("status", {}).get("phase") == "Running", seconds=300)


def shell(kubectl: Kubectl, command: str, *, stdin: bytes | None = None, timeout: float = 600) -> str:
    """Run a command in that pod."""
    interactive = ["--stdin"] if stdin is not None else []
    return kubectl.run("exec", *interactive, POD, "--", "sh", "-c", command, stdin=stdin, timeout=timeout)


def close_shell(kubectl: Kubectl) -> None:
    """Remove the pod; the claim and what is on it stay."""
    kubectl.run("delete", "pod", POD, "--ignore-not-found", "--wait=false")


def prepare(kubectl: Kubectl, seq_length: int, vocab_size: int) -> str:
    """Text on the claim, then `neuron-train data prepare`; quick when it was done before. Returns its last line."""
    if shell(kubectl, "test -s /training/kjv.txt && echo there || true").strip() != "there":
        shell(kubectl, "cat > /training/.kjv.txt && mv /training/.kjv.txt /training/kjv.txt", stdin=english_text())
    command = (
        f"neuron-train data prepare --input /training/kjv.txt --output {DATA} "
        f"--seq-length {seq_length} --vocab-size {vocab_size}"
    )
    lines = shell(kubectl, command + " 2>&1").strip().splitlines()
    return lines[-1] if lines else ""
