"""The pages that say how to install: their commands parse, their values are the chart's, their manifests fit together.

Kind: a page that cannot be followed: a value that no chart has, a file that is missing, a definition that is installed
two ways. Looked at: pages on Helm and EKS, the chart's, examples/eks. eksctl, Karpenter, AWS were not run.
"""

import re
import shlex
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from neuron_api.platform.instances import INSTANCE_TYPES

from .test_chart import CHART, JOB_RIGHTS, KUBERNETES, helm, needs_helm

Json = dict[str, Any]

ROOT = Path(__file__).parents[3]
EKS = ROOT / "docs" / "install-eks.md"
HELM = ROOT / "docs" / "tasks" / "install-with-helm.md"
PAGES = [HELM, CHART / "README.md", EKS]
MANIFESTS = sorted((ROOT / "examples" / "eks").glob("*.yaml"))


def blocks(page: Path) -> list[str]:
    """Commands, continued lines joined."""
    found = re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    return [block.replace("\\\n", " ") for language, block in found if language in ("", "sh", "bash")]


def commands(page: Path, start: str) -> list[str]:
    return [line.strip() for block in blocks(page) for line in block.splitlines() if line.strip().startswith(start)]


def documents(path: Path) -> list[Json]:
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


@pytest.mark.parametrize("block", blocks(EKS), ids=lambda block: block.splitlines()[0][:60])
def test_a_block_of_commands_is_shell(block: str) -> None:
    done = subprocess.run(["bash", "-n"], input=block, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_files_that_commands_name_are_there() -> None:
    for name in re.findall(r"(?:examples|helm)/[\w./-]+", "\n".join(blocks(EKS))):
        assert (ROOT / name).exists(), name


def test_every_variable_of_the_page_is_set_on_the_page_or_explained() -> None:
    text = "\n".join(blocks(EKS))
    used = set(re.findall(r"\$\{?([A-Z][A-Z_]+)", text)) - {"HOME", "PATH"}
    set_here = set(re.findall(r"^\s*(?:export )?([A-Z][A-Z_]+)=", text, re.MULTILINE))
    explained = {name for name in used - set_here if f"`{name}` is" in EKS.read_text()}
    assert used - set_here - explained == set()
    assert "<" not in re.sub(r"<<|&lt;", "", text), "a placeholder in angle brackets"


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_the_page_replaces_every_placeholder_of_a_manifest_and_nothing_is_fixed_beside_a_variable(path: Path) -> None:
    """Kind: a region, zone or cluster written out in a manifest while the page sets a variable for it."""
    content = re.sub(r"^\s*#.*$", "", path.read_text(), flags=re.MULTILINE)
    assert re.search(r"\b[a-z]{2}-[a-z]+-\d", content) is None, "a region or zone"
    line = next((one for one in "\n".join(blocks(EKS)).splitlines() if one.startswith("sed") and path.name in one), "")
    for name, value in re.findall(r"\"s[/#](\w+)[/#]([^\"/#]*)", line):
        assert value.startswith("$")
        content = re.sub(rf"\b{name}\b", "set", content)
    placeholders = {"CLUSTER", "AWS_REGION", "ZONE", "SUBNET", "SECURITY_GROUP", "TRAINER_IMAGE"}
    assert set(re.findall(r"[A-Z][A-Z_]{3,}", content)) & placeholders == set()


@needs_helm
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
def test_the_chart_takes_the_values_that_a_page_gives_it(page: Path) -> None:
    found = commands(page, "helm install neuron-training-operator")
    assert len(found) == 1
    words = shlex.split(re.sub(r"\$\{?[A-Z_]+\}?", "registry.example", found[0]))
    values = [part for flag, value in pairwise(words) if flag == "--set" for part in (flag, value)]
    assert "image.repository" in found[0]
    done = helm("template", "neuron-training-operator", str(CHART), *KUBERNETES, *values)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
def test_the_definition_is_installed_one_way_on_every_page(page: Path) -> None:
    applied = commands(page, "kubectl apply --server-side")
    assert {re.sub(r"\S*crds/$", "crds/", line) for line in applied} == {
        "kubectl apply --server-side --force-conflicts -f crds/"
    }
    (installed,) = commands(page, "helm install neuron-training-operator")
    assert "--skip-crds" in installed
    text = page.read_text()
    assert text.index("kubectl apply --server-side") < text.index("helm install neuron-training-operator")


def test_the_charts_page_names_the_rights_that_its_roles_have() -> None:
    """Kind: a security review reads the page, and the role grants more (`delete` of jobs, Services, ConfigMaps)."""
    rows = re.findall(r"^\| (`[^|]+`) \| ([a-z, ]+) \|", (CHART / "README.md").read_text(), re.MULTILINE)
    page = {
        name.split(".")[0]: set(verbs.split(", ")) for cell, verbs in rows for name in re.findall(r"`([^`]+)`", cell)
    }
    assert {resource: page[resource] for _, resource in JOB_RIGHTS} == {
        resource: verbs for (_, resource), verbs in JOB_RIGHTS.items()
    }


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_a_manifest_says_what_it_is_and_where_it_is_used(path: Path) -> None:
    assert path.read_text().startswith("# ")
    assert f"examples/eks/{path.name}" in EKS.read_text()
    assert all({"apiVersion", "kind", "metadata"} <= set(one) for one in documents(path))


def test_nodes_of_the_manifests_are_of_a_type_that_jobs_know_in_one_zone_with_the_taint_that_pods_tolerate() -> None:
    (cluster,) = documents(ROOT / "examples" / "eks" / "cluster.yaml")
    (group,) = [one for one in cluster["managedNodeGroups"] if "taints" in one]
    (pool,) = [one for one in documents(ROOT / "examples" / "eks" / "karpenter.yaml") if one["kind"] == "NodePool"]
    spec = pool["spec"]["template"]["spec"]
    wanted = {one["key"]: one["values"] for one in spec["requirements"]}
    (job,) = documents(ROOT / "examples" / "eks" / "job.yaml")
    kind = job["spec"]["platform"]["instanceType"]
    assert kind in INSTANCE_TYPES
    assert group["instanceType"] == kind
    assert wanted["node.kubernetes.io/instance-type"] == [kind]
    assert len(group["availabilityZones"]) == len(wanted["topology.kubernetes.io/zone"]) == 1
    assert group["efaEnabled"] is True
    for taints in (group["taints"], spec["taints"]):
        assert [(one["key"], one["effect"]) for one in taints] == [("aws.amazon.com/neuron", "NoSchedule")]
    assert group["desiredCapacity"] >= job["spec"]["config"]["trainer"]["num_nodes"]


def test_the_claim_and_the_paths_of_files_and_job_are_the_same() -> None:
    (claim,) = [one for one in documents(ROOT / "examples" / "eks" / "storage.yaml") if "Claim" in one["kind"]]
    (pod,) = documents(ROOT / "examples" / "eks" / "files.yaml")
    (job,) = documents(ROOT / "examples" / "eks" / "job.yaml")
    name = claim["metadata"]["name"]
    assert pod["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"] == name
    assert [one["claimName"] for one in job["spec"]["storage"]] == [name]
    page = EKS.read_text()
    config = job["spec"]["config"]
    assert f"files:{config['model']['model_config']}" in page
    assert f"--output {config['data']['train_dir'].removeprefix('/training/')} " in page
    assert f"--seq-length {config['model']['encoder_seq_length']} " in page
