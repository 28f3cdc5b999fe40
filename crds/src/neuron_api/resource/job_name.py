"""Names of jobs: each becomes the name of a Service (DNS-1035), of pods and hosts, and the value of a label."""

import re
from typing import Final

from neuron_api.findings.finding import Finding, error

MAX_LENGTH: Final = 48
"""Characters; with attempt and index behind it a host name has 63 at most."""
EXPECTED: Final = (
    f"use at most {MAX_LENGTH} characters: lower-case letters, digits and hyphens, a letter first and no hyphen last"
)
KEY: Final = "metadata.name"
_LEGAL: Final = re.compile(r"[a-z](?:[-a-z0-9]*[a-z0-9])?")
_FALLBACK: Final = "training"
_PREFIX: Final = "job-"


def check(name: str) -> tuple[Finding, ...]:
    """Why the API server would refuse the name; empty where it is legal."""
    if len(name) <= MAX_LENGTH and _LEGAL.fullmatch(name):
        return ()
    return (error(KEY, f"{name[:80]!r} cannot be the name of a job: {EXPECTED}.", f"For example {legal(name)}."),)


def legal(text: str) -> str:
    """The nearest legal name: the same text where it is one."""
    name = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    if name and not name[0].isalpha():
        name = f"{_PREFIX}{name}"
    return name[:MAX_LENGTH].rstrip("-") or _FALLBACK
