"""NeuronTrainingJob as the operator reads it: metadata that matters, spec, status."""

from typing import Any

from pydantic import AwareDatetime, Field

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


def parse(body: dict[str, Any]) -> NeuronTrainingJob:
    """From the API server's JSON; raises `pydantic.ValidationError` where the schema was bypassed."""
    return NeuronTrainingJob.model_validate(body)
