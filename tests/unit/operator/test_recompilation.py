"""`kubectl neuron plan --previous`: what a change of the file recompiles, and why."""

import json
from pathlib import Path

import pytest

from neuron_api.loading.loader import load_text
from neuron_api.schema import graphs
from neuron_operator.cli.__main__ import main

ROOT = Path(__file__).parents[3]
LAPTOP = ROOT / "examples" / "laptop.yaml"


def planned(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    main(["plan", "-f", str(LAPTOP), "--accelerator", "cpu", *words])
    return " ".join(capsys.readouterr().out.split())


def test_without_an_earlier_file_nothing_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert "recompiles" not in planned(capsys)


def test_keys_that_graphs_depend_on_are_named_and_others_are_not(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    before = tmp_path / "before.yaml"
    before.write_text(LAPTOP.read_text())
    said = planned(capsys, "--previous", str(before), "-o", "json", "data.micro_batch_size=4", "model.optim.lr=0.5")
    assert json.loads(said)["recompiles"] == ["data.micro_batch_size: 8 -> 4"]
    content = LAPTOP.read_text()
    before.write_text(content.replace("max_steps: 100", "max_steps: 7"))
    assert f"recompiles no: nothing that graphs depend on differs from {before}" in planned(
        capsys, "--previous", str(before)
    )


def test_the_record_of_a_cache_is_an_earlier_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    config = load_text(LAPTOP.read_text(), ()).config
    assert config is not None
    facts = {**graphs.inputs(config), "data.micro_batch_size": 77, "versions": {"torch": "1"}}
    record = tmp_path / "record.json"
    record.write_text(json.dumps({"facts": facts, "graphs": 3}))
    said = planned(capsys, "--previous", str(record))
    assert f"recompiles yes, against {record}: data.micro_batch_size: 77 -> {config.data.micro_batch_size}" in said


@pytest.mark.parametrize("content", ["", "kind: Pod\napiVersion: v1\n"])
def test_an_earlier_file_without_a_configuration_is_refused(
    content: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "before.yaml").write_text(content)
    status = main(["plan", "-f", str(LAPTOP), "--previous", str(tmp_path / "before.yaml")])
    assert status == 2
    assert "before.yaml" in capsys.readouterr().err
