"""What holds for all tests."""

from hypothesis import settings

from fault_table import pytest_addoption, pytest_terminal_summary, trial
from neuron_device.fixtures import neuron_device
from programs import pytest_collection_modifyitems, pytest_runtest_protocol

__all__ = [
    "neuron_device",
    "pytest_addoption",
    "pytest_collection_modifyitems",
    "pytest_runtest_protocol",
    "pytest_terminal_summary",
    "trial",
]

# The same examples in every run, and no deadline: the machines are shared, a slow moment is no failure.
settings.register_profile("project", derandomize=True, deadline=None)
settings.load_profile("project")
