"""`kubectl neuron dashboard`: its flags, and the server."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from neuron_operator.cli.live import commands
from neuron_operator.cli.live.connection import connect
from neuron_operator.cli.live.kubeconfig import current_context
from neuron_operator.kube.errors import UserInputError

MAX_PORT = 65_535


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    result = argparse.ArgumentParser(
        "kubectl neuron dashboard",
        description="A page in the browser with the jobs of a namespace: progress, curves, restarts, conditions, logs. "
        "It is served on this machine only, with your rights, until you interrupt it.",
    )
    commands.add_cluster_options(result)
    result.add_argument("-A", "--all-namespaces", action="store_true", help="the jobs of every namespace")
    result.add_argument("--port", type=_port, default=0, help="on 127.0.0.1; default: a free one")
    result.add_argument(
        "--browser",
        action=argparse.BooleanOptionalAction,
        help="open the page in the browser; default: on a terminal",
    )
    return result


def run(arguments: Sequence[str], write: Callable[[str], object]) -> int:
    """Serve until interrupted."""
    options = parser().parse_args(arguments)
    from neuron_dashboard import server

    from .cluster_source import ClusterSource

    access = commands.access(options)
    with connect(access) as connection:
        connection.list_jobs(everywhere=options.all_namespaces, limit=1)  # A missing right is one sentence, here.
        namespace = connection.namespace
    source = ClusterSource(
        access, current_context(access.kubeconfig, access.context), namespace, everywhere=options.all_namespaces
    )
    opens = options.browser if options.browser is not None else sys.stdout.isatty()
    try:
        server.run(source, port=options.port, opens_browser=opens, say=write)
    except OSError as problem:
        raise UserInputError(
            f"--port {options.port}: {os.strerror(problem.errno) if problem.errno else problem}"
        ) from None
    return 0


def _port(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or int(text) > MAX_PORT:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: give a number from 0 (a free one) to {MAX_PORT}")
    return int(text)
