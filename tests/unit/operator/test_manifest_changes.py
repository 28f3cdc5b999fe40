"""`submit` of a manifest with flags: each flag is what the job has, and nothing of the server's stays.

The kind: what `submit` and the Python client change about a NeuronTrainingJob. Looked at: every flag of the platform
alone and over every platform that a manifest may have, the number of nodes beside an override, claims, image and name,
and jobs as `kubectl get -o yaml` exports them.
"""

from pathlib import Path
from typing import Any

import pytest
import yaml

from neuron_api.loading import yaml_text
from neuron_api.resource.accelerator import Accelerator
from neuron_operator.cli.__main__ import main
from neuron_operator.cli.files import convert
from neuron_operator.cli.files.manifest_changes import ManifestChanges, without_server_fields
from neuron_operator.cli.files.platform_flags import PlatformFlags

ROOT = Path(__file__).parents[3]
QUICKSTART = ROOT / "examples" / "quickstart.yaml"
TRN2, DEVICES = {"instanceType": "trn2.48xlarge"}, {"neuronDevices": 16, "efaInterfaces": 16}


def submitted(capsys: pytest.CaptureFixture[str], file: Path, *flags: str) -> dict[str, Any]:
    assert main(["submit", str(file), "--dry-run", *flags]) == 0
    documents = yaml.safe_load_all(capsys.readouterr().out)
    return next(dict(document) for document in documents if document["kind"] == "NeuronTrainingJob")


@pytest.mark.parametrize(
    ("flags", "platform"),
    [
        (["--accelerator", "cpu"], {"accelerator": "CPU"}),
        (["--accelerator", "CUDA"], {"accelerator": "CUDA"}),
        (["--instance-type", "trn2.48xlarge"], TRN2),
        (["--accelerator", "neuron", "--instance-type", "trn2.48xlarge"], {"accelerator": "Neuron", **TRN2}),
        ([], {"accelerator": "CPU"}),
    ],
)
def test_each_flag_of_the_platform_is_what_the_job_has(
    flags: list[str], platform: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert submitted(capsys, QUICKSTART, *flags)["spec"]["platform"] == platform


@pytest.mark.parametrize(
    ("before", "flags", "after"),
    [
        ({}, PlatformFlags(Accelerator.CPU), {"accelerator": "CPU"}),
        ({**TRN2, **DEVICES}, PlatformFlags("CPU"), {"accelerator": "CPU"}),
        ({**TRN2, **DEVICES}, PlatformFlags("Neuron"), {"accelerator": "Neuron", **TRN2, **DEVICES}),
        ({**TRN2, **DEVICES}, PlatformFlags(None, "trn2.48xlarge"), {**TRN2, **DEVICES}),
        ({**TRN2, **DEVICES}, PlatformFlags(None, "trn2.3xlarge"), {"instanceType": "trn2.3xlarge"}),
        (
            {"accelerator": "CUDA"},
            PlatformFlags(None, "p5.48xlarge"),
            {"accelerator": "CUDA", "instanceType": "p5.48xlarge"},
        ),
        ({"accelerator": "CUDA"}, PlatformFlags(None, "trn2.48xlarge"), TRN2),
        (TRN2, PlatformFlags(None, None, 16, 0), {**TRN2, "neuronDevices": 16, "efaInterfaces": 0}),
        (TRN2, PlatformFlags(), TRN2),
    ],
)
def test_a_flag_takes_away_what_it_contradicts(before: Any, flags: PlatformFlags, after: Any) -> None:
    manifest, findings = ManifestChanges(platform=flags).apply({"spec": {"platform": before}})
    assert (manifest["spec"]["platform"], findings) == (after, ())
    assert yaml.safe_load(yaml_text.dump(manifest))["spec"]["platform"] == after


def test_the_number_of_nodes_wins_over_an_override(capsys: pytest.CaptureFixture[str]) -> None:
    job = submitted(capsys, QUICKSTART, "--nodes", "4", "trainer.num_nodes=3", "trainer.max_steps=7")
    assert (job["spec"]["config"]["trainer"]["num_nodes"], job["spec"]["config"]["trainer"]["max_steps"]) == (4, 7)


def test_an_exported_job_is_submitted_as_a_new_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    documents = list(yaml.safe_load_all(QUICKSTART.read_text()))
    job = next(document for document in documents if document["kind"] == "NeuronTrainingJob")
    applied = {"kubectl.kubernetes.io/last-applied-configuration": "{}"}
    set_by_people = {"name": "quickstart", "labels": {"team": "a"}, "ownerReferences": [], "namespace": "team"}
    job["metadata"] = {
        **set_by_people, "annotations": {"note": "x", **applied}, "uid": "1", "resourceVersion": "2", "generation": 3,
        "creationTimestamp": "2026-11-30T12:00:00Z", "managedFields": [{"manager": "kubectl-neuron"}],
    }  # fmt: skip
    job["status"] = {"phase": "Failed"}
    file = tmp_path / "exported.yaml"
    file.write_text(yaml.safe_dump_all(documents))
    new = submitted(capsys, file)
    assert new.keys() == {"apiVersion", "kind", "metadata", "spec"}
    assert new["metadata"] == {**set_by_people, "annotations": {"note": "x"}}
    assert job == without_server_fields(job) | {"metadata": job["metadata"], "status": job["status"]}


def test_a_job_without_a_name_needs_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(QUICKSTART.read_text().replace("\n  name: quickstart\nspec", "\n  generateName: quick-\nspec"))
    assert main(["submit", str(file), "--dry-run"]) == 2
    assert "the job has no metadata.name: give --name" in capsys.readouterr().err
    assert submitted(capsys, file, "--name", "a")["metadata"]["name"] == "a"


def test_a_finding_of_an_unchanged_manifest_names_the_line_of_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "job.yaml"
    text = QUICKSTART.read_text().replace("max_steps: 180", "max_steps: many")
    file.write_text(text)
    assert main(["submit", str(file), "--dry-run"]) == 2
    line = next(number for number, words in enumerate(text.splitlines(), 1) if "max_steps: many" in words)
    assert f"trainer.max_steps (line {line})" in capsys.readouterr().err


def test_a_rewritten_path_may_have_any_characters() -> None:
    text = yaml.safe_dump(yaml.safe_load(QUICKSTART.read_text().split("---")[1])["spec"]["config"])
    assert "/training/data/kjv" in text
    wrapping = convert.Wrapping("a", PlatformFlags("CPU"), "c", "/new #1", None, [("/training", "/new #1/x: y")])
    result = convert.wrap("a.yaml", text, (), wrapping)
    assert not result.is_refused, result.remarks
    assert result.manifest["spec"]["config"]["data"]["train_dir"] == "/new #1/x: y/data/kjv"
