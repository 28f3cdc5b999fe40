"""The base of every API object, and types of a pod's report, which is untrusted: a value that no launcher can send
invalidates the report.

The exceptions are values that real launchers do send: a loss that is NaN (dropped: JSON has none, and the API server
refuses a status with one), and text of any length (cut, control characters escaped).
"""

import math
from datetime import UTC, datetime
from typing import Annotated, Final

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, PlainSerializer
from pydantic.alias_generators import to_camel

from neuron_api.findings.finding import clip

MAX_COUNT: Final = 10**15
"""Steps and rounds: more than any training reaches, and exact in JSON, int64 and float."""
MAX_SECONDS: Final = 10.0**9
"""32 years."""
MAX_NAME: Final = 253
"""Characters of a name or a UID."""
MAX_PATH: Final = 4_096
MAX_MESSAGE: Final = 1_024
MAX_LINE: Final = 240

Count = Annotated[int, Field(ge=0, le=MAX_COUNT)]
"""A number of steps, rounds or ranks."""
ExitCode = Annotated[int, Field(ge=-(2**31), lt=2**31)]
Seconds = Annotated[float, Field(ge=0, le=MAX_SECONDS)]
Moment = Annotated[AwareDatetime, Field(ge=datetime(1970, 1, 1, tzinfo=UTC), lt=datetime(9000, 1, 1, tzinfo=UTC))]
"""A time that stays inside the calendar when seconds are added to it."""


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


Measured = Annotated[float | None, AfterValidator(_finite)]
"""A measured number; None if it is not finite."""

Name = Annotated[str, AfterValidator(lambda text: clip(text, MAX_NAME))]
PathText = Annotated[str, AfterValidator(lambda text: clip(text, MAX_PATH))]
Message = Annotated[str, AfterValidator(lambda text: clip(text, MAX_MESSAGE))]
Line = Annotated[str, AfterValidator(lambda text: clip(text, MAX_LINE))]


class ApiObject(BaseModel):
    """camelCase on the wire; unknown fields are ignored (an older operator, a newer CRD); frozen."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="ignore",
        frozen=True,
        use_attribute_docstrings=True,
    )


Decimal = Annotated[float, PlainSerializer(repr, return_type=str), "decimal"]
"""A number that is no integer, on the wire a decimal string: floating-point numbers do not survive every client of the
API. The API conventions advise against them; JobSet and Kubeflow's TrainJob have none either."""


class StatusObject(ApiObject):
    """Fields of other releases are kept: a status is written as a whole, and what is missing in it is lost. So the CRD
    keeps them as well (`x-kubernetes-preserve-unknown-fields`)."""

    model_config = ConfigDict(extra="allow")
