"""`hack/cluster`: the commands of the local cluster."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from controlplane import toolchain
from controlplane.errors import ClusterError
from controlplane.locations import default_state_directory
from offline import imageload
from offline.cluster import Cluster

_DESCRIPTION = """\
A Kubernetes cluster of real parts on this machine (root on Linux): etcd, API server, controller manager,
scheduler, kubelet, containerd, runc, CNI, kube-proxy, CoreDNS. One node; no image pulls, no network but
its own; reached on one free port of 127.0.0.1 through its own kubeconfig.

  hack/cluster up                       about 10 s (the first time on a machine 8 minutes more, for building)
  hack/cluster run -- kubectl get pods  run a command with KUBECONFIG set and the built programs on the PATH
  hack/cluster component stop kube-apiserver
  hack/cluster down                     removes every trace of it

All state lies in one directory, by default ~/.local/state/neuron-training-operator/cluster; another one,
given by --state or NTO_CLUSTER_STATE, is another cluster, and both can run at the same time.
"""


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    options = _parser().parse_args(arguments)
    cluster = Cluster(options.state.resolve())
    try:
        return int(options.action(cluster, options) or 0)
    except BrokenPipeError:  # `hack/cluster status | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _up(cluster: Cluster, _options: argparse.Namespace) -> None:
    began = time.monotonic()
    print("Bringing the local cluster up (about 10 s once its programs are built) …", flush=True)
    cluster.up()
    print(f"The local cluster is up ({time.monotonic() - began:.1f} s): export KUBECONFIG={cluster.kubeconfig}")


def _down(cluster: Cluster, _options: argparse.Namespace) -> None:
    cluster.down()
    print("The local cluster is down; nothing of it is left.")


def _status(cluster: Cluster, _options: argparse.Namespace) -> int:
    if not cluster.is_running():
        print("down")
        return 3
    answer = cluster.command("status")
    for name in answer["known"]:
        state = "running" if name in answer["running"] else "stopped"
        ended = f", last exit {answer['exits'][name]}" if name in answer["exits"] else ""
        print(f"{name:<26}{state}{ended}")
    print(f"logs in {cluster.state / 'logs'}\nexport KUBECONFIG={cluster.kubeconfig}")
    if "kube-apiserver" in answer["running"]:
        print(cluster.kubectl("get", "nodes,pods", "--all-namespaces"), end="")
    return 0


def _kubeconfig(cluster: Cluster, _options: argparse.Namespace) -> int:
    print(cluster.kubeconfig)
    return 0 if cluster.is_running() else 3


def _load_image(cluster: Cluster, options: argparse.Namespace) -> None:
    began = time.monotonic()
    cluster.command("status")
    if Path(options.image).is_file():
        imageload.load_archive(cluster.state, Path(options.image))
    else:
        imageload.load_named(cluster.state, options.image)
    print(f"loaded {options.image} ({time.monotonic() - began:.1f} s)")


def _component(cluster: Cluster, options: argparse.Namespace) -> None:
    for action in ("stop", "start") if options.verb == "restart" else (options.verb,):
        cluster.command(f"{action} {options.name}")


def _run(cluster: Cluster, options: argparse.Namespace) -> int:
    words = options.words[1:] if options.words[:1] == ["--"] else options.words
    path = f"{toolchain.binaries()}:{os.environ.get('PATH', '')}"
    os.environ.update(KUBECONFIG=str(cluster.kubeconfig), PATH=path)
    try:
        os.execvp(words[0], words)
    except (OSError, IndexError) as error:
        raise ClusterError(f"cannot run {words}: {error}") from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="hack/cluster", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--state", type=Path, default=default_state_directory(), help="the cluster's state directory")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, action, text in (
        ("up", _up, "bring the cluster up; a second time only checks that it is"),
        ("down", _down, "end and remove everything; does nothing when there is nothing"),
        ("status", _status, "what runs; exit status 3 when the cluster is down"),
        ("kubeconfig", _kubeconfig, "print the kubeconfig's path; exit status 3 when the cluster is down"),
    ):
        commands.add_parser(name, help=text, description=text).set_defaults(action=action)
    load = commands.add_parser(
        "load-image", help="import an image: an archive file, or a name known to buildah or docker"
    )
    load.add_argument("image", metavar="ARCHIVE|NAME")
    load.set_defaults(action=_load_image)
    part = commands.add_parser("component", help="stop (SIGKILL), start or restart one program of the cluster")
    part.add_argument("verb", choices=["stop", "start", "restart"])
    part.add_argument("name", help="as `status` lists them")
    part.set_defaults(action=_component)
    command = commands.add_parser(
        "run", help="run a command against the cluster: KUBECONFIG set, kubectl and helm on PATH"
    )
    command.add_argument("words", nargs=argparse.REMAINDER, metavar="-- COMMAND")
    command.set_defaults(action=_run)
    return parser
