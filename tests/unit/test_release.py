"""What a release says of itself: one version, notes, checksums that others verify, krew's manifest, workflows.

`make test-release` builds one, pushes it to a registry and installs it from there.
"""

import base64
import json
import re
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from controlplane.errors import ClusterError
from releasebuild import chart, checksums, materials, notes, plugin, project
from releasebuild.command import main

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
CHANGELOG = """\
# Changelog

## [Unreleased]

### Added
- A page ([here](docs/a.md), [there](https://kubernetes.io)).

## [0.2.0] - 2026-11-30

### Fixed
- Everything.
"""


# ---- one version -------------------------------------------------------------------------------------------------


def test_the_chart_has_the_version_of_the_package() -> None:
    definition = yaml.safe_load((project.CHART / "Chart.yaml").read_text())
    assert (definition["version"], definition["appVersion"]) == (project.version(), project.version())


def test_pages_name_the_images_of_this_version() -> None:
    """And no other; a tag may have a suffix."""
    tag = re.compile(r"neuron-(?:operator|trainer):(\d+\.\d+\.\d+)")
    named = {
        (page.relative_to(ROOT).as_posix(), version)
        for page in [*ROOT.glob("docs/**/*.md"), *ROOT.glob("helm/**/*.md"), ROOT / "README.md"]
        for version in tag.findall(page.read_text())
    }
    assert named
    assert {entry for entry in named if entry[1] != project.version()} == set()


def test_a_tag_of_another_version_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version", "--tag", f"v{project.version()}"]) == 0
    assert capsys.readouterr().out == f"{project.version()}\n"
    assert main(["version", "--tag", "v9.9.9"]) == 1
    assert "The tag is v9.9.9 and pyproject.toml has version" in capsys.readouterr().err


@pytest.mark.parametrize("registry", ["https://registry.example", "registry.example/", "Registry/x", "a/b:1"])
def test_a_registry_that_is_none_is_named(registry: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["push", "--registry", registry])
    assert "is no registry: give HOST[:PORT][/PATH]" in capsys.readouterr().err


def test_a_push_needs_a_registry_and_a_release(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["push", "--output", str(tmp_path), "--registry", ""]) == 1
    assert "Give the registry: --registry HOST/PATH or $REGISTRY." in capsys.readouterr().err
    assert main(["push", "--output", str(tmp_path), "--registry", "127.0.0.1:5000/team"]) == 1
    assert "does not exist: build the release first (make release)" in capsys.readouterr().err


def test_files_of_an_earlier_build_do_not_stay(tmp_path: Path) -> None:
    parts = (
        "a.whl",
        "b.tgz",
        "neuron.yaml",
        "SHA256SUMS.sig",
        "release.pub",
        "kubectl-neuron_1.2.3_linux-amd64.tar.gz",
        "c.oci.tar",
    )
    for name in (*parts, "notes of mine"):
        (tmp_path / name).touch()
    project.clear(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes of mine"]


# ---- notes -------------------------------------------------------------------------------------------------------


def test_notes_are_the_section_of_the_version_or_what_is_unreleased() -> None:
    assert notes.section(CHANGELOG, "0.2.0") == "### Fixed\n- Everything."
    assert notes.section(CHANGELOG, "0.3.0").startswith("### Added\n- A page")
    assert (notes.is_dated(CHANGELOG, "0.2.0"), notes.is_dated(CHANGELOG, "0.3.0")) == (True, False)
    with pytest.raises(ClusterError, match=r"no section \[1\.0\.0\]"):
        notes.section("# Changelog\n\n## [Unreleased]\n", "1.0.0")


def test_notes_of_this_release_have_no_link_into_the_repository(tmp_path: Path) -> None:
    text = notes.write(tmp_path, project.version(), ["b.tgz", "a.whl"]).read_text()
    assert re.findall(r"\]\((?!https?://|#)", text) == []
    assert text.endswith("## Files\n\n- `a.whl`\n- `b.tgz`\n")


# ---- checksums ---------------------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "a.tgz").write_bytes(b"a")
    (folder / "b.whl").write_bytes(b"b")
    checksums.write(folder)
    return folder


def shell(folder: Path, *command: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, **options)


def test_sums_are_checked_by_sha256sum(files: Path) -> None:
    assert shell(files, "sha256sum", "--check", "--strict", "SHA256SUMS").stdout == "a.tgz: OK\nb.whl: OK\n"
    (files / "a.tgz").write_bytes(b"c")
    assert shell(files, "sha256sum", "--check", "SHA256SUMS").returncode == 1


@pytest.mark.parametrize("kind", [["ecparam", "-name", "prime256v1", "-noout"], ["genrsa"]])
def test_a_signature_is_verified_by_openssl_and_fails_for_other_sums(
    files: Path, tmp_path: Path, kind: list[str]
) -> None:
    key = tmp_path / "key.pem"
    command = ["openssl", kind[0], *(["-genkey"] if kind[0] == "ecparam" else []), *kind[1:], "-out", str(key)]
    assert shell(tmp_path, *command).returncode == 0
    path = checksums.sign(files, key)
    (tmp_path / "raw").write_bytes(base64.b64decode(path.read_text().strip(), validate=True))
    verify = ["openssl", "dgst", "-sha256", "-verify", "release.pub", "-signature", str(tmp_path / "raw"), "SHA256SUMS"]
    assert shell(files, *verify).stdout == "Verified OK\n"
    assert key.read_text() not in (files / "release.pub").read_text()
    (files / "SHA256SUMS").write_text("0  a.tgz\n")
    assert shell(files, *verify).returncode == 1
    checksums.write(files)
    assert not path.exists(), "a signature of other sums does not stay"


@pytest.mark.parametrize("command", ["build", "finish"])
def test_a_key_that_cannot_sign_is_refused_before_anything_is_built_or_deleted(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = tmp_path / checksums.SIGNATURE
    old.write_text("of the release before")
    assert main([command, "--output", str(tmp_path), "--key", str(tmp_path / "none.pem")]) == 1
    assert "The key must be an EC (P-256) or RSA key" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == [old.name]


def test_a_key_that_is_none_is_a_sentence(files: Path, tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text("no key")
    with pytest.raises(ClusterError, match=r"openssl pkey failed: .* in PEM form without a passphrase"):
        checksums.sign(files, tmp_path / "key.pem")


# ---- krew --------------------------------------------------------------------------------------------------------


def test_the_manifest_names_every_archive_of_this_version(tmp_path: Path) -> None:
    names = ["kubectl-neuron_1.2.3_linux-amd64.tar.gz", "kubectl-neuron_1.2.3_darwin-arm64.tar.gz"]
    for name in (*names, "kubectl-neuron_1.2.2_linux-amd64.tar.gz"):
        (tmp_path / name).write_bytes(name.encode())
    body = yaml.safe_load(plugin.manifest(tmp_path, "1.2.3", "https://example.com/v1.2.3/").read_text())
    assert body["spec"]["version"] == "v1.2.3"
    assert len(body["spec"]["shortDescription"]) <= 80, "krew's list has one line for it"
    platforms = {entry["selector"]["matchLabels"]["os"]: entry for entry in body["spec"]["platforms"]}
    assert {entry["uri"] for entry in platforms.values()} == {f"https://example.com/v1.2.3/{name}" for name in names}
    assert platforms["linux"]["bin"] == "kubectl-neuron/kubectl-neuron"
    assert re.fullmatch("[0-9a-f]{64}", platforms["linux"]["sha256"])
    with pytest.raises(ClusterError, match="build the plugin first"):
        plugin.manifest(tmp_path, "2.0.0", "https://example.com")


def test_archives_of_the_same_files_are_the_same_and_have_no_links(tmp_path: Path) -> None:
    sums = set()
    for name in ("first", "second"):
        folder = tmp_path / name / "kubectl-neuron"
        folder.mkdir(parents=True)
        (folder / "b").write_text("b")
        (folder / "a").write_text("a")
        (folder / "c").symlink_to("a")
        path = tmp_path / f"{name}.tar.gz"
        plugin._pack(folder, path)
        sums.add(path.read_bytes())
        with tarfile.open(path) as archive:
            assert archive.getnames() == ["kubectl-neuron", *(f"kubectl-neuron/{name}" for name in "abc")]
            assert all(member.isreg() or member.isdir() for member in archive), "krew unpacks nothing else"
    assert len(sums) == 1


# ---- chart and bills ---------------------------------------------------------------------------------------------


def test_the_charts_defaults_are_the_images_of_the_release() -> None:
    text = (project.CHART / "values.yaml").read_text()
    changed = chart.with_defaults(text, chart.defaults("1.2.3", "registry.example/team"))
    before, after = yaml.safe_load(text), yaml.safe_load(changed)
    assert (after["image"]["registry"], after["image"]["repository"]) == ("registry.example", "team/neuron-operator")
    assert chart.defaults("1.2.3", "registry.example:5000")["image.repository"] == "neuron-operator"
    assert after["trainerImages"]["cpu"]["tag"] == "1.2.3-cpu"
    for values in (before, after):
        del values["image"], values["trainerImages"]["cpu"]
    assert before == after
    assert len(text.splitlines()) == len(changed.splitlines()), "comments stay"
    with pytest.raises(ClusterError, match=r"values\.yaml has no image\.nothing"):
        chart.with_defaults(text, {"image.nothing": "x"})


def test_annotations_name_the_images() -> None:
    written = yaml.safe_load(
        (project.CHART / "Chart.yaml").read_text() + chart.annotations("0.2.0", "registry.example")
    )
    images = yaml.safe_load(written["annotations"]["artifacthub.io/images"])
    assert [entry["image"] for entry in images] == [
        "registry.example/neuron-operator:0.2.0",
        "registry.example/neuron-trainer:0.2.0-cpu",
    ]
    assert written["annotations"]["artifacthub.io/prerelease"] == "true"
    assert "prerelease" not in chart.annotations("1.0.0", "")


def test_the_pages_packages_are_in_the_bill_and_tools_of_its_tests_are_not() -> None:
    names = {component["name"] for component in materials.page_components()}
    package = json.loads((ROOT / "dashboard" / "package.json").read_text())
    assert names == set(package["dependencies"])


# ---- workflows and forms -----------------------------------------------------------------------------------------


def targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def steps(workflow: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for job in workflow["jobs"].values():
        yield from job["steps"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_calls_targets_that_there_are(path: Path) -> None:
    """Syntax and expressions are actionlint's business: `make check`."""
    text = path.read_text()
    workflow = yaml.safe_load(text)
    called = set(re.findall(r"^[^#\n]*\bmake (?:--silent )?([a-z][a-z-]+)", text, re.MULTILINE))
    for job in workflow["jobs"].values():
        matrix = job.get("strategy", {}).get("matrix", {})
        called |= {*matrix.get("target", ()), *(entry["target"] for entry in matrix.get("include", ()))}
    assert called
    assert called - targets() == set()
    assert workflow["permissions"] == {"contents": "read"}, "jobs that need more ask for it"
    assert all("@" in step["uses"] for step in steps(workflow) if "uses" in step)


def test_forms_ask_for_what_is_needed_to_answer() -> None:
    bug = next(path for path in FORMS if path.name == "bug.yml").read_text()
    for command in ("kubectl neuron why JOB -o json", "kubectl neuron plan -f FILE", "kubectl neuron version"):
        assert command in bug
    for path in FORMS:
        form = yaml.safe_load(path.read_text())
        if path.name != "config.yml":
            ids = [part["id"] for part in form["body"] if "id" in part]
            assert ids
            assert len(ids) == len(set(ids))
            assert all(part["attributes"].get("label") for part in form["body"] if "id" in part)
