"""What the doctor says of a machine: every line well and unwell, and how it runs here.

The kind: a training that fails, hangs or is slow on a node, and nothing said so before. Looked at: each check with
facts that are given to it, answers of programs that are late, missing or not what they say, and real child processes.
"""

import json
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from neuron_api import contract
from neuron_trainer.__main__ import main
from neuron_trainer.doctor import checkup, machine, report, trials
from neuron_trainer.doctor.checks import versions
from neuron_trainer.doctor.machine import Answer, Machine, Place
from neuron_trainer.doctor.result import Outcome, Result
from neuron_trainer.doctor.trials import Trial
from processes import has_ended

GIB = 2**30
OK, UNKNOWN, FAILED = Outcome.OK, Outcome.UNKNOWN, Outcome.FAILED


def place(path: str, **changes: Any) -> Place:
    values = {"is_writable": True, "free": 100 * GIB, "total": 200 * GIB, "kind": "lustre", "is_root": False}
    return Place(path=path, **{**values, **changes})


def listing(count: int = 16, **changes: Any) -> Answer:
    """As `neuron-ls --json-output` of a trn2.48xlarge has it."""
    device = {
        "instance_type": "trn2.48xlarge", "instance_id": "i-0abc", "nc_count": 4, "logical_neuroncore_config": 2,
        "memory_size": 96 * GIB, "neuron_processes": [], **changes,
    }  # fmt: skip
    return Answer(0, json.dumps([{**device, "neuron_device": number} for number in range(count)]))


FILES = {f"/dev/neuron{number}": True for number in range(16)}
WELL = Machine(
    accelerator="neuron",
    python=(3, 14),
    packages={
        "torch": "2.14.0", "torch-neuronx": "2.14.3+abc", "neuronx-cc": "2.28.1", "nki": "0.7.0",
        "neuron-training-operator": "0.1.0",
    },
    variables={contract.ENV_NUM_NODES: "2", contract.ENV_PROCESSES_PER_NODE: "64", "NEURON_LOGICAL_NC_CONFIG": "2"},
    device_files=FILES,
    driver="2.31.4",
    runtime="2.35.10",
    neuron_ls=listing(),
    efa_files={"/dev/infiniband/uverbs0": True},
    fi_info=Answer(0, "provider: efa\n    fabric: efa"),
    places={
        "cache": place("/training/cache"), "temporary": place("/tmp", kind="overlay", is_root=True),
        "memory": place("/dev/shm", kind="tmpfs"),
    },
    open_files=1_048_576,
    locked_memory=None,
)  # fmt: skip
"""A pod of two on whole trn2.48xlarge nodes, with SDK 2.33."""


def packages(**changes: str | None) -> dict[str, str | None]:
    return {**WELL.packages, **{name.replace("_", "-"): version for name, version in changes.items()}}


def places(name: str, **changes: Any) -> dict[str, Place]:
    return {**WELL.places, name: replace(WELL.places[name], **changes)}


def variables(**changes: str) -> dict[str, str]:
    return {**WELL.variables, **changes}


def lines(found: Machine, check: str) -> list[Result]:
    return [result for result in checkup.examine(found) if result.check == check]


def test_a_node_on_which_all_is_well_has_a_line_for_each_check_and_none_with_a_remedy() -> None:
    results = [*checkup.examine(WELL)]
    assert {result.outcome for result in results} == {OK}
    assert not any(result.remedy for result in results)
    assert len({result.check for result in results}) == len(results) == 15


UNWELL: list[tuple[str, dict[str, Any], Outcome, str]] = [
    ("pytorch", {"packages": packages(torch=None)}, FAILED, "not installed"),
    ("torchneuron", {"packages": packages(torch_neuronx=None)}, FAILED, "torch-neuronx is not installed"),
    ("torchneuron", {"packages": packages(torch_neuronx="2.13.3")}, FAILED, "two families"),
    ("torchneuron", {"packages": packages(torch="2.9.1", torch_neuronx="2.9.0")}, FAILED, "PyTorch/XLA"),
    ("torchneuron", {"packages": packages(torch="2.15.0", torch_neuronx="2.15.0")}, FAILED, "2.13.* or 2.14.*"),
    ("python", {"python": (3, 11)}, FAILED, "3.12 to 3.14"),
    ("python", {"python": (3, 15)}, FAILED, "3.12 to 3.14"),
    ("compiler", {"packages": packages(neuronx_cc=None)}, FAILED, "neuronx-cc not installed"),
    ("compiler", {"packages": packages(nki=None)}, FAILED, "nki not installed"),
    ("driver", {"driver": None}, FAILED, "no Neuron driver"),
    ("driver", {"runtime": None}, UNKNOWN, "libnrt was not found"),
    ("driver", {"driver": "2.26.10"}, FAILED, "Update aws-neuronx-dkms on the node to 2.27"),
    ("driver", {"driver": "2.29.0", "runtime": "2.32.31"}, FAILED, "aws-neuronx-runtime-lib 2.33"),
    ("driver", {"driver": "2.30.2"}, UNKNOWN, "released with driver 2.31"),
    ("driver", {"runtime": "2.99.1"}, UNKNOWN, "a driver that this release does not know"),
    ("devices", {"device_files": {}}, FAILED, "request aws.amazon.com/neuron"),
    ("devices", {"device_files": FILES | {"/dev/neuron3": False}}, FAILED, "/dev/neuron3 cannot be opened"),
    ("neuron-ls", {"neuron_ls": Answer(is_late=True)}, FAILED, "did not answer in time"),
    ("neuron-ls", {"neuron_ls": Answer()}, UNKNOWN, "not installed"),
    ("neuron-ls", {"neuron_ls": Answer(1, "no device found")}, FAILED, "no device found"),
    ("neuron-ls", {"neuron_ls": Answer(0, "<html>")}, FAILED, "<html>"),
    ("neuron-ls", {"neuron_ls": Answer(0, '{"a": 1}')}, FAILED, "it failed"),
    ("neuron-ls", {"neuron_ls": Answer(0, "[1]")}, FAILED, "it failed"),
    ("neuron-ls", {"neuron_ls": Answer(0, "[]")}, FAILED, "no device"),
    ("neuron-ls", {"neuron_ls": listing(8)}, FAILED, "32 logical cores for 64 processes"),
    ("neuron-ls", {"device_files": {"/dev/neuron0": True}}, UNKNOWN, "16 devices of trn2.48xlarge, 1 device files"),
    ("neuron-ls", {"neuron_ls": listing(nc_count=None)}, FAILED, "0 logical cores"),
    ("cores", {"neuron_ls": listing(neuron_processes=[{"pid": 7, "command": "x"}])}, FAILED, "processes 7 use them"),
    ("lnc", {"variables": variables(NEURON_RT_VIRTUAL_CORE_SIZE="1")}, FAILED, "differ"),
    ("lnc", {"variables": variables(NEURON_LOGICAL_NC_CONFIG="1")}, UNKNOWN, "the job has 1, the node 2"),
    ("efa", {"efa_files": {}}, FAILED, "the job has 2 nodes"),
    ("efa", {"efa_files": {"/dev/infiniband/uverbs0": False}}, FAILED, "cannot be opened"),
    ("efa", {"fi_info": Answer()}, UNKNOWN, "fi_info is not installed"),
    ("efa", {"fi_info": Answer(is_late=True)}, FAILED, "did not answer in time"),
    ("efa", {"fi_info": Answer(61, "fi_getinfo: No data available")}, FAILED, "no provider efa"),
    ("cache", {"places": places("cache", is_writable=False)}, FAILED, "cannot be written"),
    ("cache", {"places": places("cache", is_root=True, kind="overlay")}, UNKNOWN, "compiles again"),
    ("cache", {"places": places("cache", kind="tmpfs")}, UNKNOWN, "on tmpfs"),
    ("cache", {"places": places("cache", free=GIB)}, FAILED, "1.0 GiB free"),
    ("temporary", {"places": places("temporary", free=8 * GIB)}, FAILED, "8.0 GiB free of the 20"),
    ("memory", {"places": places("memory", free=2**26)}, FAILED, "--shm-size"),
    ("memory", {"places": places("memory", is_writable=False)}, FAILED, "cannot be written"),
    ("nofile", {"open_files": 1024}, FAILED, "Raise it to 65536"),
    ("memlock", {"locked_memory": 2**16}, FAILED, "LimitMEMLOCK=infinity"),
    ("variables", {"variables": variables(TORCH_NEURONX_ENABLE_HOST_CC="0")}, FAILED, "a run needs '1'"),
    ("variables", {"variables": variables(NEURON_RT_VISIBLE_CORES="0", NEURON_RT_NUM_CORES="1")}, FAILED, "contradict"),
]


@pytest.mark.parametrize(("check", "change", "outcome", "words"), UNWELL)
def test_what_is_not_well_is_said_with_its_remedy(
    check: str, change: dict[str, Any], outcome: Outcome, words: str
) -> None:
    """And was well before: no check always fails."""
    (before,) = lines(WELL, check) if check != "pytorch" else [Result(check, OK, "")]
    assert before.outcome is OK
    found = lines(replace(WELL, **change), check)
    assert outcome in [result.outcome for result in found]
    assert words in " ".join(map(str, found))
    assert all(result.remedy.endswith(".") for result in found if result.outcome is not OK)


def test_every_check_has_been_seen_to_fail() -> None:
    seen = {check for check, _, outcome, _ in UNWELL if outcome is FAILED}
    assert {result.check for result in checkup.examine(WELL)} - seen == set()


@pytest.mark.parametrize("accelerator", ["cpu", "cuda"])
def test_without_neuron_nothing_of_it_is_asked_for(accelerator: str) -> None:
    bare = replace(
        WELL, accelerator=accelerator, packages={"torch": "2.14.1"}, python=(3, 11), driver=None, runtime=None,
        neuron_ls=Answer(), efa_files={}, fi_info=Answer(), variables={}, open_files=1024, locked_memory=0,
        device_files={} if accelerator == "cpu" else {"/dev/nvidia0": True},
    )  # fmt: skip
    assert {result.outcome for result in checkup.examine(bare)} == {OK}


def test_a_gpu_that_is_not_there_is_said() -> None:
    assert [one.outcome for one in lines(replace(WELL, accelerator="cuda", device_files={}), "devices")] == [FAILED]


def test_one_node_needs_no_efa() -> None:
    assert lines(replace(WELL, variables={}, efa_files={}), "efa")[0].outcome is OK


def test_the_table_of_versions_has_no_pair_that_its_rules_refuse() -> None:
    for runtime, driver in versions.TESTED_DRIVER.items():
        pair = {"runtime": f"{runtime[0]}.{runtime[1]}.0", "driver": f"{driver[0]}.{driver[1]}.0"}
        assert lines(replace(WELL, **pair), "driver")[0].outcome is OK


# ---- trials --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "trial", "outcome", "words"),
    [
        ("collective", Trial(3.0, values={"processes": 64, "send": True}), OK, "right over 64 processes, 3 s"),
        ("collective", Trial(3.0, values={"processes": 2, "send": False}), OK, "exchange by collectives"),
        ("collective", Trial(300.0, is_late=True), FAILED, "TORCH_NEURONX_ENABLE_HOST_CC"),
        ("compile", Trial(9.0, values={"first_seconds": 7, "second_seconds": 0.1}), OK, "again in 0.1 s"),
        ("compile", Trial(300.0, is_late=True), FAILED, "--timeout"),
        ("step", Trial(1.0, problem="RuntimeError: nrt_init failed"), FAILED, "nrt_init failed"),
        ("step", Trial(1.0, values={"fallbacks": []}), OK, "no operator ran on the CPU"),
        ("step", Trial(1.0, values={"fallbacks": ["aten::topk"]}), UNKNOWN, "aten::topk"),
    ],
)
def test_a_trial_is_judged_by_how_it_ended(name: str, trial: Trial, outcome: Outcome, words: str) -> None:
    found = [*checkup.judge({name: trial})]
    assert outcome in [one.outcome for one in found]
    assert words in " ".join(map(str, found))


def test_a_trial_that_hangs_is_ended_with_all_that_it_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marker = tmp_path / "pid"
    program = tmp_path / "hangs"
    program.write_text(f"#!/bin/sh\nsleep 600 & echo $! > {marker}\nwait\n")
    program.chmod(program.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setattr("sys.executable", str(program))
    found = trials.run("step", "cpu", 2, 1.0, {})
    assert found.is_late
    assert found.seconds < 30
    assert has_ended(int(marker.read_text()))


def test_the_problem_of_the_process_that_failed_is_shown_and_the_others_are_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "fails"
    program.write_text('#!/bin/sh\n[ "$RANK" = 1 ] || exec sleep 600\necho first; echo "NRT: no core" >&2; exit 3\n')
    program.chmod(program.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setattr("sys.executable", str(program))
    found = trials.run("step", "cpu", 3, 60.0, {})
    assert (found.is_late, found.problem) == (False, "first / NRT: no core")
    assert found.seconds < 30


# ---- the machine ---------------------------------------------------------------------------------------------------


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    yield tmp_path


@pytest.mark.parametrize(
    ("script", "answer"),
    [
        ("echo '[]'", Answer(0, "[]")),
        ("echo wrong >&2; exit 4", Answer(4, "wrong")),
        ("exec sleep 60", Answer(is_late=True)),
        ("cat", Answer(0, "")),
        ("printf '\\377'", Answer(0, "�")),
    ],
)
def test_a_program_is_asked_and_never_waited_for_too_long(tools: Path, script: str, answer: Answer) -> None:
    (tools / "neuron-ls").write_text(f"#!/bin/sh\n{script}\n")
    (tools / "neuron-ls").chmod(0o755)
    assert machine.ask(["neuron-ls"], seconds=1.0) == answer


def test_a_program_that_is_not_there_has_no_answer() -> None:
    assert machine.ask(["no-such-program"]) == Answer()


def test_only_listed_variables_are_reported_and_no_secret_in_them() -> None:
    environ = {
        "AWS_SECRET_ACCESS_KEY": "x", "HF_TOKEN": "y", "NEURON_LOGICAL_NC_CONFIG": "2",
        "NEURON_COMPILE_CACHE_URL": "https://user:pass@host/a?X-Amz-Signature=secret",
    }  # fmt: skip
    assert machine.variables(environ) == {
        "NEURON_LOGICAL_NC_CONFIG": "2", "NEURON_COMPILE_CACHE_URL": "https://host/a",
    }  # fmt: skip


def test_a_place_is_on_the_file_system_that_the_kernel_names(tmp_path: Path) -> None:
    found = machine.place(tmp_path / "not" / "there")
    assert (found.path, found.is_writable) == (str(tmp_path / "not" / "there"), True)
    assert 0 < found.free < found.total
    assert not machine.place(Path("/dev/shm")).is_lasting


def test_what_is_read_here_is_judged_without_an_error(tmp_path: Path) -> None:
    for accelerator in ("cpu", "neuron", "cuda"):
        assert [*checkup.examine(machine.read(accelerator, tmp_path))]


# ---- the command ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_on_a_cpu_all_is_well_and_the_report_has_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "report.json"
    assert main(["doctor", "--accelerator", "cpu", "--report", str(file)]) == 0
    shown = capsys.readouterr().out
    written = json.loads(file.read_text())
    assert [one["check"] for one in written["results"]][-3:] == ["collective", "step", "fallback"]
    assert written["trials"]["collective"]["values"] == {"processes": 2, "send": True}
    assert shown.splitlines()[-1] == f"{len(written['results'])} checks, 0 failed."
    assert len(shown.splitlines()) == len(written["results"]) + 1


def test_trials_compile_into_a_directory_that_can_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Found in the image: its user may write nothing in the working directory, `/`."""
    seen: list[Mapping[str, str]] = []
    monkeypatch.setattr(machine, "place", lambda path: place(str(path), is_writable=str(path) != "compile-cache"))
    monkeypatch.setattr(trials, "run", lambda *arguments: seen.append(arguments[-1]) or Trial(1.0))
    assert main(["doctor", "--accelerator", "cpu"]) == 0
    assert {variables["TORCHINDUCTOR_CACHE_DIR"].startswith("/tmp/") for variables in seen} == {True}


def test_on_a_machine_without_devices_it_fails_and_touches_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trials, "run", lambda *_: pytest.fail("a device was used"))
    file = tmp_path / "report.txt"
    assert main(["doctor", "--accelerator", "neuron", "--report", str(file)]) == 1
    shown = capsys.readouterr().out
    assert "FAILED   devices      there is no /dev/neuron0. In a pod" in shown
    assert "unknown  trials       no device is there. With --processes N" in shown
    assert file.read_text().startswith("FAILED   torchneuron")


@pytest.mark.parametrize(
    "arguments", [["--accelerator", "tpu"], ["--timeout", "0"], ["--processes", "two"], ["--report"], ["extra"]]
)
def test_wrong_use_is_exit_code_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(["doctor", *arguments])
    assert raised.value.code == 2


def test_a_report_that_cannot_be_written_is_wrong_use_before_anything_is_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", "--report", str(tmp_path / "no" / "report.json")]) == 2
    shown = capsys.readouterr()
    assert "No such file or directory" in shown.err
    assert shown.out == ""


def test_a_report_names_neither_the_instance_nor_what_else_runs() -> None:
    busy = replace(WELL, neuron_ls=listing(neuron_processes=[{"pid": 7, "command": "secret"}]))
    results = [*checkup.examine(busy)]
    trial: Mapping[str, Trial] = {"step": Trial(1.0, values={"fallbacks": []})}
    text = report.render(results, busy, trial, as_json=True)
    assert "i-0abc" not in text
    assert "secret" not in text
    assert json.loads(text)["machine"]["neuron_ls"]["output"][0]["nc_count"] == 4
    assert json.loads(text)["results"][0]["check"] == results[0].check


@pytest.mark.parametrize("processes", [7, {"pid": 3}, [{}], ["x"], None, [{"pid": "3"}]])
def test_processes_that_neuron_ls_lists_in_another_form_are_no_error(processes: Any) -> None:
    (line,) = lines(replace(WELL, neuron_ls=listing(neuron_processes=processes)), "cores")
    assert line.outcome is (FAILED if isinstance(processes, list) else OK)
    assert "processes 0" not in line.text


def test_of_no_device_nothing_is_said_but_that() -> None:
    found = replace(WELL, neuron_ls=Answer(0, "[]"))
    assert [line.outcome for line in lines(found, "neuron-ls")] == [FAILED]
    assert lines(found, "cores") == lines(found, "lnc") == []


def test_a_report_leaves_out_what_neuron_ls_says_in_other_words() -> None:
    found = replace(WELL, neuron_ls=Answer(1, "host=ip-10-1-2-3 user=alice"))
    assert "alice" not in report.render([], found, {}, as_json=True)


def test_a_file_is_no_place_for_a_cache(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert not machine.place(tmp_path / "file").is_writable
    assert not machine.place(tmp_path / "file" / "below").is_writable


def test_a_process_that_the_system_kills_is_a_failed_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    popen = trials.subprocess.Popen
    command = ["/bin/sh", "-c", "kill -9 $$"]
    monkeypatch.setattr(trials.subprocess, "Popen", lambda _, **named: popen(command, **named))
    assert "killed by the system" in trials.run("step", "cpu", 1, 60.0, {}).problem


def test_a_wrong_name_in_the_variable_is_wrong_use(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(contract.ENV_ACCELERATOR, "foo")
    assert main(["doctor"]) == 2
    assert "no accelerator 'foo'; use one of neuron, cpu, cuda" in capsys.readouterr().err


def test_an_interrupted_trial_is_ended_and_the_report_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    children: list[Any] = []

    def interrupt(processes: Any, _: float) -> bool:
        children.extend(processes)
        raise KeyboardInterrupt

    monkeypatch.setattr(trials, "_wait", interrupt)
    file = tmp_path / "report.txt"
    main(["doctor", "--accelerator", "cpu", "--report", str(file)])
    assert children and all(child.poll() is not None for child in children)
    assert "interrupted" in file.read_text() and "interrupted" in capsys.readouterr().out
