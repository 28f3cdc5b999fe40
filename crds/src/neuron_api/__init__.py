"""The contract of the NeuronX training operator: configuration, resource and wire formats. Pure, no I/O.

The public names below are loaded on first use (PEP 562), so that importing a submodule does not import the others.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from .config import TrainingConfig
    from .contract import ExitCode
    from .derive.plan import TrainingPlan
    from .findings.finding import Finding, Severity
    from .loading.loader import Loaded, load_bytes, load_object, load_text
    from .resource.job import NeuronTrainingJob
    from .resource.progress import Progress
    from .resource.reasons import ConditionType, Reason
    from .resource.spec import JobSpec
    from .resource.status import JobStatus

__all__ = [
    "ConditionType",
    "ExitCode",
    "Finding",
    "JobSpec",
    "JobStatus",
    "Loaded",
    "NeuronTrainingJob",
    "Progress",
    "Reason",
    "Severity",
    "TrainingConfig",
    "TrainingPlan",
    "load_bytes",
    "load_object",
    "load_text",
    "version",
]

_MODULES: Final = {
    "ConditionType": "resource.reasons",
    "ExitCode": "contract",
    "Finding": "findings.finding",
    "JobSpec": "resource.spec",
    "JobStatus": "resource.status",
    "Loaded": "loading.loader",
    "NeuronTrainingJob": "resource.job",
    "Progress": "resource.progress",
    "Reason": "resource.reasons",
    "Severity": "findings.finding",
    "TrainingConfig": "config",
    "TrainingPlan": "derive.plan",
    "load_bytes": "loading.loader",
    "load_object": "loading.loader",
    "load_text": "loading.loader",
}
"""Submodule by public name."""
DISTRIBUTION: Final = "neuron-training-operator"
_UNKNOWN: Final = "unknown (not installed as a package)"


def version() -> str:
    """Return the version of this release, which all its programs have; a source tree that is not installed has none."""
    from importlib import metadata  # only those that ask for it pay for it

    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return _UNKNOWN


def __getattr__(name: str) -> Any:
    """Import the submodule of a public name."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    """List the public names."""
    return __all__
