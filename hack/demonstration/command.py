"""`hack/demo`: its arguments, and one sentence when something is wrong."""

import argparse
import os
import subprocess
import sys
import time

from rich.console import Console

from controlplane.errors import ClusterError

from . import setting, story
from .kubectl import DemoError

_DESCRIPTION = """\
One job, two faults, no work lost: brings up a local cluster (root on Linux), builds the images, installs the
chart, prepares data with `neuron-train data prepare`, applies examples/quickstart.yaml, kills a rank at a third
of the run and deletes a pod at two thirds, and compares every step with a run that nothing happened to.

The first time on a machine takes about 20 minutes, most of it building Kubernetes from source; later runs take a
few. The cluster stays up afterwards: `make cluster-down` removes it. The demo may be run again at any time.

CLUSTER=kind uses a cluster of kind with one node (KIND_CLUSTER, default kind). It needs docker, kind, kubectl and helm
on the PATH.

CLUSTER=current uses the cluster that kubectl points at instead. It needs there a claim `training` that several
pods can mount (examples/claim.yaml), and the images in a registry that it pulls from:
  OPERATOR_IMAGE=… TRAINER_IMAGE=… CLUSTER=current make demo
"""

SETTINGS = {"local": setting.local, "kind": setting.kind, "current": setting.current}

_PIPE_WIDTH = 110
"""Columns of the ledger's table; rich takes a pipe for 80 wide."""


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="hack/demo", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = os.environ.get("CLUSTER") or "local"
    parser.add_argument("--cluster", choices=[*SETTINGS], default=default, help="default: $CLUSTER, or local")
    chosen = parser.parse_args(arguments)
    console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else _PIPE_WIDTH)
    start = time.monotonic()
    try:
        where = SETTINGS[chosen.cluster](console)
        story.tell(where)
    except (DemoError, ClusterError) as problem:
        console.print(f"[bold red]demo:[/bold red] {problem}", markup=True)
        return 1
    except subprocess.TimeoutExpired as problem:
        console.print(
            f"[bold red]demo:[/bold red] `{' '.join(map(str, problem.cmd))}` took more than {problem.timeout} s"
        )
        return 1
    console.print(f"The demo took {time.monotonic() - start:.0f} s. To look around:\n{where.look_around}")
    return 0
