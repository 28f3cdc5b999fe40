"""A hostile document is refused with a sentence in about a second and 100 MB (measured in processes of their own)."""

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import hostile
from bounds import BOUND

MAX_SECONDS = 3.0
"""Of processor time. On an idle core the worst takes 0.4 s and the bar is 1 s; on one that is shared with others
processor time itself counts up to three times (0.38 s became 1.36 s at a load of 12 on 2 cores)."""
MOST_KILOBYTES = 100_000
MOST_FINDINGS = 200
LONGEST = 1_500
"""Characters of one sentence, with key and remedy."""

HARMLESS = {"benign", "a float of many digits"}
CASES = [(form, name) for form, (documents, _) in hostile.FORMS.items() for name in documents]

REFUSED = {
    "alias bomb": "NTJ-1002",
    "aliases of a mapping": "NTJ-1002",
    "aliases of a big text": "NTJ-1002",
    "alias cycle": "NTJ-1001",
    "merge bomb": "NTJ-1002",
    "10 MB of one value": "NTJ-1002",
    "flow lists, 10,000 deep": "NTJ-1002",
    "flow maps, closed": "NTJ-1002",
    "block maps, 10,000 deep": "NTJ-1002",
    "block lists, 10,000 deep": "NTJ-1002",
    "100,000 keys": "NTJ-1002",
    "one key of 1 MB": "NTJ-1002",
    "long paths": "NTJ-1002",
    "a tag": "NTJ-1003",
    "a tag on a key": "NTJ-1003",
    "a binary tag": "NTJ-1003",
    "an int of 60,000 digits": "NTJ-1005",
    "NUL": "NTJ-1001",
    "half of a pair": "NTJ-1001",
    "a loop of one": "NTJ-1102",
    "a loop of two": "NTJ-1102",
    "a loop through a mapping": "NTJ-1102",
    "doubling text": "NTJ-1107",
    "doubling select": "NTJ-1107",
    "doubling decode": "NTJ-1107",
    "decoded bombs": "NTJ-1107",
    "squares": "NTJ-1107",
    "names in names": "NTJ-1107",
    "a product": "NTJ-1104",
    "decoded lists": "NTJ-1107",
    "many that differ": "NTJ-1107",
}
"""The code of each form of attack."""

EXIT_CODES = {
    "benign": 0, "invalid UTF-8": 2, "UTF-16": 0, "binary": 2, "zeros": 2, "NUL": 2, "empty": 2, "10 MB": 2,
    "10 MB of lines": 2, "10 MB of documents": 2, "10 MB of jobs": 2, "100 MB": 2, "a job with an alias bomb": 2,
    "a job with 4,900 unknown keys": 2, "a job with growing interpolations": 2, "letters of a terminal": 2,
}  # fmt: skip


@cache
def measured(form: str) -> dict[str, dict[str, Any]]:
    """What each document of a form took; the least of three tries where it was too long."""
    least: dict[str, dict[str, Any]] = {}
    for _ in range(3):
        for name, line in _measured_once(form).items():
            least[name] = min(least.get(name, line), line, key=lambda one: float(one["seconds"]))
        if all(line["seconds"] < MAX_SECONDS for line in least.values()):
            break
    return least


def _measured_once(form: str) -> dict[str, dict[str, Any]]:
    command = [sys.executable, str(Path(hostile.__file__)), form]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=BOUND)
    assert (done.returncode, done.stderr) == (0, "")
    return {line["name"]: line for line in map(json.loads, done.stdout.splitlines())}


@pytest.mark.slow
@pytest.mark.parametrize(("form", "name"), CASES, ids=[f"{form}: {name}" for form, name in CASES])
def test_a_document_costs_little_and_little_is_said(form: str, name: str) -> None:
    took = measured(form)[name]
    assert took["seconds"] < MAX_SECONDS
    assert took["kilobytes"] < MOST_KILOBYTES
    assert len(took["told"]) <= MOST_FINDINGS
    assert "Traceback" not in "".join(took["told"])
    if form == "file":
        return
    assert all(len(sentence) <= LONGEST and sentence.isprintable() for sentence in took["told"])
    assert bool(took["errors"]) is (name not in HARMLESS)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "code"), REFUSED.items(), ids=list(REFUSED))
def test_the_reason_is_the_right_one(name: str, code: str) -> None:
    assert code in measured("text")[name]["codes"]


def test_the_object_form_has_the_bounds_of_the_text() -> None:
    found = {name: took["codes"] for name, took in measured("object").items()}
    for name in ("lists, 10,000 deep", "maps, 10,000 deep", "a list many times", "endless", "one key of 10 MB"):
        assert found[name] == ["NTJ-1002"], name


@pytest.mark.parametrize("name", EXIT_CODES)
def test_the_command_line_ends_with_a_sentence(name: str) -> None:
    code, printed = measured("file")[name]["told"]
    assert code == f"exit code {EXIT_CODES[name]}"
    assert printed
    assert all(line.isprintable() for line in printed.splitlines())
    assert len(printed) < 20_000
