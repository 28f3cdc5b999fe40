"""The public names of neuron_api: all of them can be imported, and a submodule alone does not import the others."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import neuron_api

SOURCE = Path(neuron_api.__file__)


def typed_names() -> dict[str, str]:
    """Name to submodule, as type checkers see them."""
    tree = ast.parse(SOURCE.read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    return {
        alias.name: str(node.module) for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }


def test_the_list_is_sorted_and_the_same_for_type_checkers_and_at_run_time() -> None:
    assert neuron_api.__all__ == sorted(neuron_api.__all__)
    assert typed_names() == neuron_api._MODULES
    assert set(neuron_api.__all__) == {*neuron_api._MODULES, "version"}
    assert dir(neuron_api) == neuron_api.__all__


@pytest.mark.parametrize("name", neuron_api.__all__)
def test_a_public_name_has_its_own_module_and_documentation(name: str) -> None:
    member = getattr(neuron_api, name)
    assert member.__name__ == name
    assert member.__module__.partition(".")[0] == "neuron_api"
    assert member.__doc__


def test_another_name_is_an_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'missing'"):
        neuron_api.__getattr__("missing")


def test_importing_a_submodule_imports_no_other() -> None:
    program = (
        "import sys, neuron_api.contract; print(sorted(name for name in sys.modules if name.startswith('neuron_api')))"
    )
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "['neuron_api', 'neuron_api.contract']"
