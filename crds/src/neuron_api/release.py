"""The version of this release, which all its programs have."""

from importlib import metadata
from typing import Final

DISTRIBUTION: Final = "neuron-training-operator"
_UNKNOWN: Final = "unknown (not installed as a package)"


def version() -> str:
    """Return the version of the installed package; a source tree without one has none."""
    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return _UNKNOWN
