"""The fixture of tests that need the stand-in."""

import pytest

from . import build


@pytest.fixture(scope="session")
def neuron_device() -> dict[str, str]:
    """Variables of child processes that have the stand-in; it is compiled at first use (a minute)."""
    return build.environment(build.folder())
