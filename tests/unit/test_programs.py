"""The first test does not wait for a build: tests that need built programs come last, and say what they wait for."""

import fcntl
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml

import programs
from bounds import BOUND
from controlplane import toolchain
from controlplane.toolcommand import main
from offline import cluster


def _item(name: str, *markers: str) -> Any:
    return SimpleNamespace(name=name, get_closest_marker=lambda marker: marker if marker in markers else None)


def test_tests_that_need_programs_come_last_and_the_rest_stays_in_order() -> None:
    items = [_item("b", "integration"), _item("z"), _item("a", "distributed"), _item("c", "integration")]
    programs.pytest_collection_modifyitems(cast("list[pytest.Item]", items))
    assert [item.name for item in items] == ["z", "a", "b", "c"]


def test_the_local_cluster_has_the_objects_that_it_applies() -> None:
    """They stayed behind when the package moved: `hack/cluster up` ended with a path that did not exist."""
    kinds = {
        entry["kind"] for path in cluster.MANIFESTS.glob("*.yaml") for entry in yaml.safe_load_all(path.read_text())
    }
    assert {"Deployment", "Service"} <= kinds


def test_a_machine_that_cannot_build_says_so_before_the_first_test(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    monkeypatch.setattr(toolchain, "go_program", lambda: None)
    monkeypatch.setattr(toolchain, "find", lambda name: None)
    assert main(["--for", "tests", "--check"]) == 1
    assert "Go is not installed, and etcd, kube-apiserver" in capsys.readouterr().err


def test_who_waits_for_another_build_says_for_what(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    target, looks = tmp_path / "bin", threading.Event()
    target.mkdir()
    monkeypatch.setattr(toolchain, "_require_go", lambda names: "go")
    monkeypatch.setattr(toolchain, "binaries", lambda: target)
    monkeypatch.setattr(toolchain, "_POLL_SECONDS", 0.01)
    monkeypatch.setattr(toolchain.time, "sleep", lambda seconds: looks.set())
    with (tmp_path / "lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        waiting = threading.Thread(target=toolchain.build, args=(["etcd", "helm"],))
        waiting.start()
        assert looks.wait(BOUND)
        for name in ("etcd", "helm"):
            (target / name).touch()
    waiting.join(BOUND)
    assert not waiting.is_alive()
    assert capsys.readouterr().out.startswith("Waiting for another process to build etcd, helm …\n")
