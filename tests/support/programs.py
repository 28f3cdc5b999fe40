"""The programs that integration tests need (etcd, kube-apiserver, …), built while the other tests run.

Building them takes five minutes of two idle cores, and three quarters of an hour of busy ones: nobody waits that long
for the first test. Tests that are marked `integration` come last, and before the first of them the suite says what it
waits for.
"""

from collections.abc import Iterator

import pytest

from controlplane import toolchain
from controlplane.errors import ClusterError


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that need the programs come last; apart from that the order stays."""
    items.sort(key=needs_programs)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Wait before the test's own time begins (the wrapper of pytest-timeout is within this one)."""
    if needs_programs(item):
        _wait(item.config)
    return (yield)


def needs_programs(item: pytest.Item) -> bool:
    """Whether the test is marked as one that needs built programs."""
    return item.get_closest_marker("integration") is not None


def _wait(config: pytest.Config) -> None:
    if all(toolchain.find(name) is not None for name in toolchain.FOR_TESTS):
        return
    capture = config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        print()  # noqa: T201
        try:
            toolchain.programs(*toolchain.FOR_TESTS)
        except ClusterError as error:
            pytest.exit(f"the integration tests cannot run: {error}", returncode=1)
