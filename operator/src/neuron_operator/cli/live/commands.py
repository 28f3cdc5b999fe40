"""The commands that ask a cluster: their flags, and which module answers. Each is imported when it is called."""

import argparse
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from neuron_api import contract

if TYPE_CHECKING:
    from .connection import Connection

Print = Callable[[str], None]

COMMANDS: Final = {
    "status": "phase, steps, checkpoint, restarts and what they cost, last events; --watch keeps it up to date",
    "why": "what a job waits for, or why it ended, and what to do",
    "logs": "what the first failing process wrote around its failure",
    "checkpoints": "what a restart would resume from, and what it would cost",
    "suspend": "end the pods of a job after a checkpoint, and keep the job",
    "resume": "let a suspended job continue from its newest checkpoint",
}
_ALREADY: Final = {True: "is already suspended or being suspended", False: "is not suspended"}
_PREFIXES: Final = tuple(
    f"{kind}/"
    for kind in (contract.SHORT_NAME, contract.SINGULAR, contract.PLURAL, f"{contract.PLURAL}.{contract.GROUP}")
)


def run(command: str, arguments: Sequence[str], write: Print) -> int:
    """Carry out one of `COMMANDS`; raises `UserInputError`."""
    options = _parser(command).parse_args(arguments)
    from .connection import Access, connect

    with connect(Access(options.kubeconfig, options.context, options.namespace)) as connection:
        name = _name(options.job)
        match command:
            case "status":
                from . import status

                status.run(connection, name, watch=options.watch)
            case "why":
                from . import why

                write(why.run(connection, name))
            case "logs":
                from . import failure_log

                write(failure_log.run(connection, name, number=options.restart, seconds=options.seconds))
            case "checkpoints":
                from . import checkpoints

                write(checkpoints.run(connection, name))
            case _:
                write(set_suspend(connection, name, suspend=command == "suspend"))
    return 0


def set_suspend(connection: "Connection", name: str, *, suspend: bool) -> str:
    """Merge spec.suspend into the job and return the text to print; the operator does the rest.

    Nothing is written where the field has that value already, or the job is over.
    """
    from .job_snapshot import parse_job

    body = connection.job(name)
    job = parse_job(body)
    if job.status.finished:
        return f"{name} is over ({job.status.phase}); nothing was changed.\n"
    if is_suspended(body) is suspend:
        return f"{name} {_ALREADY[suspend]} (spec.suspend is {str(suspend).lower()}); nothing was changed.\n"
    connection.change(name, {"suspend": suspend})
    see = f"See: kubectl neuron status {name} -n {connection.namespace} --watch\n"
    if suspend:
        return f"{name} will be suspended: its pods end after a checkpoint; resume continues from it. {see}"
    return f"{name} will be resumed: its pods are recreated and continue from the newest checkpoint. {see}"


def is_suspended(body: dict[str, Any]) -> bool:
    """Return what spec.suspend asks for; an absent field means false."""
    return bool(body.get("spec", {}).get("suspend", False))


def _parser(command: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(f"kubectl neuron {command}", description=f"{COMMANDS[command]}.")
    parser.add_argument("job", metavar="JOB", help="name of a NeuronTrainingJob, with or without ntj/ before it")
    parser.add_argument("-n", "--namespace", help="default: the context's")
    parser.add_argument("--context", help="of the kubeconfig; default: its current one")
    parser.add_argument("--kubeconfig", metavar="FILE", help="default: $KUBECONFIG, or ~/.kube/config")
    if command == "status":
        parser.add_argument("-w", "--watch", action="store_true", help="until the job is over; every 2 s")
    if command == "logs":
        parser.add_argument(
            "--first-failure", action="store_true", default=True, help="the default, and the only log so far"
        )
        parser.add_argument(
            "--restart", type=int, metavar="N", help="line N of the ledger; default: the newest failure"
        )
        parser.add_argument("--seconds", type=float, default=60.0, metavar="S", help="before the failure; default: 60")
    return parser


def _name(job: str) -> str:
    """Return the bare name, also of one as kubectl prints it (`-o name`)."""
    for prefix in _PREFIXES:
        job = job.removeprefix(prefix)
    return job
