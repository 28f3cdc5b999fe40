"""How a process gets its device, and what is said of one that it does not get: everything that needs no device."""

import errno
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from tempfile import gettempdir
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from neuron_api import contract
from neuron_api.config import TrainingConfig
from neuron_trainer import accelerators
from neuron_trainer.accelerators import cores as cores_of_a_process
from neuron_trainer.accelerators import device
from neuron_trainer.data import loader
from neuron_trainer.errors import DeviceError, InputError
from neuron_trainer.generators import generator_state, restore_generators
from neuron_trainer.launcher import device_environment
from neuron_trainer.metrics.fallbacks import CpuFallbacks
from neuron_trainer.run_directory.log_dir import compile_cache

from .conftest import alone, typed

NEURON = accelerators.get("neuron")


# ---- the core of a process -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "cores"), [("", []), ("5", [5]), ("0-3", [0, 1, 2, 3]), ("0, 2-3,8", [0, 2, 3, 8]), ("7-7", [7])]
)
def test_a_list_of_cores_has_ranges(text: str, cores: list[int]) -> None:
    assert cores_of_a_process.visible_cores(text) == cores


@pytest.mark.parametrize("text", ["a", "0-", "-1", "1..3"])
def test_a_list_of_cores_that_is_none_is_told_with_the_form(text: str) -> None:
    with pytest.raises(DeviceError, match=f"NEURON_RT_VISIBLE_CORES={text} is no list of cores. Write it as 0-3"):
        cores_of_a_process.visible_cores(text)


@pytest.mark.parametrize("text", ["4-7", "4,5,6,7"])
def test_each_process_takes_its_own_core_of_the_container(text: str) -> None:
    taken = []
    for local_rank in range(4):
        environ = {"NEURON_RT_VISIBLE_CORES": text, "NEURON_RT_NUM_CORES": "4"}
        cores_of_a_process.choose_cores(environ, local_rank)
        taken.append(environ["NEURON_RT_VISIBLE_CORES"])
        assert "NEURON_RT_NUM_CORES" not in environ
    assert taken == ["4", "5", "6", "7"]


@pytest.mark.parametrize("environ", [{}, {"NEURON_RT_VISIBLE_CORES": "9"}])
def test_a_core_that_is_one_already_or_not_given_stays(environ: dict[str, str]) -> None:
    before = dict(environ)
    cores_of_a_process.choose_cores(environ, 3)
    assert environ == before


def test_more_processes_than_cores_are_told_with_both_numbers() -> None:
    with pytest.raises(DeviceError, match=r"0-1 has 2 cores, and local rank 2 needs one of its own\."):
        cores_of_a_process.choose_cores({"NEURON_RT_VISIBLE_CORES": "0-1"}, 2)


def test_each_process_has_folders_of_its_own_where_they_must_not_be_shared() -> None:
    values = dict(device_environment.variables("neuron", Path("/cache"), Path("/runs/one"), 1))
    device.take_folders(values, 5)
    assert values["TORCH_NEURONX_DEBUG_DIR"] == "/runs/one/node-1/debug/5"
    assert values["TORCH_NEURONX_NEFF_CACHE_DIR"] == "/cache/neff"
    assert not any("{" in value for value in values.values())


def test_two_runs_with_one_cache_share_no_folder_of_compilations() -> None:
    first, second = (
        dict(device_environment.variables("neuron", Path("/cache"), Path(f"/runs/{name}"), 0)) for name in "ab"
    )
    shared = {name for name in first if first[name] == second[name]}
    assert not shared & device_environment.RUN_FOLDERS["neuron"].keys()
    assert device_environment.SHARED_CACHES["neuron"].keys() <= shared


def test_files_of_compilations_lie_where_they_can_be_locked(monkeypatch: Any, tmp_path: Path) -> None:
    """TorchNeuron takes any answer but "held" for a compilation that failed."""
    assert device_environment.with_locks(tmp_path / "run") == tmp_path / "run"
    assert not list((tmp_path / "run").iterdir())

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(device_environment.fcntl, "flock", refuse)
    first, second = (device_environment.with_locks(tmp_path / name) for name in ("run", "other"))
    assert first != second and {first.parent, second.parent} == {Path(gettempdir())}


def test_a_compilation_that_was_interrupted_is_tried_again() -> None:
    environ = {"NEURON_CC_FLAGS": "--model-type transformer"}
    for _ in range(2):
        device_environment.append_flags("xla", environ)
    assert environ == {"NEURON_CC_FLAGS": "--model-type transformer --retry_failed_compilation"}
    device_environment.append_flags("neuron", environ := {})
    assert environ == {}


def test_a_user_without_an_entry_in_the_password_file_has_a_name_for_the_compiler(monkeypatch: Any) -> None:
    def unknown(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    environ: dict[str, str] = {}
    monkeypatch.setattr("pwd.getpwuid", unknown)
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    device_environment.name_user(environ)
    assert environ == {"LOGNAME": f"uid_{os.getuid()}"}
    monkeypatch.setenv("LOGNAME", "somebody")
    environ.clear()
    device_environment.name_user(environ)
    assert environ == {}


@pytest.mark.parametrize("name", ["xla", "neuron"])
@pytest.mark.parametrize("given", [{}, {"NEURON_RT_EXEC_TIMEOUT": "100"}, {"NEURON_RT_EXEC_TIMEOUT": "1000000"}])
def test_who_waits_for_a_compiling_peer_waits_as_long_as_a_graph_may_take(given: dict[str, str], name: str) -> None:
    environ, own = dict(given), accelerators.get(name)
    device.wait_for_compilers(environ, own)
    assert own.compile_seconds >= 3600
    assert int(environ["NEURON_RT_EXEC_TIMEOUT"]) == max(own.compile_seconds, *map(int, given.values()), 0)


def test_only_processes_that_may_compile_wait_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEURON_RT_EXEC_TIMEOUT", "100")
    monkeypatch.setitem(sys.modules, "torch_neuronx", None)  # type: ignore[arg-type]  # an import of it fails
    seen = []
    for may_compile in (False, True):
        with pytest.raises(DeviceError):
            accelerators.load(NEURON, 0, may_compile=may_compile)
        seen.append(os.environ["NEURON_RT_EXEC_TIMEOUT"])
    assert seen == ["100", str(NEURON.compile_seconds)]


def test_a_host_has_no_such_time() -> None:
    environ: dict[str, str] = {}
    device.wait_for_compilers(environ, accelerators.get("cpu"))
    assert environ == {}


# ---- loading and opening ---------------------------------------------------------------------------------------------


def test_the_host_is_opened_without_anything() -> None:
    cpu = accelerators.get("cpu")
    accelerators.load(cpu, 0)
    assert accelerators.open_device(cpu) == torch.device("cpu")
    accelerators.synchronize(torch.device("cpu"))
    assert accelerators.host_buffer((2,), torch.int32, torch.device("cpu")).shape == (2,)
    tensor = torch.ones(1)
    assert accelerators.pinned(tensor, torch.device("cpu")) is tensor


def test_a_package_that_is_not_there_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NEURON_RT_VISIBLE_CORES", raising=False)
    monkeypatch.setitem(sys.modules, "torch_neuronx", None)  # type: ignore[arg-type]  # an import of it fails
    with pytest.raises(DeviceError, match=r"torch_neuronx cannot be loaded: .*\. Use an image that has it"):
        accelerators.load(NEURON, 0)


def test_a_runtime_that_is_in_the_forkserver_is_not_taken_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch_neuronx", ModuleType("torch_neuronx"))
    with pytest.raises(DeviceError, match="torch_neuronx was loaded before this process was forked"):
        accelerators.load(NEURON, 0)


@pytest.mark.parametrize(
    ("own", "fits"), [("2.9.0.2.11", False), (f"{torch.__version__.rpartition('.')[0]}.3.0", True)]
)
def test_a_package_of_another_pytorch_is_told_without_loading_it(
    own: str, fits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "version", lambda _: own)
    assert (accelerators.misfit(NEURON) == "") is fits
    assert fits or accelerators.misfit(NEURON).startswith(f"torch_neuronx {own} is not for PyTorch {torch.__version__}")


def test_a_package_that_brings_no_such_device_is_a_sentence() -> None:
    with pytest.raises(DeviceError, match="torch_neuronx has brought no device 'neuron' to PyTorch"):
        accelerators.open_device(NEURON)


def test_a_device_that_computes_on_the_cpu_in_silence_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    module = SimpleNamespace(is_available=lambda: True)
    monkeypatch.setattr(torch, "get_device_module", lambda _: module)
    monkeypatch.setattr(torch, "device", lambda _: torch.empty(0).device)
    with pytest.raises(DeviceError, match="neuron: tensors are made on cpu"):
        accelerators.open_device(NEURON)
    module.is_available = lambda: False
    with pytest.raises(DeviceError, match="neuron: there is no device"):
        accelerators.open_device(NEURON)


@pytest.mark.slow
def test_the_forkserver_and_the_launcher_load_no_package_of_a_device(tmp_path: Path) -> None:
    """A package with an entry point, as a vendor's is, that says where it is loaded."""
    (tmp_path / "vendor_device.py").write_text("import os\nprint('loaded', os.environ.get('X_WHO'))\ndef load(): ...\n")
    info = tmp_path / "vendor_device-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: vendor-device\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[torch.backends]\nvendor = vendor_device:load\n")
    code = """
import multiprocessing, os
os.environ["X_WHO"] = "forkserver"
from neuron_trainer.launcher.elastic import forkserver
forkserver.start(1)
os.environ["X_WHO"] = "launcher"
import torch
worker = multiprocessing.get_context("forkserver").Process(target=print, args=("worker",))
worker.start()
worker.join()
forkserver.kill()
"""
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "TORCH_DEVICE_BACKEND_AUTOLOAD": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["worker"], done.stdout + done.stderr


# ---- variables -------------------------------------------------------------------------------------------------------


def test_every_accelerator_has_its_variables_and_its_caches_are_not_in_tmp() -> None:
    for name in accelerators.names():
        assert name in device_environment.CONSTANT
        cache = Path("/runs/one/compile_cache")
        values = dict(device_environment.variables(name, cache, cache, 3))
        folders = {**device_environment.SHARED_CACHES.get(name, {}), **device_environment.NODE_CACHES.get(name, {})}
        assert all(values[variable].startswith("/runs/one/compile_cache/") for variable in folders)
        assert all("/node-3/" in values[variable] for variable in device_environment.NODE_CACHES.get(name, {}))


@pytest.mark.parametrize(
    ("url", "place"),
    [
        (None, "/log/compile_cache"),
        ("/cache", "/cache"),
        ("file:///cache", "/cache"),
        ("s3://bucket/cache", "/log/compile_cache"),
    ],
)
def test_compiled_graphs_are_where_the_configuration_says_or_in_the_log_directory(
    url: str | None, place: str, tiny: Path, tmp_path: Path
) -> None:
    config: TrainingConfig = typed(alone(tiny, tmp_path) | ({"compiler_cache_url": url} if url else {}))
    assert compile_cache(config, Path("/log")) == Path(place)


# ---- batches ---------------------------------------------------------------------------------------------------------


def batches(reads: list[int], count: int, broken: int | None = None) -> Any:
    for number in range(count):
        reads.append(number)
        if number == broken:
            raise ValueError(f"batch {number}")
        yield {"input_ids": torch.tensor([number])}


def test_a_batch_is_begun_while_the_one_before_is_used() -> None:
    reads: list[int] = []
    seen = []
    for number, batch in enumerate(loader.ahead(batches(reads, 4), torch.device("cpu"))):
        assert reads == list(range(min(number + 2, 4)))
        seen.append(batch["input_ids"].item())
    assert seen == [0, 1, 2, 3]


def test_a_batch_that_cannot_be_read_fails_in_its_turn() -> None:
    used = []
    with pytest.raises(ValueError, match="batch 2"):
        for batch in loader.ahead(batches([], 4, broken=2), torch.device("cpu")):
            used.append(batch["input_ids"].item())
    assert used == [0, 1]
    assert list(loader.ahead(batches([], 0), torch.device("cpu"))) == []


# ---- generators ------------------------------------------------------------------------------------------------------


def test_a_checkpoint_of_another_device_is_resumed_with_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    saved = generator_state(cpu)
    assert "device" not in saved, "the CPU's generator is torch's"
    drawn = torch.rand(3)
    assert restore_generators({**saved, "device": ("neuron", torch.zeros(16, dtype=torch.uint8))}, cpu).startswith(
        "the checkpoint was written on neuron, this run computes on cpu: "
    )
    assert torch.equal(torch.rand(3), drawn), "what the host draws is continued"
    assert restore_generators(saved, cpu) == ""


def test_the_state_of_a_devices_generator_is_saved_and_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    state = torch.arange(16, dtype=torch.uint8)
    put: list[torch.Tensor] = []
    module = SimpleNamespace(get_rng_state=lambda: state, set_rng_state=put.append)
    monkeypatch.setattr(torch, "get_device_module", lambda _: module)
    own: Any = SimpleNamespace(type="neuron")
    assert restore_generators(generator_state(own), own) == ""
    assert torch.equal(put[0], state)


# ---- operators that run on the CPU -----------------------------------------------------------------------------------


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The vendor's, with what it counts."""
    made: Any = ModuleType("torch_neuronx")
    made.ops = []
    made.get_fallback_ops = lambda: list(made.ops)
    made.clear_op_tracking = made.ops.clear
    monkeypatch.setitem(sys.modules, "torch_neuronx", made)
    return made


def test_operators_on_the_cpu_are_told_once_with_their_names(package: Any, caplog: pytest.LogCaptureFixture) -> None:
    package.ops += ["aten::normal_"] * 9
    module = SimpleNamespace(cpu_fallbacks=None)
    callback = CpuFallbacks(NEURON, {})
    callback.on_train_start()
    package.ops += ["aten::nonzero", "aten::sort", "aten::nonzero"]
    for _ in range(3):
        callback.on_train_batch_end(None, module)
    callback.on_train_end(None, module)
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("neuron: 2 operators of the first step ran on the CPU: aten::nonzero (2), aten::sort (1). ")
    assert contract.ENV_REFUSE_FALLBACKS in line
    assert module.cpu_fallbacks == 2
    assert device.fallback_ops(NEURON) == Counter({"aten::nonzero": 2, "aten::sort": 1})


def test_a_run_that_refuses_them_ends_as_one_with_wrong_input(package: Any) -> None:
    callback = CpuFallbacks(NEURON, {contract.ENV_REFUSE_FALLBACKS: "1"})
    module = SimpleNamespace(cpu_fallbacks=None)
    package.ops.append("aten::sort")
    with pytest.raises(InputError, match="1 operator of the first step ran on the CPU: aten::sort"):
        callback.on_train_batch_end(None, module)
    package.ops.append("aten::topk")
    callback.on_train_end(None, module)  # of a validation: what was trained is saved


def test_a_device_that_counts_nothing_has_none() -> None:
    assert device.fallback_ops(accelerators.get("cpu")) == Counter()
    device.clear_fallbacks(accelerators.get("cpu"))


# ---- losses that are not finite --------------------------------------------------------------------------------------


def test_a_known_cause_of_nan_is_told_where_it_may_be() -> None:
    assert NEURON.nan_cause(512) == ""
    assert "attention" in NEURON.nan_cause(8192)
    assert accelerators.get("cpu").nan_cause(8192) == ""
