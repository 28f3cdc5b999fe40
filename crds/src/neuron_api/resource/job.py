"""NeuronTrainingJob as the operator reads it: metadata that matters, spec, status."""

from typing import Any

from pydantic import AwareDatetime, Field, ValidationError

from . import skew
from .api_object import ApiObject
from .spec import JobSpec
from .status import JobStatus


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
    """Parts of the status that this release cannot read, each with the reason; they are left out."""


def parse(body: dict[str, Any]) -> NeuronTrainingJob:
    """From the API server's JSON; raises `pydantic.ValidationError` where the schema of the spec was bypassed.

    A status that another release has written never raises: what cannot be read of it is left out (`unread`).
    """
    unread: list[str] = []
    while True:
        try:
            job = NeuronTrainingJob.model_validate(body)
        except ValidationError as problem:
            wrong = [one for one in problem.errors() if one["loc"][:1] == ("status",)]
            if not wrong:
                raise
            unread += (f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in wrong)
            body = skew.without(body, (one["loc"] for one in wrong))
        else:
            return job.model_copy(update={"unread": tuple(unread)}) if unread else job
