"""Types of what a pod reports. A pod may lie: a value that no launcher can mean makes the report none.

The exceptions are what honest launchers do send: a loss that is not a number (left out: JSON has none, and the API
server refuses a status with one), and text of any length (cut, control characters escaped).
"""

import math
from datetime import UTC, datetime
from typing import Annotated, Final

from pydantic import AfterValidator, AwareDatetime, Field

from neuron_api.findings.printable import clip

MAX_COUNT: Final = 10**15
"""Steps and rounds: a number that JSON, int64 and a float hold exactly, and that no training reaches."""
MAX_SECONDS: Final = 10.0**9
"""32 years."""
MAX_NAME: Final = 253
"""Characters of a name or a UID."""
MAX_PATH: Final = 4_096
MAX_MESSAGE: Final = 1_024
MAX_LINE: Final = 240

Count = Annotated[int, Field(ge=0, le=MAX_COUNT)]
"""Of steps, rounds, ranks."""
ExitCode = Annotated[int, Field(ge=-(2**31), lt=2**31)]
Seconds = Annotated[float, Field(ge=0, le=MAX_SECONDS)]
Moment = Annotated[AwareDatetime, Field(ge=datetime(1970, 1, 1, tzinfo=UTC), lt=datetime(9000, 1, 1, tzinfo=UTC))]
"""A time with which arithmetic stays inside the calendar, whatever is added to it."""


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


Measured = Annotated[float | None, AfterValidator(_finite)]
"""A number of the training; None where it is none."""

Name = Annotated[str, AfterValidator(lambda text: clip(text, MAX_NAME))]
PathText = Annotated[str, AfterValidator(lambda text: clip(text, MAX_PATH))]
Message = Annotated[str, AfterValidator(lambda text: clip(text, MAX_MESSAGE))]
Line = Annotated[str, AfterValidator(lambda text: clip(text, MAX_LINE))]
