"""On the stand-in of a Neuron device the numbers are the CPU's, and in a step the host waits for nothing.

Here some runs; `make test-device` has every family, split, optimizer and type of precision.
"""

from pathlib import Path

import pytest

from neuron_device import report
from neuron_device.report import Report

from . import devices, families, ranks
from .families import Run
from .nodes import numbers
from .splits import ADAPTED, LORA_DROPOUT, ONE, ROOMY, UNEVEN
from .tiny import config

pytestmark = pytest.mark.distributed

SENDING: list[Run] = [
    ("megatron gpt, documents", "one process"),
    ("llama", "data 2"),
    ("llama, lora", "data 2, zero1"),
    (ADAPTED, UNEVEN),
    ("llama, in mixed_precisionSR", "one process"),
    ("llama, with rprop", "one process"),
    ("llama", "tensor 4"),
    ("mistral", "context 2"),
    ("megatron gpt", "pipeline 2"),
    ("mixtral, sinkhorn", "expert 2"),
]
SILENT: list[Run] = [
    ("llama, dpo", "pipeline 2, virtual 2"),
    ("llama", "context 2"),
    ("megatron gpt", "tensor 2, sequence"),
    ("mixtral, capacity", "expert 2, zero1"),
    (ROOMY, "shuffle 2"),
]
"""Where the device has no send and recv."""
COMPILED: list[Run] = [("mixtral", "expert 2, zero1"), (ROOMY, "shuffle 2"), ("llama, lora", "tensor 2, sequence")]
"""By the device's compiler, without send and recv as well."""
CASES = [*SENDING, *SILENT]
FORBIDDEN = ("wait", "int64", "to_host", "dynamic", "view_write", "fallback", "rule")


@pytest.fixture(scope="module")
def folders(neuron_device: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What came out of every run, on the CPU and on the device."""
    names = ("cpu", "neuron", "silent", "compiled")
    made = {name: tmp_path_factory.mktemp(name) for name in names}
    masked = [(family, "one process") for family, _ in CASES if family == LORA_DROPOUT]
    families.train_all(made["cpu"], {families.reference(*run) for run in (*CASES, *COMPILED)})
    families.train_all(made["neuron"], [*SENDING, *masked], device=devices.standin())
    families.train_all(made["silent"], SILENT, device=devices.standin(sends=False))
    families.train_all(made["compiled"], COMPILED, "neuron", devices.standin(sends=False))
    return made


def of_device(folders: dict[str, Path], run: Run) -> Path:
    """The folder with a run on the device."""
    return folders["silent" if run in SILENT else "neuron"]


@pytest.mark.parametrize("run", CASES, ids=str)
def test_losses_norms_and_weights_are_those_of_the_cpu(run: Run, folders: dict[str, Path]) -> None:
    has_masks = run[0] == LORA_DROPOUT  # the device draws by its own generator
    wanted = families.result(folders["neuron" if has_masks else "cpu"], *families.reference(*run))
    found = families.result(of_device(folders, run), *run)
    families.assert_same(found, wanted)


@pytest.mark.parametrize("run", CASES, ids=str)
def test_a_step_waits_for_nothing_and_keeps_its_shapes(run: Run, folders: dict[str, Path]) -> None:
    reports = report.read(families.report_file(of_device(folders, run), *run, 0).parent)
    assert reports and all(one.steps == [1, 2, 3, 4, 5] for one in reports)
    # Experts choose by indices, which PyTorch gives in int64: in graphs, which these runs are not.
    allowed = ("int64",) if "mixtral" in run[0] else ()
    for step in (3, 4, 5):
        assert not report.table(reports, f"step {step}", *(kind for kind in FORBIDDEN if kind not in allowed))
    assert not report.table(reports, "evaluate", "dynamic", "view_write", "fallback", "rule")
    parts = 2 + ("dpo" in run[0]) + 2 * ("documents" in run[0])
    copies = {one.counts(f"step {step}")["to_device"] for one in reports for step in (3, 4, 5)}
    assert copies <= {0, parts}, report.table(reports, "step 3", "to_device")


@pytest.mark.parametrize("run", CASES, ids=str)
def test_no_collective_is_in_a_group_of_one(run: Run, folders: dict[str, Path]) -> None:
    """Dimensions of a mesh with one process have groups, too."""
    reports = report.read(families.report_file(of_device(folders, run), *run, 0).parent)
    seen = {event.detail for one in reports for event in one.of_kind("collective")}
    assert not {detail for detail in seen if detail.endswith(" of 1")}
    assert seen or run[1] == ONE


@pytest.mark.parametrize("run", COMPILED, ids=str)
def test_blocks_that_are_compiled_are_one_graph_and_wait_for_nothing(run: Run, folders: dict[str, Path]) -> None:
    found = families.result(folders["compiled"], *run)
    families.assert_same(found, families.result(folders["cpu"], *families.reference(*run)))
    assert all(count["graphs"] and not count["breaks"] for count in found["graphs"])
    reports = report.read(families.report_file(folders["compiled"], *run, 0).parent)
    for step in (3, 4, 5):
        assert not report.table(reports, f"step {step}", *FORBIDDEN)
    seeds = 2 * 2 if run[1] == "shuffle 2" else 0  # of each layer in each micro-batch
    copies = {one.counts(f"step {step}")["to_device"] for one in reports for step in (3, 4, 5)}
    assert copies <= {0, 2 + seeds}, report.table(reports, "step 3", "to_device")


STEPS, SAVED, EVALUATED = 8, 3, 4
ORDINARY = [step for step in range(3, STEPS) if step % SAVED and step % EVALUATED]
"""Before a save all losses are read: whether they are finite decides whether there is one. In step 2 the first one is
read, and the device asked whether it has failed."""


@pytest.fixture(scope="module")
def loop(tiny: Path, neuron_device: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> list[Report]:
    """What the processes of a whole run saw, that saves beside training and evaluates; its losses are the CPU's."""
    base = tmp_path_factory.mktemp("loop")
    values = {
        name: config(
            tiny, base / name, trainer__devices=2, trainer__num_nodes=1, trainer__max_steps=STEPS,
            trainer__val_check_interval=EVALUATED, trainer__limit_val_batches=1, data__val_dir=str(tiny / "data"),
            distributed_strategy={"zero1": True}, exp_manager__async_checkpointing=True,
            exp_manager__checkpoint_callback_params__every_n_train_steps=SAVED,
        )
        for name in ("cpu", "neuron")
    }  # fmt: skip
    ranks.train(2, [values["cpu"]])
    ranks.train(2, [values["neuron"]], device=devices.standin(report=base / "report"))
    found, wanted = numbers(base / "neuron"), numbers(base / "cpu")
    assert [found[step][0] for step in found] == pytest.approx([wanted[step][0] for step in wanted], rel=1e-5)
    reports = report.read(base / "report")
    assert [one.rank for one in reports] == [0, 1]
    return reports


def test_a_step_of_the_loop_waits_for_nothing_and_reads_one_thing(loop: list[Report]) -> None:
    for step in ORDINARY:
        phase = f"step {step}"
        assert not report.table(loop, phase, "wait", "int64", "dynamic", "view_write", "fallback", "rule")
        assert all(one.counts(phase)["to_host"] == 1 for one in loop), report.table(loop, phase, "to_host")
        assert all(one.counts(phase)["to_device"] == 2 for one in loop), report.table(loop, phase, "to_device")


def test_a_save_copies_nothing_to_the_device(loop: list[Report]) -> None:
    assert all(one.counts("save")["to_host"] > 0 for one in loop), "the saves are in the report"
    assert not report.table(loop, "save", "to_device", "rule")
