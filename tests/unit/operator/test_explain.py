"""`kubectl neuron plan --explain`: what a key or a code means, and where else to ask."""

from typing import Any

import pytest

from neuron_operator.cli.__main__ import main


@pytest.mark.parametrize("key", ["trainer.lnc", "spec.config.trainer.lnc"])
def test_a_key_is_explained_with_type_default_and_meaning(key: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--explain", key]) == 0
    said = capsys.readouterr().out
    assert "type     whole number or null" in said
    assert "default  null" in said
    assert "Physical NeuronCores per logical core" in said


def test_every_key_can_be_explained(capsys: pytest.CaptureFixture[str]) -> None:
    from neuron_api.schema.key_path import all_paths

    for path, _ in all_paths():
        assert main(["plan", "--explain", path]) == 0
        said = capsys.readouterr().out
        assert "object at 0x" not in said
        assert len(said.splitlines()) >= 5, path


def test_a_misspelled_key_is_not_explained_but_corrected(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--explain", "trainer.devizes"]) == 2
    assert "did you mean trainer.devices?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        ("spec.storage", "spec.storage is no key of the configuration: kubectl explain ntj.spec.storage"),
        ("podTemplate", "kubectl explain ntj.spec.podTemplate"),
        ("spec.restartPolicy.windowSeconds", "kubectl explain ntj.spec.restartPolicy.windowSeconds"),
        ("status.progress", "kubectl explain ntj.status.progress"),
        ("devicesMeaning", "devicesMeaning is called spec.deviceCountScope now"),
        ("spec.ttlDeletes", "spec.ttlDeletes is called spec.ttlDeletionPolicy now"),
        ("rung", "rung is called status.restarts.restartScope now"),
        ("status.restarts[0].passedOver", "is called status.restarts.skippedCheckpoints now"),
    ],
)
def test_a_field_beside_the_configuration_is_explained_by_kubectl(
    asked: str, answer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", "--explain", asked]) == 2
    assert answer in capsys.readouterr().err


@pytest.mark.slow
def test_a_new_name_is_a_field_and_an_old_one_is_not() -> None:
    from neuron_api.manifest import crd, envelope
    from neuron_api.manifest.documents import RENAMED

    def field(path: str) -> Any:
        node = crd.definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        for part in path.split("."):
            node = node.get("items", node).get("properties", {}).get(part, {})
        return node

    assert all(field(new) and not field(old) for old, new in RENAMED.items())
    (fault,) = envelope.check_spec({"config": {}, "devicesMeaning": "total"})
    assert fault.remedy == "Did you mean spec.deviceCountScope?"


def test_every_code_can_be_explained(capsys: pytest.CaptureFixture[str]) -> None:
    from neuron_api.findings.registry import ENTRIES

    for code, entry in ENTRIES.items():
        assert main(["plan", "--explain", code.lower()]) == 0
        said = capsys.readouterr().out
        assert [part for part in (code, entry.title, *entry.keys, entry.cause, entry.remedy) if part not in said] == []


def test_a_code_that_there_is_not_is_said_to_be_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--explain", "NTJ-9999"]) == 2
    assert "there is no code NTJ-9999" in capsys.readouterr().err
