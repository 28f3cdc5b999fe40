"""NeuronTrainingJob as the operator reads it: the metadata that it uses, spec, status."""

from typing import Any

from pydantic import AwareDatetime, Field, ValidationError

from . import skew
from .spec import JobSpec
from .status import JobStatus
from .wire_values import ApiObject


class Metadata(ApiObject):
    """The part of ObjectMeta that the operator uses."""

    name: str
    namespace: str
    uid: str
    generation: int = 1
    resource_version: str = ""
    creation_timestamp: AwareDatetime | None = None
    deletion_timestamp: AwareDatetime | None = None
    labels: dict[str, str] = Field(default_factory=dict)


class NeuronTrainingJob(ApiObject):
    """The custom resource."""

    metadata: Metadata
    spec: JobSpec
    status: JobStatus = JobStatus()
    unread: tuple[str, ...] = Field(default=(), exclude=True)
    """Parts of the status that this release cannot read, each with the reason; they are dropped."""


def parse(body: dict[str, Any]) -> NeuronTrainingJob:
    """Parse the API server's JSON; raise `pydantic.ValidationError` if the schema of the spec was bypassed.

    A status that another release has written never raises: unreadable parts are dropped (`unread`).
    """
    unread: list[str] = []
    while True:
        try:
            job = NeuronTrainingJob.model_validate(body)
        except ValidationError as problem:
            wrong = [detail for detail in problem.errors() if detail["loc"][:1] == ("status",)]
            if not wrong:
                raise
            unread += (f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}" for detail in wrong)
            body = skew.drop_parts(body, (detail["loc"] for detail in wrong))
        else:
            return job.model_copy(update={"unread": tuple(unread)}) if unread else job
