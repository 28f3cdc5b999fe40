"""`neuron-train run` takes the configuration of a NeuronTrainingJob, or says what the file is.

The kind: a file of Kubernetes where an NxDT file is expected ("another document (line 29)"). Looked at: one job beside
other objects, several jobs, a ConfigMap in and outside the file, other objects alone, overrides, lines, volumes.
"""

from pathlib import Path
from typing import Any

import pytest
import yaml

from neuron_api.loading.loader import Loaded
from neuron_trainer.__main__ import parser
from neuron_trainer.errors import InputError
from neuron_trainer.launcher import job_file

from .conftest import alone

QUICKSTART = Path(__file__).parents[3] / "examples" / "quickstart.yaml"


def job(name: str, **spec: Any) -> dict[str, Any]:
    kind = {"apiVersion": "neurontraining.dev/v1alpha1", "kind": "NeuronTrainingJob"}
    return {**kind, "metadata": {"name": name}, "spec": spec}


def load(*documents: dict[str, Any], overrides: tuple[str, ...] = (), name: str | None = None) -> Loaded:
    text = yaml.safe_dump_all(documents, sort_keys=False)
    return job_file.load(text.encode(), "file.yaml", overrides, name)


def refusal(*documents: dict[str, Any], name: str | None = None) -> str:
    with pytest.raises(InputError) as problem:
        load(*documents, name=name)
    return str(problem.value)


@pytest.fixture
def values() -> dict[str, Any]:
    return alone(Path("/tiny"), Path("/log"))


def test_an_nxdt_file_is_read_as_it_is(values: dict[str, Any]) -> None:
    loaded = load(values, overrides=("trainer.max_steps=5",))
    assert loaded.config is not None
    assert loaded.config.trainer.max_steps == 5


def test_the_configuration_of_a_job_is_that_of_the_file(values: dict[str, Any]) -> None:
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {}}
    alone_, beside = load(values), load(config_map, job("a", config=values), overrides=("+seed=7",))
    assert beside.hash == alone_.hash
    assert beside.config == alone_.config


def test_overrides_change_the_configuration_of_a_job(values: dict[str, Any]) -> None:
    loaded = load(job("a", config=values), overrides=("trainer.max_steps=5",))
    assert loaded.config is not None
    assert loaded.config.trainer.max_steps == 5


def test_findings_have_lines_of_the_file(values: dict[str, Any]) -> None:
    loaded = load(job("a", config={**values, "sead": 1}))
    (finding,) = [one for one in loaded.findings if one.key == "sead"]
    text = yaml.safe_dump(job("a", config={**values, "sead": 1}), sort_keys=False)
    assert finding.line == text.splitlines().index("    sead: 1") + 1


def test_of_several_jobs_one_is_named(values: dict[str, Any]) -> None:
    jobs = job("a", config=values), job("b", config={**values, "seed": 8})
    assert "file.yaml has 2 jobs: a, b. Choose one with --job NAME." in refusal(*jobs)
    assert "file.yaml has no job 'c'. It has a, b." in refusal(*jobs, name="c")
    loaded = load(*jobs, name="b")
    assert loaded.config is not None
    assert loaded.config.seed == 8


def test_a_config_map_of_the_file_is_read(values: dict[str, Any]) -> None:
    reference = {"configMapKeyRef": {"name": "m", "key": "config.yaml"}}
    text = {"config.yaml": yaml.safe_dump(values, sort_keys=False)}
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": text}
    assert load(job("a", configFrom=reference), config_map).config == load(values).config
    told = refusal(job("a", configFrom=reference))
    assert "takes its configuration from ConfigMap m, key config.yaml, which is not in the file" in told
    assert r"kubectl get configmap m -o jsonpath='{.data.config\.yaml}' > config.yaml" in told


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({"apiVersion": "v1", "kind": "ConfigMap"}, "file.yaml has no NeuronTrainingJob (it has ConfigMap)."),
        (job("a"), "job a has neither spec.config nor spec.configFrom"),
        ({"apiVersion": "neurontraining.dev/v1alpha1", "kind": "NeuronTrainingJob", "spec": [1]}, "has neither"),
    ],
)
def test_other_objects_are_named(document: dict[str, Any], says: str) -> None:
    assert says in refusal(document)


def test_a_job_that_is_asked_for_by_name_must_be_there(values: dict[str, Any]) -> None:
    assert "has no NeuronTrainingJob (it has no Kubernetes object)" in refusal(values, name="a")


def test_a_volume_that_this_machine_has_not_is_named_with_each_key(values: dict[str, Any]) -> None:
    values["data"]["train_dir"] = "/volume-of-a-pod/data"
    claims = [{"claimName": "training", "mountPath": "/volume-of-a-pod"}]
    told = refusal(job("a", config=values, storage=claims))
    assert told.startswith("data.train_dir (line ")
    assert "is on a volume that the job mounts at /volume-of-a-pod; this machine has no such directory" in told
    assert "Add a path of this machine: data.train_dir=PATH." in told


def test_a_volume_that_this_machine_has_is_used(values: dict[str, Any], tmp_path: Path) -> None:
    values["data"]["train_dir"] = str(tmp_path / "data")
    claims = [{"claimName": "training", "mountPath": str(tmp_path)}]
    assert load(job("a", config=values, storage=claims)).config is not None


def test_a_volume_whose_name_the_file_system_refuses_is_not_on_this_machine(values: dict[str, Any]) -> None:
    mount = f"/{'x' * 300}"
    values["data"]["train_dir"] = f"{mount}/data"
    told = refusal(job("a", config=values, storage=[{"claimName": "training", "mountPath": mount}]))
    assert "this machine has no such directory" in told


def test_the_quickstart_names_what_a_laptop_must_give() -> None:
    with pytest.raises(InputError) as problem:
        job_file.load(QUICKSTART.read_bytes(), str(QUICKSTART), (), None)
    keys = [finding.key for finding in problem.value.findings]
    assert keys == ["exp_manager.exp_dir", "data.train_dir", "model.model_config"]
    paths = ("exp_manager.exp_dir=runs", "data.train_dir=data", "model.model_config=config.json")
    assert job_file.load(QUICKSTART.read_bytes(), str(QUICKSTART), paths, None).config is not None


def test_a_command_without_arguments_asks_for_the_file_alone(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(["run"])
    assert "the following arguments are required: config\n" in capsys.readouterr().err
