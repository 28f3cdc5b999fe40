"""A process keeps to the CPUs near its NeuronCore, among those that its container has."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from neuron_trainer.ipc import cpu_affinity

LISTING: list[dict[str, Any]] = [
    {"neuron_device": 0, "nc_count": 4, "neuroncore_ids": [0, 1, 2, 3], "cpu_affinity": "48-95,144-191"},
    {"neuron_device": 4, "nc_count": 4, "neuroncore_ids": [16, 17, 18, 19], "cpu_affinity": "0-47,96-143"},
]
"""As `neuron-ls --json-output` of a trn2.48xlarge has it (AWS Neuron documentation, neuron-ls)."""
OWN = sorted(os.sched_getaffinity(0))


@pytest.fixture
def bound(monkeypatch: pytest.MonkeyPatch) -> list[set[int]]:
    """What the process was bound to."""
    calls: list[set[int]] = []
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 50, 100})
    monkeypatch.setattr(os, "sched_setaffinity", lambda _, cpus: calls.append(cpus))
    return calls


def environment(near: dict[int, str] | None = None) -> dict[str, str]:
    return {cpu_affinity.VARIABLE: json.dumps(cpu_affinity.of_listing(LISTING) if near is None else near)}


@pytest.mark.parametrize(
    ("cores", "local_rank", "cpus"),
    [([17], 0, {0, 1, 100}), ([18, 3], 1, {50}), ([], 0, {50}), ([], 5, {0, 1, 100})],
)
def test_a_process_keeps_to_the_cpus_of_its_core(
    cores: list[int], local_rank: int, cpus: set[int], bound: list[set[int]]
) -> None:
    """Without a list of cores the container's first core is local rank 0's, whatever its number on the node."""
    cpu_affinity.bind(environment(), cores, local_rank)
    assert bound == [cpus]


@pytest.mark.parametrize(
    "environ", [{}, {cpu_affinity.VARIABLE: "{}"}, environment({17: "60-70"}), environment({5: "0-3"})]
)
def test_where_no_near_cpu_is_known_or_allowed_nothing_changes(environ: dict[str, str], bound: list[set[int]]) -> None:
    cpu_affinity.bind(environ, [17], 0)
    assert bound == []


@pytest.mark.parametrize(
    ("script", "near"),
    [
        (f"echo '{json.dumps(LISTING[1:])}'", dict.fromkeys((16, 17, 18, 19), "0-47,96-143")),
        ("""echo '[{"neuron_device": 1, "nc_count": 2, "cpu_affinity": "0-3"}]'""", {2: "0-3", 3: "0-3"}),
        ("""echo '[{"neuron_device": 1, "nc_count": 2}]'""", {}),
        ("echo no devices", {}),
        ("echo '{}'", {}),
        ("echo '[1]'", {}),
        ("echo broken >&2; exit 1", {}),
    ],
)
def test_what_neuron_ls_says(
    script: str, near: dict[int, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "neuron-ls").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "neuron-ls").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert cpu_affinity.near_cores() == near


def test_without_the_tool_nothing_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert cpu_affinity.near_cores() == {}


def test_a_process_is_bound_indeed() -> None:
    cpu_affinity.bind(environment({0: f"{OWN[0]}"}), [0], 0)
    try:
        assert os.sched_getaffinity(0) == {OWN[0]}
    finally:
        os.sched_setaffinity(0, OWN)


def test_a_process_is_not_crowded_onto_a_few_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container with 2 of the CPUs near its cores and 46 others would have bound all of its processes to those 2."""
    bound: list[set[int]] = []
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(48)))
    monkeypatch.setattr(os, "sched_setaffinity", lambda _, cpus: bound.append(cpus))
    cpu_affinity.bind(environment({0: "46-95"}), [0], 0)
    assert bound == []
    cpu_affinity.bind(environment({0: "24-95"}), [0], 0)
    assert bound == [set(range(24, 48))]
