"""The public names of neuron_client: all of them can be imported, and the supervisor of a local run imports none."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import neuron_client


def test_the_list_is_sorted_and_the_same_for_type_checkers_and_at_run_time() -> None:
    tree = ast.parse(Path(neuron_client.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    typed = {alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert neuron_client.__all__ == sorted(neuron_client.__all__)
    assert typed == neuron_client._MODULES
    assert dir(neuron_client) == neuron_client.__all__


@pytest.mark.parametrize("name", neuron_client.__all__)
def test_a_public_name_is_documented(name: str) -> None:
    assert getattr(neuron_client, name).__doc__


def test_another_name_is_an_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'missing'"):
        neuron_client.__getattr__("missing")


@pytest.mark.parametrize(
    ("module", "banned"),
    [
        ("neuron_client.client", "torch kopf kubernetes rich aiohttp lightning"),
        ("neuron_client.local.backend", "torch kopf kubernetes rich aiohttp lightning"),
        ("neuron_client.local.run_metrics", "torch kopf kubernetes rich aiohttp lightning"),
        ("neuron_client.cluster", "torch kopf rich aiohttp lightning"),
        ("neuron_client.local.supervisor", "torch pydantic yaml neuron_api"),
    ],
)
def test_a_module_starts_without_what_it_does_not_need(module: str, banned: str) -> None:
    program = f"import sys, {module}; print(sorted(set({banned.split()!r}) & set(sys.modules)))"
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "[]"
