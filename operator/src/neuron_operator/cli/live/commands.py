"""The commands that ask a cluster: their flags, and which module answers. Each is imported when it is called."""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from neuron_api import contract
from neuron_operator.cli import output, watching
from neuron_operator.cli.watching import Frame

if TYPE_CHECKING:
    from .connection import Access, Connection

Print = Callable[[str], None]

JOB_FAILED: Final = 3
"""Exit code of a command that followed a job to its end, where the job has failed."""


@dataclass(frozen=True, slots=True)
class Command:
    """What the command line of one command takes."""

    summary: str
    jobs: str | None = None
    """How many names it takes, as argparse has it; None: exactly one."""
    formats: tuple[str, ...] = (*output.DATA, output.NAME)
    """Of `-o`, beside text."""
    can_watch: bool = False


COMMANDS: Final = {
    "list": Command("the jobs of a namespace: phase, steps, nodes, goodput, time left", "*", can_watch=True),
    "top": Command("what the jobs make of their nodes: steps/s, tokens/s, MFU, goodput", "*", can_watch=True),
    "status": Command(
        "phase, steps, checkpoint, restarts and what they cost, last events; --watch keeps it up to date",
        can_watch=True,
    ),
    "describe": Command("everything that is known of a job, section by section", can_watch=True),
    "why": Command("what a job waits for, or why it ended, and what to do", can_watch=True),
    "logs": Command("what the first failing process wrote around its failure", formats=output.DATA),
    "checkpoints": Command(
        "what a restart would resume from, and what it would cost", formats=output.DATA, can_watch=True
    ),
    "suspend": Command("end the pods of a job after a checkpoint, and keep the job"),
    "resume": Command("let a suspended job continue from its newest checkpoint"),
}
ALIASES: Final = {"get": "list", "ls": "list"}
_ALREADY: Final = {True: "is already suspended or being suspended", False: "is not suspended"}
_PREFIXES: Final = tuple(
    f"{kind}/"
    for kind in (
        contract.SHORT_NAME,
        contract.SINGULAR,
        contract.PLURAL,
        f"{contract.PLURAL}.{contract.GROUP}",
        f"{contract.SINGULAR}.{contract.GROUP}",
    )
)


def run(command: str, arguments: Sequence[str], write: Print) -> int:
    """Carry out one of `COMMANDS`; raises `UserInputError`."""
    command = ALIASES.get(command, command)
    options = parser(command).parse_args(arguments)
    from .connection import connect

    with connect(access(options)) as connection:
        if command in ("list", "top"):
            return _show(lambda: _jobs(connection, command, options), options)
        name = bare_name(options.job)
        if command in ("suspend", "resume"):
            write(_suspended(connection, name, suspend=command == "suspend", form=options.output))
            return 0
        if command == "status" and options.output == output.TEXT:
            from . import status

            job = status.run(connection, name, watch=options.watch)
            return JOB_FAILED if options.watch and has_failed(job.phase) else 0
        look = _LOOKS[command]
        return _show(lambda: look(connection, name, options), options)


def access(options: argparse.Namespace) -> "Access":
    """Return the flags that kubectl has as well."""
    from .connection import Access

    return Access(options.kubeconfig, options.context, options.namespace)


def has_failed(phase: str) -> bool:
    """Return whether a job that ended so has failed."""
    return phase == "Failed"


def _show(look: Callable[[], Frame], options: argparse.Namespace) -> int:
    watch = getattr(options, "watch", False)
    frame = watching.run(look, watch=watch, is_drawn=options.output == output.TEXT)
    return JOB_FAILED if watch and frame.has_failed else 0


def _jobs(connection: "Connection", command: str, options: argparse.Namespace) -> Frame:
    from neuron_operator.cli.jobs import overview, tables

    from .job_snapshot import parse_job

    chosen = [bare_name(job) for job in options.job]
    everywhere = options.all_namespaces
    bodies = [connection.job(name) for name in chosen] if chosen else connection.jobs(everywhere=everywhere)
    jobs = tables.ordered((overview.summary(parse_job(body)) for body in bodies), options.sort_by)
    content = tuple(job.model_dump_json() for job in jobs)
    if options.output == output.NAME:
        return Frame(output.names([job.name for job in jobs]))
    if options.output != output.TEXT:
        return Frame(output.dump({"items": jobs}, options.output), content=content)
    if not jobs:
        place = "any namespace" if everywhere else f"namespace {connection.namespace}"
        return Frame(f"there is no {contract.KIND} in {place}\n")
    columns = tables.LIST if command == "list" else tables.TOP
    return Frame(tables.table(jobs, columns, datetime.now(UTC), has_namespaces=everywhere), content=content)


def _described(connection: "Connection", name: str, options: argparse.Namespace) -> Frame:
    """Look for `describe`, and for `status -o`."""
    from neuron_operator.cli.jobs import describe, overview

    from .job_snapshot import look

    now = datetime.now(UTC)
    job = overview.detail(look(connection, name), now)
    text = describe.text(job, now) if options.output == output.TEXT else _formatted(options.output, name, job)
    content = job.model_dump_json(exclude={"explanation", "evidence", "time_shares"})
    return Frame(text, job.is_finished, has_failed(job.phase), content)


def _why(connection: "Connection", name: str, options: argparse.Namespace) -> Frame:
    from . import why

    answer, job = why.look_and_answer(connection, name)
    data = {"namespace": job.metadata.namespace, "name": name, "phase": str(job.status.phase), **answer.data}
    text = answer.text if options.output == output.TEXT else _formatted(options.output, name, data)
    return Frame(text, job.status.finished, has_failed(job.status.phase), (answer.reason, job.status.phase))


def _logs(connection: "Connection", name: str, options: argparse.Namespace) -> Frame:
    from . import failure_log

    log = failure_log.read(connection, name, number=options.restart, seconds=options.seconds)
    return Frame(log.text(name) if options.output == output.TEXT else _formatted(options.output, name, log.data))


def _checkpoints(connection: "Connection", name: str, options: argparse.Namespace) -> Frame:
    from . import checkpoints
    from .job_snapshot import parse_job

    job = parse_job(connection.job(name))
    newest = checkpoints.newest(job, checkpoints.live(connection, job))
    data = {"checkpoints": checkpoints.rows(job, newest), "restartCost": checkpoints.cost(job, newest)}
    text = checkpoints.text(job, newest, datetime.now(UTC))
    form = options.output
    return Frame(
        text if form == output.TEXT else _formatted(form, name, data),
        job.status.finished,
        has_failed(job.status.phase),
        (newest.step if newest else None, job.status.restart_count, job.status.phase),
    )


_LOOKS: Final[dict[str, Callable[["Connection", str, argparse.Namespace], Frame]]] = {
    "status": _described,
    "describe": _described,
    "why": _why,
    "logs": _logs,
    "checkpoints": _checkpoints,
}


def _formatted(form: str, name: str, data: Any) -> str:
    return output.names([name]) if form == output.NAME else output.dump(data, form)


def _suspended(connection: "Connection", name: str, *, suspend: bool, form: str) -> str:
    text = set_suspend(connection, name, suspend=suspend)
    return text if form == output.TEXT else _formatted(form, name, connection.job(name))


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


def parser(command: str) -> argparse.ArgumentParser:
    """Return the command line of one of `COMMANDS`."""
    chosen = COMMANDS[command]
    result = argparse.ArgumentParser(f"kubectl neuron {command}", description=f"{chosen.summary}.")
    result.add_argument(
        "job", metavar="JOB", nargs=chosen.jobs, help=f"name of a {contract.KIND}, with or without ntj/ before it"
    )
    add_cluster_options(result)
    output.add_option(result, *chosen.formats)
    if chosen.can_watch:
        result.add_argument(
            "-w", "--watch", action="store_true", help="keep it up to date every 2 s, until the job is over"
        )
    if command in ("list", "top"):
        from neuron_operator.cli.jobs.tables import SORT_KEYS

        result.add_argument("-A", "--all-namespaces", action="store_true", help="the jobs of every namespace")
        default = "name" if command == "list" else "tokens"
        result.add_argument("--sort-by", choices=SORT_KEYS, default=default, help=f"default: {default}")
    if command == "logs":
        result.add_argument(
            "--first-failure", action="store_true", default=True, help="the default, and the only log so far"
        )
        result.add_argument(
            "--restart", type=int, metavar="N", help="line N of the ledger; default: the newest failure"
        )
        result.add_argument("--seconds", type=float, default=60.0, metavar="S", help="before the failure; default: 60")
    return result


def add_cluster_options(result: argparse.ArgumentParser) -> None:
    """Add the flags that say which cluster and which namespace."""
    result.add_argument("-n", "--namespace", help="default: the context's")
    result.add_argument("--context", help="of the kubeconfig; default: its current one")
    result.add_argument("--kubeconfig", metavar="FILE", help="default: $KUBECONFIG, or ~/.kube/config")


def bare_name(job: str) -> str:
    """Return the bare name, also of one as kubectl prints it (`-o name`)."""
    for prefix in _PREFIXES:
        job = job.removeprefix(prefix)
    return job
