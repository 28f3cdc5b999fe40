"""Names of jobs: each becomes the name of a Service (DNS-1035), of pods and hosts, and the value of a label."""

import re
from typing import Final

from neuron_api.findings.finding import Finding, error

MAX_LENGTH: Final = 48
"""Characters; with attempt and index appended, a host name has at most 63."""
EXPECTED: Final = (
    f"use at most {MAX_LENGTH} characters: lower-case letters, digits and hyphens, a letter first and no hyphen last"
)
KEY: Final = "metadata.name"
_LEGAL: Final = re.compile(r"[a-z](?:[-a-z0-9]*[a-z0-9])?")
_FALLBACK: Final = "training"
_PREFIX: Final = "job-"


def check(name: str) -> tuple[Finding, ...]:
    """Return why the API server would refuse the name; empty if it is legal."""
    if len(name) <= MAX_LENGTH and _LEGAL.fullmatch(name):
        return ()
    return (
        error(KEY, f"{name[:80]!r} cannot be the name of a job: {EXPECTED}.", f"For example {nearest_legal(name)}."),
    )


def nearest_legal(text: str) -> str:
    """Return the nearest legal name: the text itself if it is legal."""
    name = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    if name and not name[0].isalpha():
        name = f"{_PREFIX}{name}"
    return name[:MAX_LENGTH].rstrip("-") or _FALLBACK
