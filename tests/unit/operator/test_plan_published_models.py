"""`kubectl neuron plan` with the name of a published model in place of its config.json."""

from pathlib import Path

import pytest
import yaml

from neuron_operator.cli.__main__ import main

from .test_plan import CONFIGS, ROOT, arguments_of, plan


def test_a_published_name_stands_for_its_config_json(capsys: pytest.CaptureFixture[str]) -> None:
    """The same numbers as with the file, from the key, and from the flag."""
    name = "hf_llama3_70B_trn2_config"
    file = ("-f", str(CONFIGS / f"{name}.yaml"))
    _, with_file = plan(capsys, *arguments_of(name))
    _, with_flag = plan(capsys, *file, "--model-config", "meta-llama/Meta-Llama-3-70B")
    _, with_key = plan(capsys, *file, "model.model_config=meta-llama/Meta-Llama-3-70B")
    assert with_flag["parameters"] == with_key["parameters"] == 70_553_706_496
    assert with_flag["memory"] == with_key["memory"] == with_file["memory"]
    assert "NTJ-3009" not in [finding["code"] for finding in with_key["findings"]]


def test_a_published_name_is_no_path_that_a_volume_must_hold(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    text = (ROOT / "examples/quickstart.yaml").read_text()
    job = next(document for document in yaml.safe_load_all(text) if document["kind"] == "NeuronTrainingJob")
    job["spec"]["config"]["model"]["model_config"] = "meta-llama/Llama-3.2-1B"
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(job))
    _, planned = plan(capsys, "-f", str(tmp_path / "job.yaml"))
    assert planned["parameters"]
    assert not [finding for finding in planned["findings"] if finding["key"] == "model.model_config"]


def test_a_name_that_no_published_model_has_is_answered_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    file = ("-f", str(CONFIGS / "hf_llama3_8B_config.yaml"))
    _, planned = plan(capsys, *file, "model.model_config=meta-lama/Llama-3.1-8B")
    (message,) = [finding["message"] for finding in planned["findings"] if finding["code"] == "NTJ-3009"]
    assert message.endswith("Did you mean meta-llama/Llama-3.1-8B?")
    assert main(["plan", *file, "--model-config", "meta-lama/Llama-3.1-8B"]) == 2
    assert "did you mean meta-llama/Llama-3.1-8B?" in capsys.readouterr().err
