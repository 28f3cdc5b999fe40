"""What is around a configuration is checked by `plan` as the API server would, with lines and suggestions.

The kind: a job that `plan` accepts must not be refused at `kubectl apply` for its fields, nor may a field be ignored.
Looked at: unknown fields at every level of the spec, wrong types, enumerations, bounds, patterns, missing fields, the
object's name, apiVersion, kind and its case, labels that are numbers, both and no source of the configuration, several
documents, several files, folders, and what the API server accepts: null, defaults, integral floats.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from neuron_api import contract
from neuron_api.manifest import envelope
from neuron_api.resource import job_name
from neuron_operator.cli.__main__ import main

ROOT = Path(__file__).parents[3]
QUICKSTART = (ROOT / "examples/quickstart.yaml").read_text()


def plan(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any, str]:
    code = main(["plan", "-o", "json", *arguments])
    said = capsys.readouterr()
    return code, json.loads(said.out) if said.out else None, said.err


def changed(tmp_path: Path, old: str, new: str) -> Path:
    assert old in QUICKSTART
    file = tmp_path / "job.yaml"
    file.write_text(QUICKSTART.replace(old, new, 1))
    return file


@pytest.mark.parametrize(
    ("old", "new", "key", "words"),
    [
        ("  storage:", "  restartPolcy: {}\n  storage:", "spec.restartPolcy", "Did you mean restartPolicy?"),
        ("  storage:", "  restartPolicy: {maxGangRestart: 1}\n  storage:", "spec.restartPolicy.maxGangRestart",
         "Did you mean maxGangRestarts?"),
        ("  platform:", "  plattform:", "spec.plattform", "Did you mean platform?"),
        ("accelerator: CPU", "accelerator: gpu", "spec.platform.accelerator", "Did you mean CUDA?"),
        ("accelerator: CPU", "accelerator: Trainium", "spec.platform.accelerator", "Did you mean Neuron?"),
        ("accelerator: CPU", "accelerator: cpu", "spec.platform.accelerator", "Did you mean CPU?"),
        ("mountPath: /training", "mountPath: training", "spec.storage.0.mountPath", "must be an absolute path"),
        ("mountPath: /training", "mountPath: 7", "spec.storage.0.mountPath", "must be a string, got 7"),
        ("claimName: training", "claimName: My_Claim", "spec.storage.0.claimName", "must be the name of an object"),
        ("claimName: training", "claim: training", "spec.storage.0.claim", "unknown field"),
        ("claimName: training", "subPath: x", "spec.storage.0.claimName", "is required and missing"),
        ("  storage:", "  suspend: 'yes'\n  storage:", "spec.suspend", "must be true or false"),
        ("  storage:", "  restartPolicy: {maxGangRestarts: -1}\n  storage:", "spec.restartPolicy.maxGangRestarts",
         "must be at least 0"),
        ("  storage:", "  restartPolicy: {maxGangRestarts: many}\n  storage:", "spec.restartPolicy.maxGangRestarts",
         "must be an integer"),
        ("  storage:", "  restartPolicy: []\n  storage:", "spec.restartPolicy", "must be a mapping, got a list"),
        ("  name: quickstart\nspec", "  name: My_Job\nspec", "metadata.name", "For example my-job."),
        ("  name: quickstart\nspec", "  name: 7b-llama\nspec", "metadata.name", "For example job-7b-llama."),
        ("  name: quickstart\nspec", "  nmae: quickstart\nspec", "metadata.nmae", "Did you mean name?"),
        ("  name: quickstart\nspec", "  name: quickstart\n  labels: {version: 2}\nspec", "metadata.labels.version",
         "Write it in quotes"),
        ("apiVersion: neurontraining.dev/v1alpha1", "apiVersion: neurontraining.dev/v1", "apiVersion",
         "must be neurontraining.dev/v1alpha1"),
        ("kind: NeuronTrainingJob", "kind: neuronTrainingJob", "kind", "must be NeuronTrainingJob"),
        ("spec:\n", "specs: {}\nspec:\n", "specs", "Did you mean spec?"),
        ("  config:\n", "  configFrom: {configMapKeyRef: {name: a, key: b}}\n  config:\n", "spec.config",
         "exactly one"),
    ],
)  # fmt: skip
def test_a_wrong_field_is_an_error_with_its_line(
    old: str, new: str, key: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = changed(tmp_path, old, new)
    code, found, _ = plan(capsys, "-f", str(file))
    assert code == 2
    [one] = [one for one in found["findings"] if one["key"] == key and one["severity"] == "error"]
    assert words in f"{one['message']} {one['remedy']}"
    last = key.rpartition(".")[2]
    line = file.read_text().splitlines()[one["line"] - 1]
    assert last in line or "missing" in words or last == "0" or key == "spec.config", line


def test_a_job_without_a_configuration_is_one_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "job.yaml"
    head = f"apiVersion: {contract.API_VERSION}\nkind: {contract.KIND}\nmetadata: {{name: a}}\n"
    file.write_text(f"{head}spec: {{platform: {{accelerator: CPU}}}}\n")
    code, found, _ = plan(capsys, "-f", str(file))
    assert (code, [one["key"] for one in found["findings"]]) == (2, ["spec.config"])


def test_the_examples_have_no_fault() -> None:
    for path in sorted((ROOT / "examples").glob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            if document and document.get("kind") == contract.KIND:
                assert envelope.check(document) == ()


def test_what_the_api_server_accepts_is_accepted() -> None:
    [job] = [one for one in yaml.safe_load_all(QUICKSTART) if one["kind"] == contract.KIND]
    job["spec"] |= {"image": None, "ttlSecondsAfterFinished": 60.0, "podTemplate": {"spec": {"anything": 1}}}
    job["metadata"] |= {"generateName": "a-", "annotations": {"a": "b"}, "namespace": "n"}
    job["status"] = {"phase": "Running"}
    assert envelope.check(job) == ()


def test_a_misspelled_kind_is_corrected(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = changed(tmp_path, "kind: NeuronTrainingJob", "kind: NeuronTrainJob")
    code, _, said = plan(capsys, "-f", str(file))
    line = file.read_text().splitlines().index("kind: NeuronTrainJob") + 1
    assert code == 2
    assert f"did you mean NeuronTrainingJob in place of NeuronTrainJob (line {line})?" in said


# ---- files --------------------------------------------------------------------------------------------------------


def test_several_files_and_folders_are_all_planned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "jobs"
    folder.mkdir()
    for name in ("b", "a"):
        (folder / f"{name}.yaml").write_text(QUICKSTART.replace("  name: quickstart\nspec", f"  name: {name}\nspec"))
    (folder / "README.md").write_text("no job")
    alone = changed(tmp_path, "  name: quickstart\nspec", "  name: alone\nspec")
    _, found, _ = plan(capsys, "-f", str(alone), "-f", str(folder))
    assert [one["config"] for one in found] == ["alone", "a", "b"]


def test_an_error_in_one_of_several_files_is_the_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = changed(tmp_path, "  storage:", "  restartPolcy: {}\n  storage:")
    good = str(ROOT / "examples/quickstart.yaml")
    assert plan(capsys, "-f", str(wrong), "-f", good)[0] == plan(capsys, "-f", good, "-f", str(wrong))[0] == 2


def test_a_folder_without_a_job_and_stdin_twice_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, said = plan(capsys, "-f", str(tmp_path))
    assert (code, "has no .yaml" in said) == (2, True)
    code, _, said = plan(capsys, "-f", "-", "-f", "-")
    assert (code, "read once" in said) == (2, True)


def test_a_file_without_the_flag_is_no_override(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["plan", "examples/quickstart.yaml"])
    assert "give a file with -f examples/quickstart.yaml" in capsys.readouterr().err


# ---- names --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("7B-llama", "job-7b-llama"),
        ("hf_llama", "hf-llama"),
        ("Abc", "abc"),
        ("a.b.c", "a-b-c"),
        ("", "training"),
        ("---", "training"),
        ("Ünï", "n"),
        ("a" * 60, "a" * 48),
        ("4" * 60, "job-" + "4" * 44),
        ("a" * 47 + "-b", "a" * 47),
        ("${oc.env:NAME}", "oc-env-name"),
        ("llama", "llama"),
    ],
)
def test_a_legal_name_is_made_of_any_text(text: str, name: str) -> None:
    assert job_name.nearest_legal(text) == name
    assert job_name.check(name) == ()
    assert (job_name.check(text) == ()) == (text == name)
