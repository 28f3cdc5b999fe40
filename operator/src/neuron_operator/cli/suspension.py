"""`kubectl neuron suspend` and `resume`: one field of the spec, merged in; the operator does the rest."""

from .connection import Connection, Json
from .job_snapshot import job_of

_ALREADY = {True: "is already suspended or being suspended", False: "is not suspended"}


def run(connection: Connection, name: str, *, suspend: bool) -> str:
    """The text to print; nothing is written where it is so already, or the job is over."""
    body = connection.job(name)
    job = job_of(body)
    if job.status.finished:
        return f"{name} is over ({job.status.phase}); nothing was changed.\n"
    if is_suspended(body) is suspend:
        return f"{name} {_ALREADY[suspend]} (spec.suspend is {str(suspend).lower()}); nothing was changed.\n"
    connection.change(name, {"suspend": suspend})
    see = f"See: kubectl neuron status {name} -n {connection.namespace} --watch\n"
    if suspend:
        return f"{name} will be suspended: its pods end after a checkpoint; resume continues from it. {see}"
    return f"{name} will be resumed: its pods are recreated and continue from the newest checkpoint. {see}"


def is_suspended(body: Json) -> bool:
    """What the spec asks for; absent means false."""
    return bool(body.get("spec", {}).get("suspend", False))
