"""From an empty folder to an operator that Helm has installed from a registry, as a user does it."""

import base64
import json
import os
import re
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from bounds import BOUND
from controlplane import optionalprograms, requirements, toolchain
from controlplane.controlplane import ControlPlane
from controlplane.shell import wait_until
from releasebuild import project

from .conftest import ROOT, Release


def run(*command: Path | str, folder: Path = ROOT, **variables: str) -> str:
    done = subprocess.run(
        [str(part) for part in command], cwd=folder, env=os.environ | variables, capture_output=True, text=True,
        check=False, timeout=10 * BOUND,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def names(release: Release) -> set[str]:
    return {path.name for path in release.folder.iterdir()}


def test_the_folder_has_what_a_release_is_made_of(release: Release) -> None:
    version = release.version
    system = "-".join(project.system())
    assert names(release) == {
        f"neuron_training_operator-{version}-py3-none-any.whl",
        f"neuron_training_operator-{version}.tar.gz",
        f"neuron-training-operator-{version}.tgz",
        f"neuron-operator_{version}_{system}.oci.tar",
        f"kubectl-neuron_{version}_{system}.tar.gz",
        *(f"{name}_{version}.cdx.json" for name in ("neuron-operator", "neuron-trainer", "kubectl-neuron")),
        "neurontrainingjobs.neurontraining.dev.yaml",
        "neuron.yaml",
        f"release-notes-{version}.md",
        "SHA256SUMS",
        "SHA256SUMS.sig",
        "release.pub",
    }


def test_sums_and_signature_are_verified_with_others_programs(release: Release, tmp_path: Path) -> None:
    assert "FAILED" not in run("sha256sum", "--check", "--strict", "SHA256SUMS", folder=release.folder)
    (tmp_path / "raw").write_bytes(base64.b64decode((release.folder / "SHA256SUMS.sig").read_text()))
    verify = ("openssl", "dgst", "-sha256", "-verify", "release.pub", "-signature", tmp_path / "raw", "SHA256SUMS")
    assert run(*verify, folder=release.folder) == "Verified OK\n"
    sums = (release.folder / "SHA256SUMS").read_text()
    assert {line.split("  ")[1] for line in sums.splitlines()} == names(release) - {
        "SHA256SUMS", "SHA256SUMS.sig", "release.pub",
    }  # fmt: skip


def test_the_plugin_runs_without_python(release: Release, tmp_path: Path) -> None:
    with tarfile.open(next(release.folder.glob("kubectl-neuron_*.tar.gz"))) as archive:
        archive.extractall(tmp_path, filter="data")
        assert {name.rpartition("/")[2] for name in archive.getnames()} >= {"job.js", "failure-table.yaml"}
    bare = {"HOME": str(tmp_path), "KUBECONFIG": str(tmp_path / "none")}

    def call(name: str, *arguments: str, path: str = "/nowhere") -> subprocess.CompletedProcess[str]:
        (tmp_path / "bin").mkdir(exist_ok=True)
        link = tmp_path / "bin" / name  # krew links programs into one folder
        if not link.is_symlink():
            link.symlink_to(tmp_path / "kubectl-neuron" / name)
        command = [str(link), *arguments]
        return subprocess.run(
            command, cwd=ROOT, env=bare | {"PATH": path}, capture_output=True, text=True, check=False, timeout=BOUND
        )

    assert release.version in call("kubectl-neuron", "version").stdout
    planned = call("kubectl-neuron", "plan", "-f", "examples/quickstart.yaml", "-o", "json")
    assert planned.returncode == 0, planned.stderr
    assert json.loads(planned.stdout)
    away = call("kubectl-neuron", "list")
    assert (away.returncode, away.stderr.count("\n")) == (1, 1), away.stderr
    assert away.stderr.startswith("kubectl neuron: no cluster: ")
    assert "--help" in call("kubectl-neuron", "dashboard", "--help").stdout
    assert "--nodes" in call("kubectl_complete-neuron", "submit", "--no", path="/usr/bin:/bin").stdout


def test_krew_installs_the_plugin_and_kubectl_calls_it(release: Release, tmp_path: Path) -> None:
    archive = next(release.folder.glob("kubectl-neuron_*.tar.gz"))
    flags = (f"--manifest={release.folder / 'neuron.yaml'}", f"--archive={archive}")
    run(optionalprograms.program("krew"), "install", *flags, KREW_ROOT=str(tmp_path))
    kubectl = toolchain.programs("kubectl")["kubectl"]
    assert release.version in run(kubectl, "neuron", "version", PATH=f"{tmp_path / 'bin'}:/usr/bin:/bin")


def test_krews_manifest_names_the_archive_with_its_sum(release: Release) -> None:
    body = yaml.safe_load((release.folder / "neuron.yaml").read_text())
    (platform,) = body["spec"]["platforms"]
    name = platform["uri"].rpartition("/")[2]
    assert f"{platform['sha256']}  {name}\n" in (release.folder / "SHA256SUMS").read_text()
    with tarfile.open(release.folder / name) as archive:
        assert archive.getmember(platform["bin"]).mode & 0o111


def test_the_wheel_and_the_source_distribution_are_the_same_package(release: Release, tmp_path: Path) -> None:
    """Built again from the source distribution, with nothing of the repository beside it."""
    with tarfile.open(next(release.folder.glob("neuron_training_operator-*.tar.gz"))) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    run(ROOT / "build" / "release-venv" / "bin" / "hatchling", "build", "-t", "wheel", "-d", tmp_path, folder=source)
    first = next(release.folder.glob("*.whl"))
    second = next(tmp_path.glob("*.whl"))
    assert contents(first) == contents(second)


def contents(wheel: Path) -> dict[str, int]:
    with zipfile.ZipFile(wheel) as archive:
        return {info.filename: info.CRC for info in archive.infolist() if not info.filename.endswith("RECORD")}


def test_a_bill_has_the_packages_of_its_lock(release: Release) -> None:
    bill = json.loads((release.folder / f"neuron-operator_{release.version}.cdx.json").read_text())
    assert bill["bomFormat"] == "CycloneDX"
    assert bill["metadata"]["component"]["name"] == "neuron-training-operator"
    listed = {(component["name"], component.get("version")) for component in bill["components"]}
    lock = (ROOT / "requirements" / "operator.lock").read_text()
    pinned = set(re.findall(r"^([A-Za-z0-9._-]+)==([^ ]+)", lock, re.MULTILINE))
    assert {(name, version) for name, version in listed if name not in ("htm", "preact", "uplot")} == pinned


def test_helm_installs_from_the_registry_without_a_flag_for_images(
    release: Release, pushed: list[str], plane: ControlPlane, tmp_path: Path
) -> None:
    chart = f"oci://{release.registry}/charts/neuron-training-operator"
    assert f"{chart}:{release.version}" in pushed
    helm = toolchain.programs("helm")["helm"]
    where = ("--namespace", "neuron-training-system")
    variables = {"KUBECONFIG": str(plane.kubeconfig), "HELM_CACHE_HOME": str(tmp_path)}
    definition = release.folder / "neurontrainingjobs.neurontraining.dev.yaml"
    plane.kubectl("apply", "--server-side", "--force-conflicts", "-f", definition)
    arguments = (
        "install",
        "neuron-training-operator",
        chart,
        "--version",
        release.version,
        "--skip-crds",
        "--plain-http",
    )
    run(helm, *arguments, "--create-namespace", *where, **variables)
    plane.kubectl("get", "neurontrainingjobs", "--all-namespaces")
    body = json.loads(plane.kubectl("get", "deployments", *where, "-o", "json"))["items"][0]
    container = body["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == f"{release.registry}/neuron-operator:{release.version}"
    assert container["image"] in pushed
    assert f"{release.registry}/neuron-trainer:{release.version}-cpu" in json.dumps(container)
    shown = yaml.safe_load(run(helm, "show", "chart", chart, "--version", release.version, "--plain-http", **variables))
    images = yaml.safe_load(shown["annotations"]["artifacthub.io/images"])
    assert container["image"] in {image["image"] for image in images}


def test_the_image_in_the_registry_is_whole_and_runs_the_operator(release: Release, pushed: list[str]) -> None:
    name = f"{release.registry}/neuron-operator:{release.version}"
    crane = optionalprograms.program("crane")
    assert "PASS" in run(crane, "validate", "--remote", name, "--insecure")
    index = json.loads(run(crane, "manifest", name, "--insecure"))
    assert [entry["platform"]["os"] for entry in index["manifests"]] == ["linux"]
    configuration: dict[str, Any] = json.loads(run(crane, "config", name, "--insecure"))
    assert configuration["config"]["Entrypoint"] == ["neuron-operator"]
    assert configuration["config"]["User"] == "65532:65532"


@pytest.fixture
def containerd(tmp_path: Path) -> Iterator[list[str]]:
    """`ctr` of a containerd of its own: the program that pulls images on nodes. Needs root."""
    requirements.install({"containerd": "containerd"})
    program, client = requirements.program("containerd"), requirements.program("ctr")
    assert program is not None
    assert client is not None
    socket = tmp_path / "containerd.sock"
    configuration = tmp_path / "config.toml"
    configuration.write_text(
        f'version = 2\nroot = "{tmp_path / "root"}"\nstate = "{tmp_path / "state"}"\n'
        f'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\naddress = "{socket}"\n'
    )
    ctr = [str(client), "--address", str(socket)]
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen([str(program), "--config", configuration], stdout=log, stderr=log)
        try:
            wait_until("containerd's start", lambda: answers(ctr), seconds=BOUND)
            yield ctr
        finally:
            server.terminate()
            server.wait(BOUND)


def answers(ctr: list[str]) -> bool:
    return subprocess.run([*ctr, "version"], capture_output=True, check=False, timeout=BOUND).returncode == 0


def test_containerd_pulls_the_image_from_the_registry(
    release: Release, pushed: list[str], containerd: list[str]
) -> None:
    name = f"{release.registry}/neuron-operator:{release.version}"
    assert name in pushed
    run(*containerd, "images", "pull", "--plain-http", "--snapshotter", "native", name)
    assert f"{name} " in run(*containerd, "images", "check", "--snapshotter", "native")
