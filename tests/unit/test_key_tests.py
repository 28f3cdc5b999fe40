"""For each key of a section of the specification, the test that shows what it does: tests/data/key-tests.yaml."""

import ast
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final

import pytest
import yaml

from key_table import table

TESTS: Final = Path(__file__).parents[1]
NAMED: Final[Mapping[str, Mapping[str, list[str]]]] = yaml.safe_load((TESTS / "data" / "key-tests.yaml").read_text())
"""By section and key, tests as `folder/test_module.py::test_function`."""


@cache
def functions(module: str) -> frozenset[str]:
    """The tests of a module of this folder."""
    tree = ast.parse((TESTS / module).read_text())
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize("section", NAMED)
def test_every_key_of_the_section_has_tests_of_its_own(section: str) -> None:
    keys = [row.key for row in table() if row.section == section]
    assert keys
    assert sorted(NAMED[section]) == sorted(keys)
    assert [key for key, tests in NAMED[section].items() if not tests] == []


@pytest.mark.parametrize("section", NAMED)
def test_every_test_that_is_named_is_there(section: str) -> None:
    named = {test for tests in NAMED[section].values() for test in tests}
    absent = [test for test in named if test.partition("::")[2] not in functions(test.partition("::")[0])]
    assert absent == []
