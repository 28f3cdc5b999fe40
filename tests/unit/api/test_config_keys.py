"""For each key of the document: a legal value is taken, an illegal one refused with a sentence that helps."""

import ast
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from code_cases import Cause, causes
from key_cases import Case, cases, get, line_of, text_with
from key_table import sources, table
from neuron_api.config import TrainerConfig
from neuron_api.findings.registry import ENTRIES
from neuron_api.loading.loader import load_text
from neuron_api.schema.key_path import all_paths, field_of, fields

CASES, CAUSES = cases(), causes()
EACH = pytest.mark.parametrize("case", CASES, ids=lambda case: case.key)


# ---- the table of keys -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", sources())
def test_the_table_has_the_keys_of_the_document(source: str) -> None:
    """The specification is compared where it is at hand."""
    rows = sources()[source]()
    assert rows == table()
    assert len({row.key for row in rows}) == len(rows) == 328
    assert {row.tag for row in rows} == {"", "S", "U", "C", "A"}


@pytest.mark.parametrize("source", sources())
def test_every_key_of_the_document_is_a_field(source: str) -> None:
    assert [row.key for row in sources()[source]() if field_of(row.key) is None] == []


def test_every_key_has_a_case() -> None:
    tested = [case.key for case in CASES]
    assert [row.key for row in table() if row.key not in tested] == []
    assert [path for path, _ in all_paths() if path not in tested] == []
    assert len(set(tested)) == len(tested)


def test_every_argument_of_lightnings_trainer_is_a_key() -> None:
    """Read from its source: importing it takes seconds."""
    found = find_spec("lightning")
    assert found and found.submodule_search_locations
    source = Path(found.submodule_search_locations[0], "pytorch/trainer/trainer.py").read_text()
    [trainer] = [node for node in ast.parse(source).body if isinstance(node, ast.ClassDef) and node.name == "Trainer"]
    [init] = [node for node in trainer.body if isinstance(node, ast.FunctionDef) and node.name == "__init__"]
    arguments = {argument.arg for argument in (*init.args.args, *init.args.kwonlyargs)} - {"self"}
    assert len(arguments) > 30
    assert arguments - set(fields(TrainerConfig)) == set()


# ---- the cases ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
@EACH
def test_a_legal_value_is_taken(case: Case) -> None:
    before, after = load_text(case.text("before")), load_text(case.text("legal"))
    assert after.errors == ()
    assert after.config is not None
    assert is_in(case.typed, get(after.resolved, case.lands))
    changes = not case.more.get("only")
    assert is_in(case.typed, get(before.resolved, case.lands)) != changes, "the value must not be there before"


@pytest.mark.slow
@EACH
def test_an_illegal_value_is_told_with_key_line_code_and_words(case: Case) -> None:
    text = case.text("illegal")
    told = [finding for finding in load_text(text).findings if (finding.key, finding.code) == (case.at, case.code)]
    assert len(told) == 1, [str(finding) for finding in load_text(text).findings]
    assert case.words in str(told[0])
    assert told[0].line == line_of(text, case.at)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("async_exec_max_inflight_requests", "many"),
        ("exp_manager.exp_log_dir", ["a"]),
        ("exp_manager.max_time_per_run", ["tomorrow"]),
        ("fusions.softmax", "maybe"),
        ("fusions.do_layer_norm_weight_decay", "maybe"),
    ],
)
def test_a_wrong_value_under_another_spelling_is_told_once_with_the_key_and_line_of_the_file(
    key: str, value: object
) -> None:
    lands = {"model.fusions": None, "model.do_layer_norm_weight_decay": None, "aync_exec_max_inflight_requests": None}
    text = text_with("hf_llama3_8B_config", {**lands, key: value})
    assert [(one.key, one.line) for one in load_text(text).errors] == [(key, line_of(text, key))]


def is_in(value: Any, found: Any) -> bool:
    """Whether a value is what was found; of a mapping, whether its items are."""
    if isinstance(value, dict):
        return isinstance(found, dict) and all(is_in(item, found.get(key)) for key, item in value.items())
    return bool(found == value)


# ---- the codes ---------------------------------------------------------------------------------------------------


def test_every_code_has_a_case() -> None:
    assert {case.code for case in CASES} | {cause.code for cause in CAUSES} == set(ENTRIES)


@pytest.mark.slow
@pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: cause.code)
def test_a_code_is_told_for_its_cause(cause: Cause, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (cause.code, cause.row["at"]) in cause.told(tmp_path, capsys)
    if "set" in cause.row:
        assert cause.code not in [code for code, _ in cause.told(tmp_path, capsys, before=True)]
