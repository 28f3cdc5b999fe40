"""The cluster's own view of the machine: mount, network, process, host name and IPC namespaces.

The whole cluster is one process tree in namespaces of its own. That is what makes its end complete: when
process 1 (the supervisor) is gone, the kernel has killed every program and container, dropped every
mount, every interface, address and firewall rule. And it is why two clusters never collide: both use
the same addresses and paths, each sees its own.

Nothing connects the cluster's network with the machine's but the relay (`relay.py`): pods reach each
other, Services and the API server, and nothing else.
"""

from __future__ import annotations

import sys
from pathlib import Path

from controlplane import supervisor
from controlplane.controlprograms import SERVICE_RANGE
from controlplane.errors import MissingRequirement
from controlplane.shell import run
from offline.nodeprograms import MAIN, PLACES

_HIDDEN = ("/run", "/var/lib", "/var/log")
"""Replaced inside by directories of the cluster's own, because programs have paths below them built in."""

_KUBELET_TUNABLES = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}
"""Kernel settings of the whole machine that a kubelet insists on. It is shown files that hold the values
it wants, so that the machine keeps its own."""

ENTER = [
    "unshare", "--mount", "--net", "--pid", "--uts", "--ipc", "--fork", "--kill-child=KILL",
    "--propagation=slave", "--mount-proc",
]  # fmt: skip
"""Command prefix that makes the namespaces; what follows becomes process 1 in them."""


def check_state_directory(state: Path) -> None:
    """The state must stay visible inside, and socket paths have an upper length."""
    if any(state.is_relative_to(hidden) for hidden in _HIDDEN):
        raise MissingRequirement(f"The state directory {state} must not lie below {', '.join(_HIDDEN)}.")
    if len(str(state)) > 80:
        raise MissingRequirement(f"The state directory {state} is too long: unix sockets allow it 80 characters.")


def prepare(state: Path) -> None:
    """Set up mounts and network; runs as process 1 of fresh namespaces."""
    run("mount", "--make-rshared", "/")  # containers ask for propagation; it ends at our own namespace
    run("mount", "-t", "tmpfs", "tmpfs", "/run")
    run("mount", "-t", "tmpfs", "tmpfs", "/var/lib")
    _bind(state / "log", Path("/var/log"))
    for place in PLACES:
        _bind(state / f"kubelet{place.suffix}", Path(f"/var/lib/kubelet{place.suffix}"))
    _show_tunables(Path("/run/tunables"))
    run("hostname", MAIN.name)
    run("ip", "link", "set", "lo", "up")
    for place in PLACES:
        run("ip", "address", "add", f"{place.address}/32", "dev", "lo")
    # Routes are looked up before kube-proxy rewrites a Service address, so the node needs one to them.
    run("ip", "route", "add", SERVICE_RANGE, "dev", "lo", "src", MAIN.address)
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")


def _bind(source: Path, target: Path) -> None:
    source.mkdir(exist_ok=True)
    target.mkdir(exist_ok=True)
    run("mount", "--bind", source, target)


def _show_tunables(directory: Path) -> None:
    directory.mkdir()
    for name, value in _KUBELET_TUNABLES.items():
        shown = directory / name.replace("/", "-")
        shown.write_text(value)
        run("mount", "--bind", shown, Path("/proc/sys") / name)


def main() -> None:
    """Entry point of `python -m offline.namespaces STATE SUPERVISOR-ARGUMENTS…`."""
    prepare(Path(sys.argv[1]))
    sys.argv = [sys.argv[0], *sys.argv[2:]]
    supervisor.main()


if __name__ == "__main__":
    main()
