"""What the graphs of a run depend on, and the record of what was compiled for it."""

import errno
from datetime import UTC, datetime
from pathlib import Path

import pytest

from neuron_api import contract
from neuron_api.derive import hardware
from neuron_api.resource.progress import CompileReport
from neuron_api.resource.spec import CompileMode
from neuron_api.schema import graphs
from neuron_trainer.compile_phase import record as compile_record
from neuron_trainer.compile_phase.record import CompileStore
from neuron_trainer.errors import InputError, compiler_refusal
from neuron_trainer.ipc.worker_channel import WorkerChannel
from neuron_trainer.launcher.node import NodeIdentity
from neuron_trainer.models.family import Family

from .conftest import alone, typed


def inputs(tiny: Path, **changes: object) -> dict[str, object]:
    return graphs.inputs(typed(alone(tiny, tiny, **changes)))


@pytest.mark.parametrize(
    "changes",
    [
        {"model__optim__lr": 1e-5},
        {"trainer__max_steps": 7},
        {"exp_manager__explicit_log_dir": "/elsewhere"},
        {"data__train_dir": "/other"},
        {"model__optim__sched": {"warmup_steps": 1, "max_steps": 9}},
        {"trainer__limit_val_batches": 0},
    ],
)
def test_what_changes_no_graph_changes_no_fingerprint(tiny: Path, changes: dict[str, object]) -> None:
    assert graphs.changes(inputs(tiny, trainer__limit_val_batches=0), inputs(tiny, **changes)) == ()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("data.micro_batch_size", 1),
        ("distributed_strategy.zero1", False),
        ("model.encoder_seq_length", 16),
        ("model.activations_checkpoint_granularity", "full"),
        ("precision.type", "mixed_precision"),
        ("model.optim.name", "sgd"),
    ],
)
def test_what_changes_a_graph_is_named(tiny: Path, key: str, value: object) -> None:
    before, after = inputs(tiny), inputs(tiny, **{key.replace(".", "__"): value})
    found = {change.key: change for change in graphs.changes(before, after)}
    assert key in found and str(found[key]).startswith(f"{key}: ")
    assert graphs.fingerprint(before) != graphs.fingerprint(after)


def test_whether_there_is_a_validation_counts_and_not_how_long_it_is(tiny: Path) -> None:
    none, one, two = (inputs(tiny, trainer__limit_val_batches=count) for count in (0, 1, 2))
    assert one == two
    assert [change.key for change in graphs.changes(none, one)] == ["trainer.limit_val_batches"]


@pytest.mark.parametrize(
    ("chosen", "device", "keeps"),
    [
        ("auto", "cpu", False), ("eager", "neuron", False), ("aot_eager", "cpu", False), ("inductor", "cpu", True),
        ("auto", "neuron", True), ("auto", "cuda", True), ("auto", "xla", True), ("eager", "xla", True),
    ],
)  # fmt: skip
def test_graphs_are_kept_by_compilers_that_write_files(chosen: str, device: str, keeps: bool, tiny: Path) -> None:
    assert hardware.keeps_graphs(typed(alone(tiny, tiny, model__compile=chosen)), device) is keeps


def test_a_record_belongs_to_what_it_was_compiled_from(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = typed(alone(tiny, tiny, model__compile="inductor"))
    family = Family.from_config(config, 96)
    store = CompileStore.create(tmp_path, compile_record.facts(config, family, "cpu"))
    assert store.read() is None and "has no record of the fingerprint" in store.gap()
    store.write(graphs=3, compiled=3, seconds=1.25, complete=False)
    assert "did not end" in store.gap()
    store.write(graphs=4, compiled=1, seconds=1.25, complete=True)
    again = CompileStore.create(tmp_path, compile_record.facts(config, family, "cpu"))
    assert not again.gap()
    record = again.read()
    assert record is not None and record.facts["versions"]["torch"]
    monkeypatch.setenv("NEURON_CC_FLAGS", "-O3")
    assert CompileStore.create(tmp_path, compile_record.facts(config, family, "cpu")).gap()
    assert CompileStore.create(tmp_path, compile_record.facts(config, family, "neuron")).gap()


@pytest.mark.parametrize("content", ["", "{}", '{"facts": 3}', "\x00"])
def test_a_record_that_cannot_be_read_is_none(content: str, tmp_path: Path) -> None:
    store = CompileStore.create(tmp_path, {"a": 1})
    (store.folder / compile_record.RECORD).write_text(content)
    assert store.read() is None and "has no record of the fingerprint" in store.gap()


def test_a_folder_that_takes_nothing_is_no_store_and_a_disk_that_is_full_later_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = CompileStore.create(tmp_path, {"a": 1})

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(compile_record.files, "replace", full)
    store.write(graphs=1, compiled=1, seconds=1.0, complete=True)
    assert "No space left on device" in caplog.text
    monkeypatch.setattr(compile_record.tempfile, "TemporaryFile", full)
    with pytest.raises(OSError, match="No space left"):
        CompileStore.create(tmp_path, {"a": 1})


def test_a_phase_that_was_killed_is_over_where_none_begins(tmp_path: Path) -> None:
    channel, now = WorkerChannel(tmp_path), datetime.now(UTC)
    channel.end_compilation()
    assert channel.read_compilation() is None
    channel.write_compilation(CompileReport(done=1, expected=4, compiled=1, since=now, time=now, holder="another"))
    channel.end_compilation()
    report = channel.read_compilation()
    assert report is not None and report.complete and not report.holder


@pytest.mark.parametrize("words", ["[F137] neuronx-cc was forcibly killed", "c++: fatal error: Killed signal", "EIO"])
def test_a_compiler_that_the_machine_has_ended_refuses_nothing(words: str) -> None:
    problem = RuntimeError(f"RunNeuronCCImpl: {words}")
    assert (compiler_refusal(problem) is None) is (words != "EIO")


def test_an_operator_that_knows_no_phase_gets_none(tiny: Path) -> None:
    config = typed(alone(tiny, tiny))
    pod = {contract.ENV_JOB_NAME: "job"}
    assert NodeIdentity.from_environment(config, {}).compile_mode is CompileMode.AUTO
    assert NodeIdentity.from_environment(config, pod).compile_mode is CompileMode.NEVER
    assert NodeIdentity.from_environment(config, {**pod, contract.ENV_COMPILE_MODE: "Always"}).compile_mode == "Always"
    with pytest.raises(InputError, match="no mode"):
        NodeIdentity.from_environment(config, {contract.ENV_COMPILE_MODE: "Sometimes"})
