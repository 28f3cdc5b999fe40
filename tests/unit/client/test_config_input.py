"""What `train` and `plan` take: paths and mappings, what is refused in one sentence, and overrides of every form."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from neuron_api.loading.overrides import apply
from neuron_client import FindingsError, NeuronTrainingClient, RequestError
from neuron_client.config_input import as_texts, read

ROOT = Path(__file__).parents[3]
LAPTOP = ROOT / "examples" / "laptop.yaml"
QUICKSTART = ROOT / "examples" / "quickstart.yaml"
CIRCLE: Final[dict[str, Any]] = {}
CIRCLE["self"] = CIRCLE


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[NeuronTrainingClient]:
    monkeypatch.chdir(ROOT)
    with NeuronTrainingClient(backend="local", folder=tmp_path / "jobs") as made:
        yield made


def laptop() -> dict[str, Any]:
    return dict(yaml.safe_load(LAPTOP.read_text()))


def test_a_file_and_its_content_are_planned_alike(client: NeuronTrainingClient) -> None:
    plans = [client.plan(config) for config in (LAPTOP, str(LAPTOP), laptop())]
    assert [plan.errors for plan in plans] == [()] * 3
    assert len({plan.planned.hash for plan in plans}) == 1
    assert (plans[0].nodes, plans[0].world_size) == (1, 1)


@pytest.mark.parametrize(
    ("overrides", "steps"),
    [
        ({"trainer.max_steps": 7}, 7),
        (["trainer.max_steps=7", "~seed", "+seed=3"], 7),
        ({"trainer.max_steps": 7, "data.train_dir": Path("laptop-data"), "exp_manager.resume_if_exists": False}, 7),
        ({}, 100),
    ],
)
def test_overrides_may_be_values_or_texts(client: NeuronTrainingClient, overrides: Any, steps: int) -> None:
    plan = client.plan(laptop(), overrides=overrides)
    assert plan.errors == ()
    assert plan.to_dict()["max_steps"] == steps


def test_a_text_stays_a_text_as_an_override() -> None:
    assert as_texts({"name": "true", "data.list": [1, "a"]}) == ('name="true"', 'data.list=[1, "a"]')


def test_a_mapping_may_hold_tuples_and_paths() -> None:
    config = laptop() | {"data": {**laptop()["data"], "train_dir": Path("laptop-data")}}
    config["model"]["optim"]["betas"] = (0.9, 0.95)
    values = yaml.safe_load(read(config).text)
    assert (values["data"]["train_dir"], values["model"]["optim"]["betas"]) == ("laptop-data", [0.9, 0.95])


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("no-such-file.yaml", "no-such-file.yaml: No such file"),
        ("examples", "examples is a folder"),
        (7, "config must be a path or a mapping, got int"),
        ({"name": object()}, "a value that YAML cannot hold"),
        (CIRCLE, "a value that YAML cannot hold"),
        ("examples/quickstart.yaml", "also has ConfigMap, which train does not create: use kubectl apply -f"),
    ],
)
def test_what_is_no_configuration_is_refused_in_a_sentence(
    client: NeuronTrainingClient, config: Any, message: str
) -> None:
    with pytest.raises(RequestError, match=message):
        read(config).manifest()


@pytest.mark.parametrize(
    "text",
    [
        "😀",
        "a: b",
        "x #1",
        "${name}",
        "a\x85b",
        "\u2028",
        "\ufeff",
        "\x7f",
        "\\ud83d\\ude00",
        'a"\n\t',
        "\xa0ü",
        "{",
        "~",
    ],
)
def test_any_text_is_the_value_of_an_override(text: str) -> None:
    values, findings = apply({"name": "a"}, as_texts({"name": text, "data": {"k": [text, 1e-5, None, True]}}))
    assert findings == ()
    assert values == {"name": text, "data": {"k": [text, 1e-5, None, True]}}


@pytest.mark.parametrize(
    "overrides",
    [
        "trainer.max_steps=7",
        {"seed": object()},
        {"trainer.gradient_clip_val": float("nan")},
        {"trainer.gradient_clip_val": [-math.inf]},
        {"data": CIRCLE},
        ["seed=1", 7],
        7,
    ],
)
def test_overrides_that_cannot_be_are_refused(client: NeuronTrainingClient, overrides: Any) -> None:
    with pytest.raises(RequestError, match="override"):
        client.plan(laptop(), overrides=overrides)


def test_every_finding_of_a_file_is_in_one_exception(client: NeuronTrainingClient, tmp_path: Path) -> None:
    file = tmp_path / "wrong.yaml"
    text = LAPTOP.read_text()
    assert text.count("max_steps: 100") == text.count("micro_batch_size: 8\n") == 1
    file.write_text(
        text.replace("max_steps: 100", "max_step: 100").replace("micro_batch_size: 8\n", "micro_batch_size: x\n")
    )
    with pytest.raises(FindingsError) as caught:
        client.train(file)
    by_key = {finding.key: finding for finding in caught.value.findings}
    assert by_key["data.micro_batch_size"].line == lines(file)["micro_batch_size"]
    unknown = by_key["trainer.max_step"]
    assert (unknown.line, unknown.remedy) == (lines(file)["max_step"], "Did you mean max_steps?")
    assert str(caught.value).startswith(f"{file} has {len(caught.value.findings)} errors:")
    assert all(str(finding) in str(caught.value) for finding in caught.value.findings)
    assert all(finding.remedy or finding.message for finding in by_key.values())
    assert not (tmp_path / "jobs").exists(), "nothing was started"


def test_findings_about_a_mapping_name_no_line(client: NeuronTrainingClient) -> None:
    with pytest.raises(FindingsError) as caught:
        client.train({**laptop(), "seed": "many"})
    assert [(finding.key, finding.line) for finding in caught.value.findings] == [("seed", None)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"nodes": 2}, "nodes must be 1 for a local run, got 2"),
        ({"instance_type": "trn2.48xlarge"}, "instance_type is for backend='kubernetes'"),
        ({"storage": "training"}, "storage is for backend='kubernetes'"),
        ({"accelerator": "TPU"}, "there is no accelerator 'TPU': "),
        ({"name": "../elsewhere"}, "cannot be the name of a folder"),
    ],
)
def test_arguments_without_meaning_here_are_refused(
    client: NeuronTrainingClient, arguments: Mapping[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(RequestError, match=message):
        client.train(LAPTOP, **arguments)
    assert not (tmp_path / "jobs").exists()


def lines(file: Path) -> dict[str, int]:
    return {line.strip().partition(":")[0]: number for number, line in enumerate(file.read_text().splitlines(), 1)}
