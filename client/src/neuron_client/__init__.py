"""Submit and follow NeuronTrainingJobs from Python, on a cluster or on this machine (docs/tasks/use-from-python.md).

The public names below are loaded on first use (PEP 562): the supervisor of a local run starts without the others.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from .backend import Event
    from .client import NeuronTrainingClient
    from .errors import (
        BackendError,
        ClientError,
        FindingsError,
        JobExistsError,
        JobFailedError,
        JobNotFoundError,
        RequestError,
        UnreachableError,
        WaitTimeoutError,
    )
    from .job import Job, JobList
    from .metrics import Metrics, MetricsRow
    from .plan import Plan

__all__ = [
    "BackendError",
    "ClientError",
    "Event",
    "FindingsError",
    "Job",
    "JobExistsError",
    "JobFailedError",
    "JobList",
    "JobNotFoundError",
    "Metrics",
    "MetricsRow",
    "NeuronTrainingClient",
    "Plan",
    "RequestError",
    "UnreachableError",
    "WaitTimeoutError",
]

_MODULES: Final = {
    "BackendError": "errors",
    "ClientError": "errors",
    "Event": "backend",
    "FindingsError": "errors",
    "Job": "job",
    "JobExistsError": "errors",
    "JobFailedError": "errors",
    "JobList": "job",
    "JobNotFoundError": "errors",
    "Metrics": "metrics",
    "MetricsRow": "metrics",
    "NeuronTrainingClient": "client",
    "Plan": "plan",
    "RequestError": "errors",
    "UnreachableError": "errors",
    "WaitTimeoutError": "errors",
}
"""Submodule by public name."""


def __getattr__(name: str) -> Any:
    """Import the submodule of a public name."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    """List the public names."""
    return __all__
