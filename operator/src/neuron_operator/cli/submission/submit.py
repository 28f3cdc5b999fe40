"""`kubectl neuron submit`: convert, check, create, follow."""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TextIO

from neuron_api import contract
from neuron_api.resource.spec import JobSpec
from neuron_operator.cli import output
from neuron_operator.cli.live import commands
from neuron_operator.kube.errors import UserInputError

from . import manifests
from .manifests import Json, Objects, Request

if TYPE_CHECKING:
    from neuron_operator.cli.live.connection import Access, Connection

Print = Callable[..., None]
__all__ = ["Request", "run"]

_WRONG: Final = 2
_WORDS: Final = {None: "created", "server": "created (dry run of the server)"}


def run(request: Request, options: argparse.Namespace, write: Print) -> int:
    """Carry the request out; return an exit code."""
    objects = manifests.from_request(request)
    write(objects.remarks, sys.stderr)
    if objects.is_refused:
        write("kubectl neuron: the job was not submitted, since it would be rejected\n", sys.stderr)
        return _WRONG
    if options.dry_run == "client":
        write(_dry(objects, options.output))
        return 0
    from neuron_operator.cli.live.connection import connect

    with connect(_access(objects, options)) as connection:
        is_new, body = create(connection, objects, dry_run=options.dry_run == "server")
        name = objects.job["metadata"]["name"]
        word = _WORDS[options.dry_run] if is_new else "unchanged"
        text = f"{contract.SINGULAR}.{contract.GROUP}/{name} {word}\n"
        is_text = options.output == output.TEXT
        write(text if is_text else _formatted(options.output, name, body))
        if options.dry_run or not _is_followed(options, sys.stdout):
            if is_text and not options.dry_run:
                write(f"See: kubectl neuron status {name} -n {connection.namespace} --watch\n")
            return 0
        from neuron_operator.cli.live import status

        phase = status.run(connection, name, watch=True).phase
        return commands.JOB_FAILED if commands.has_failed(phase) else 0


def create(connection: "Connection", objects: Objects, *, dry_run: bool) -> tuple[bool, Json]:
    """Return whether the job is new, and what is stored; raises `UserInputError` where another job has its name.

    A job is accepted by a dry run before its ConfigMaps are stored: a refused one changes nothing.
    """
    job = _in_namespace(objects.job, connection.namespace)
    maps = [_in_namespace(config_map, connection.namespace) for config_map in objects.config_maps]
    accepted = connection.create_job(job, dry_run=True)
    if accepted is not None:
        for config_map in maps:
            connection.apply_config_map(config_map, dry_run=dry_run)
        created = accepted if dry_run else connection.create_job(job)
        if created is not None:
            return True, created
    return False, _unchanged(connection, job, maps, dry_run=dry_run)


def _unchanged(connection: "Connection", job: Json, maps: Sequence[Json], *, dry_run: bool) -> Json:
    """Return the job that is stored, where it is the same; a ConfigMap that is missing is stored."""
    name, namespace = job["metadata"]["name"], connection.namespace
    stored = connection.job(name)
    phase = stored.get("status", {}).get("phase", "Pending")
    delete = f"delete it (kubectl delete {contract.SHORT_NAME} {name} -n {namespace})"
    if stored["metadata"].get("deletionTimestamp"):
        raise UserInputError(
            f"job {name} in namespace {namespace} is being deleted ({phase}): submit again when it is gone (kubectl "
            f"wait --for=delete {contract.SHORT_NAME}/{name} -n {namespace}), or give --name"
        )
    if JobSpec.model_validate(stored["spec"]) != JobSpec.model_validate(job["spec"]):
        raise UserInputError(
            f"there is another job {name} in namespace {namespace} ({phase}): give --name, or {delete}"
        )
    for config_map in maps:
        map_name = config_map["metadata"]["name"]
        present = connection.config_map(map_name)
        if present is None:
            connection.apply_config_map(config_map, dry_run=dry_run)
        elif _content(present) != _content(config_map):
            raise UserInputError(
                f"job {name} in namespace {namespace} is the same ({phase}), and its ConfigMap {map_name} is not: "
                f"nothing was changed. Give --name and the ConfigMap another name, or {delete} first"
            )
    return stored


def _content(config_map: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(config_map.get(key) or {} for key in ("data", "binaryData"))


def _access(objects: Objects, options: argparse.Namespace) -> "Access":
    """Return the flags; the manifest's own namespace counts where none is given, as in kubectl."""
    stated = objects.job["metadata"].get("namespace")
    if stated and options.namespace and stated != options.namespace:
        raise UserInputError(f"the job says namespace {stated}, and -n says {options.namespace}")
    options.namespace = options.namespace or stated
    return commands.access(options)


def _in_namespace(body: Json, namespace: str) -> Json:
    return {**body, "metadata": {**body["metadata"], "namespace": namespace}}


def _dry(objects: Objects, form: str) -> str:
    """Return what would be created."""
    if form == output.NAME:
        return output.names([objects.job["metadata"]["name"]])
    if form == "json":
        return output.dump(objects.job, form)
    return "---\n".join(output.dump(body, "yaml") for body in (*objects.config_maps, objects.job))


def _formatted(form: str, name: str, body: Json) -> str:
    return output.names([name]) if form == output.NAME else output.dump(body, form)


def _is_followed(options: argparse.Namespace, stream: TextIO) -> bool:
    """Return whether to follow: as the flag says, else for a person at a terminal."""
    wants_data = options.output != output.TEXT
    return bool(options.follow if options.follow is not None else stream.isatty() and not wants_data)
