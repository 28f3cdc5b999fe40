"""`kubectl neuron convert`: what the API server stores of the manifest loads to the same configuration."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from neuron_api.loading.loader import load_object, load_text
from neuron_operator.cli.__main__ import main

CONFIGS = Path(__file__).parents[3] / "tests/data/configs"
FILES = [*sorted(CONFIGS.glob("*.yaml")), *sorted((CONFIGS.parent / "shapes").glob("*.yaml"))]


def convert(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any, str]:
    """Exit code, the parsed manifest, what was said on stderr."""
    code = main(["convert", *arguments])
    said = capsys.readouterr()
    return code, yaml.safe_load(said.out), said.err


def stored(value: Any) -> Any:
    """As the API server gives it back: an integral float has become an integer."""
    if isinstance(value, dict):
        return {key: stored(item) for key, item in value.items()}
    if isinstance(value, list):
        return [stored(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_the_job_has_the_resolved_configuration_of_the_file(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, manifest, _ = convert(capsys, "-f", str(file), "--force")
    assert code == 0
    assert (manifest["apiVersion"], manifest["kind"]) == ("neurontraining.dev/v1alpha1", "NeuronTrainingJob")
    wanted = load_text(file.read_text())
    found = load_object(stored(json.loads(json.dumps(manifest["spec"]["config"]))))
    assert found.resolved == wanted.resolved
    assert found.hash == wanted.hash != ""


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_plan_of_the_job_is_plan_of_the_file(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["convert", "-f", str(file), "--force"])
    job = tmp_path / "job.yaml"
    job.write_text(capsys.readouterr().out)
    plans = []
    for one in (file, job):
        main(["plan", "-o", "json", "-f", str(one)])
        plans.append({k: v for k, v in json.loads(capsys.readouterr().out).items() if k not in ("config", "findings")})
    assert plans[0] == plans[1]


def test_interpolations_stay_and_fractions_become_strings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "c.yaml"
    text = (CONFIGS / "hf_llama3_8B_config.yaml").read_text()
    file.write_text(text.replace("limit_val_batches: 0.0", "limit_val_batches: 1.0"))
    _, manifest, _ = convert(capsys, "-f", str(file), "+trainer.limit_train_batches=0.5", "--force")
    trainer, model = manifest["spec"]["config"]["trainer"], manifest["spec"]["config"]["model"]
    assert model["optim"]["sched"]["max_steps"] == "${trainer.max_steps}"
    assert (trainer["limit_val_batches"], trainer["limit_train_batches"]) == ("1.0", "0.5")
    assert trainer["gradient_clip_val"] == 1.0


def test_name_platform_storage_and_image_are_what_was_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--name", "mine", "--instance-type", "trn1n.32xlarge", "--claim", "fsx", "--mount-path", "/fsx"]
    file = str(CONFIGS / "hf_llama3_8B_config.yaml")
    code, manifest, said = convert(capsys, "-f", file, *arguments, "--image", "trainer:1")
    assert code == 0
    assert manifest["metadata"] == {"name": "mine"}
    spec = manifest["spec"]
    assert spec["platform"] == {"instanceType": "trn1n.32xlarge"}
    assert spec["storage"] == [{"claimName": "fsx", "mountPath": "/fsx"}]
    assert spec["image"] == "trainer:1"
    assert "assumed" not in said


def test_what_is_not_given_is_assumed_and_said(capsys: pytest.CaptureFixture[str]) -> None:
    _, manifest, said = convert(capsys, "-f", str(CONFIGS / "hf_llama3_8B_trn2_config.yaml"))
    assert manifest["metadata"]["name"] == "hf-llama"
    assert manifest["spec"]["platform"] == {"instanceType": "trn2.48xlarge"}
    assert "trn2.48xlarge is assumed" in said
    assert convert(capsys, "-f", str(FILES[0]), "--accelerator", "cpu")[1]["spec"]["platform"] == {"accelerator": "CPU"}


def test_a_key_given_twice_is_refused_with_both_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "c.yaml"
    file.write_text((CONFIGS / "hf_llama3_8B_config.yaml").read_text() + "\nname: again\n")
    code, manifest, said = convert(capsys, "-f", str(file))
    assert (code, manifest) == (2, None)
    assert "twice" in said


def test_a_job_is_not_wrapped_again(capsys: pytest.CaptureFixture[str]) -> None:
    code, manifest, said = convert(capsys, "-f", str(CONFIGS.parents[2] / "examples/quickstart.yaml"))
    assert (code, manifest) == (2, None)
    assert "already" in said


def test_values_are_of_the_types_that_the_crd_has(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "c.yaml"
    file.write_text((CONFIGS / "hf_llama3_8B_config.yaml").read_text())
    changes = [
        "name=7",
        "trainer.devices='32'",
        "trainer.max_steps=1e4",
        "trainer.gradient_clip_val=1",
        "exp_manager.save_xser='1'",
        "model.qkv_linear=0",
        "distributed_strategy.zero1=${exp_manager.save_xser}",
        "compiler_flags=null",
    ]
    _, manifest, _ = convert(capsys, "-f", str(file), *changes)
    config = manifest["spec"]["config"]
    trainer = [config["trainer"][key] for key in ("devices", "max_steps", "gradient_clip_val")]
    flags = [config["exp_manager"]["save_xser"], config["model"]["qkv_linear"], config["name"]]
    assert repr((trainer, flags)) == repr(([32, 10000, 1], [True, False, "7"]))
    assert config["distributed_strategy"]["zero1"] is True
    assert config["model"]["optim"]["sched"]["max_steps"] == "${trainer.max_steps}"
    assert "compiler_flags" not in config
