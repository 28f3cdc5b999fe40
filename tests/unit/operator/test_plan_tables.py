"""The golden tables of `kubectl neuron plan`, which `make golden` writes anew."""

from pathlib import Path

import pytest

from neuron_operator.cli.__main__ import main

ROOT = Path(__file__).parents[3]
GOLDEN = ROOT / "tests/data/golden"


@pytest.mark.parametrize("golden", sorted(GOLDEN.glob("plan-*.txt")), ids=lambda path: path.stem)
def test_the_table_is_the_golden_text(golden: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """First line the arguments, then what is printed; hashes are not compared."""
    first, _, wanted = golden.read_text().partition("\n")
    main(["plan", *(argument.replace("tests/", f"{ROOT}/tests/").replace("examples/", f"{ROOT}/examples/")
                    for argument in first.removeprefix("$ kubectl neuron plan ").split())])  # fmt: skip
    assert without_hash(capsys.readouterr().out) == without_hash(wanted)


def without_hash(text: str) -> list[str]:
    return [line for line in text.splitlines() if not line.startswith("  config hash")]


def test_there_are_two_golden_tables() -> None:
    assert len(list(GOLDEN.glob("plan-*.txt"))) == 2
