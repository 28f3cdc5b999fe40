"""CLUSTER=kind against stand-ins of `kind`, `docker` and `kubectl` on the PATH: Docker cannot run where this is tested.

The stand-ins refuse what the real programs refuse: a cluster or a node that does not exist, an image that Docker has
not, a flag that they do not know. They do not prove that pods start, that a directory of the node can be written to, or
how long anything takes.
"""

import json
import sys
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from controlplane.errors import ClusterError, CommandFailed, MissingRequirement
from demonstration.command import main as demo
from imagebuild import command as images
from kindcluster.cluster import CLAIM, DIRECTORY, KindCluster

STAND_IN: Final = '''#!{python}
"""A stand-in: appends its command line to calls.jsonl, and answers for the clusters and images of state.json."""
import json, pathlib, sys
folder = pathlib.Path(__file__).parent
program, words = pathlib.Path(__file__).name, sys.argv[1:]
with (folder / "calls.jsonl").open("a") as calls:
    calls.write(json.dumps([program, *words]) + "\\n")
state = json.loads((folder / "state.json").read_text())
match [program, *words]:
    case ["kind", "get", "clusters"]:
        print("\\n".join(state["clusters"]))
    case ["kind", "get", "nodes" | "kubeconfig" as what, "--name", name] if name in state["clusters"]:
        print("\\n".join(state["clusters"][name]) if what == "nodes" else f"current-context: kind-{{name}}")
    case ["kind", "load", "docker-image", image, "--name", name] if name in state["clusters"]:
        if image not in state["images"]:
            sys.exit(f'ERROR: image: "{{image}}" not present locally')
    case ["docker", "exec", node, "install", "--directory", "--mode", "0777", path]:
        if not any(node in nodes for nodes in state["clusters"].values()):
            sys.exit(f"Error response from daemon: No such container: {{node}}")
    case ["kubectl", config, "apply", "--filename", path] if config.startswith("--kubeconfig="):
        assert pathlib.Path(config.partition("=")[2]).read_text().startswith("current-context: kind-")
    case _:
        sys.exit(f"{{program}}: unknown command or cluster: {{words}}")
'''


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with the stand-ins alone; one cluster of one node, one of two."""
    for name in ("kind", "docker", "kubectl", "helm"):
        program = tmp_path / name
        program.write_text(STAND_IN.format(python=sys.executable))
        program.chmod(0o755)
    state = {
        "clusters": {"kind": ["kind-control-plane"], "wide": ["wide-control-plane", "wide-worker"]},
        "images": ["a:1"],
    }
    (tmp_path / "state.json").write_text(json.dumps(state))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("KIND_CLUSTER", raising=False)
    return tmp_path


def calls(machine: Path) -> list[list[str]]:
    return [json.loads(line) for line in (machine / "calls.jsonl").read_text().splitlines()]


def test_an_image_is_loaded_and_the_claim_is_a_directory_of_the_node(machine: Path) -> None:
    cluster = KindCluster.find()
    cluster.load("a:1")
    cluster.create_claim()
    assert ["kind", "load", "docker-image", "a:1", "--name", "kind"] in calls(machine)
    assert calls(machine)[-1][2:] == ["apply", "--filename", str(CLAIM)]
    assert cluster.kubeconfig().stat().st_mode & 0o077 == 0


def test_an_image_that_docker_has_not_is_an_error_in_its_words(machine: Path) -> None:
    with pytest.raises(CommandFailed, match='"b:1" not present locally'):
        KindCluster.find().load("b:1")


def test_the_cluster_must_exist_and_have_one_node(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KIND_CLUSTER", "other")
    with pytest.raises(ClusterError, match=r"no kind cluster other.*kind create cluster --name other"):
        KindCluster.find()
    monkeypatch.setenv("KIND_CLUSTER", "wide")
    with pytest.raises(ClusterError, match="has 2 nodes"):
        KindCluster.find()


def test_missing_programs_are_named_with_the_other_ways(machine: Path) -> None:
    (machine / "kind").unlink()
    with pytest.raises(MissingRequirement, match=r"needs kind on the PATH.*CLUSTER=current.*CLUSTER=local"):
        KindCluster.find()


@pytest.mark.parametrize(("program", "arguments"), [(demo, ["--cluster", "kind"]), (images.main, ["build"])])
def test_both_commands_say_so_in_one_sentence(
    program: Any,
    arguments: list[str],
    machine: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("CLUSTER", "kind")
    monkeypatch.setenv("KIND_CLUSTER", "other")
    assert program(arguments) == 1
    said = capsys.readouterr()
    assert "There is no kind cluster other" in said.out + said.err


def test_images_for_kind_are_built_by_docker_alone(
    machine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`docker info` fails here, as it does without an engine; an image of buildah's is one that kind cannot see."""
    monkeypatch.setattr(images.Builder, "find", classmethod(lambda cls: cls("buildah", "buildah")))
    assert images.main(["build", "--cluster", "kind"]) == 1
    assert "needs Docker's engine" in capsys.readouterr().err


def test_the_claim_is_that_of_the_examples_on_the_prepared_directory() -> None:
    volume, claim = yaml.safe_load_all(CLAIM.read_text())
    example = yaml.safe_load((Path(__file__).parents[2] / "examples" / "claim.yaml").read_text())
    assert claim["metadata"]["name"] == example["metadata"]["name"] == claim["spec"]["volumeName"]
    assert claim["spec"]["accessModes"] == example["spec"]["accessModes"] == volume["spec"]["accessModes"]
    assert volume["spec"]["claimRef"] == {"namespace": "default", "name": "training"}
    assert volume["spec"]["hostPath"]["path"] == DIRECTORY
