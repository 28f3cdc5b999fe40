"""`hack/build-tools`: make the pinned programs, print where they are."""

from __future__ import annotations

import argparse
import signal
import sys

from controlplane import toolchain
from controlplane.errors import ClusterError

_DESCRIPTION = """\
Find or build the pinned programs (etcd, the Kubernetes programs, CoreDNS, Helm) and print NAME PATH lines.

Looked for in $KUBEBUILDER_ASSETS, then in the cache; what is missing is built from its Go module
(hack/tools/go.mod), which needs Go 1.24 and the Go module proxy. All of them take about 8 minutes on two
cores, once per machine; `--for tests` (what the integration tests need) about 5. The second time: 0.1 s.
"""


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="hack/build-tools", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", nargs="*", help=f"programs: {', '.join(toolchain.PACKAGES)}")
    parser.add_argument(
        "--for", dest="purpose", choices=["tests", "cluster"], default="cluster", help="a set of programs"
    )
    parser.add_argument(
        "--check", action="store_true", help="build nothing; fail where a program is missing and cannot be built"
    )
    parser.add_argument("--prune", action="store_true", help="delete cached programs of other pins (600 MB each set)")
    options = parser.parse_args(arguments)
    chosen = options.name or (toolchain.FOR_TESTS if options.purpose == "tests" else toolchain.FOR_CLUSTER)
    if unknown := [name for name in chosen if name not in toolchain.PACKAGES]:
        parser.error(f"unknown program {', '.join(unknown)}; known: {', '.join(toolchain.PACKAGES)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # and the compiler with it: see subprocess.run
    try:
        if options.check:
            toolchain.check(*chosen)
            return 0
        for name, path in toolchain.programs(*chosen).items():
            print(name, path)
        if options.prune:
            for removed in toolchain.remove_others():
                print("removed", removed)
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0
