"""What a start takes from the files in memory: damage is seen while older copies are there, and what is newer and not
taken is named."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from neuron_trainer.checkpoint.memory.agreement import MemoryTier, choose
from neuron_trainer.checkpoint.memory.copies import MemoryCopies, slot_path, steps_of
from neuron_trainer.checkpoint.memory.exchange import peer_path
from neuron_trainer.checkpoint.memory.slot import PAGE, CopyIdentity, Slot, TensorLayout, is_intact
from neuron_trainer.checkpoint.staging import CheckpointTensor
from neuron_trainer.errors import InputError

IDENTITY = CopyIdentity("run", "hash:model", "1.0", 0, 1, 1, "cpu")


def _tensors() -> Mapping[str, CheckpointTensor]:
    tensor = torch.arange(3000.0)
    return {"a": CheckpointTensor(tensor, tensor.dtype)}


def _write(path: Path, step: int, identity: CopyIdentity = IDENTITY, state: bytes = b"state") -> None:
    Slot(path, TensorLayout(_tensors())).write(identity, step, _tensors(), state)


def _damage(path: Path, place: int = PAGE + 100) -> None:
    with path.open("r+b") as file:
        file.seek(place)
        byte = file.read(1)
        file.seek(place)
        file.write(bytes([byte[0] ^ 1]))


@pytest.mark.usefixtures("one_process")
def test_a_damaged_copy_is_passed_over_for_the_one_before_it(tmp_path: Path) -> None:
    _write(slot_path(tmp_path, 0, 0), 4)
    _write(slot_path(tmp_path, 0, 1), 5)
    _damage(slot_path(tmp_path, 0, 1))
    choice = MemoryTier(tmp_path, IDENTITY, 1).choose(0)
    assert choice.step == 4
    assert choice.passed_over == ("the copy in memory of step 5 of rank 0 is damaged",)
    assert steps_of(tmp_path, IDENTITY) == [4]


@pytest.mark.usefixtures("one_process")
def test_storage_is_taken_where_all_copies_are_damaged(tmp_path: Path) -> None:
    for number, step in enumerate((4, 5)):
        _write(slot_path(tmp_path, 0, number), step)
        _damage(slot_path(tmp_path, 0, number))
    choice = MemoryTier(tmp_path, IDENTITY, 1).choose(2)
    assert (choice.step, len(choice.passed_over)) == (0, 2)


@pytest.mark.parametrize("place", ["tensors", "state", "end"])
def test_a_byte_anywhere_is_damage(tmp_path: Path, place: str) -> None:
    path = tmp_path / "rank-0.0"
    _write(path, 1)
    assert is_intact(path)
    end = TensorLayout(_tensors()).end
    if place == "end":
        with path.open("r+b") as file:
            file.truncate(end + 2)
    else:
        _damage(path, PAGE if place == "tensors" else end)
    assert not is_intact(path)


@pytest.mark.usefixtures("one_process")
@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"config_hash": "other:model"}, "another configuration"),
        ({"config_hash": "hash:other"}, "another file of the model (model.model_config)"),
        ({"release": "0.9"}, "release 0.9, not 1.0"),
        ({"world_size": 2}, "2 x 1 processes, not 1 x 1 processes"),
        ({"world_size": 4, "processes_per_node": 2, "release": "0.9"}, "release 0.9, not 1.0 and 2 x 2 processes"),
        ({"accelerator": "xla"}, "accelerator xla"),
    ],
)
def test_steps_that_are_given_up_are_named_with_the_reason(tmp_path: Path, changes: dict[str, Any], text: str) -> None:
    _write(slot_path(tmp_path, 0, 0), 9, replace(IDENTITY, **changes))
    (passed_over,) = MemoryTier(tmp_path, IDENTITY, 1).choose(5).passed_over
    assert passed_over.startswith(f"the copy in memory of step 9 is of {text}")
    assert MemoryTier(tmp_path, IDENTITY, 1).choose(9).passed_over == (), "storage has the step, too"


@pytest.mark.usefixtures("one_process")
def test_copies_of_another_run_are_not_given_up_by_this_one(tmp_path: Path) -> None:
    _write(slot_path(tmp_path, 0, 0), 9, replace(IDENTITY, run_id="other"))
    assert MemoryTier(tmp_path, IDENTITY, 1).choose(5).passed_over == ()


@pytest.mark.usefixtures("one_process")
def test_files_of_another_split_free_their_memory_and_those_of_this_one_stay(tmp_path: Path) -> None:
    for name in ("rank-0.0", "rank-1.0", "rank-3.1", "peer-0.0", "peer-2.1", "owner"):
        (tmp_path / name).touch()
    MemoryTier(tmp_path, replace(IDENTITY, world_size=2, processes_per_node=2), 1)._remove_other_splits()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["owner", "rank-0.0", "rank-1.0"]


def test_files_that_are_held_of_another_node_stay(tmp_path: Path) -> None:
    identity = replace(IDENTITY, rank=2, world_size=4, processes_per_node=2)
    for name in ("rank-2.0", "rank-3.0", "rank-0.0", "peer-0.0", "peer-1.1", "peer-2.1"):
        (tmp_path / name).touch()
    MemoryTier(tmp_path, replace(identity, rank=3), 1, 1)._remove_other_splits()
    assert len(list(tmp_path.iterdir())) == 6, "the first process of the node does it"
    MemoryTier(tmp_path, identity, 1, 1)._remove_other_splits()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["peer-0.0", "peer-1.1", "rank-2.0", "rank-3.0"]


def test_a_damaged_copy_that_another_node_holds_is_passed_over(tmp_path: Path) -> None:
    identity = replace(IDENTITY, world_size=2)
    source = replace(identity, rank=1)
    _write(peer_path(tmp_path, 1, 0), 5, source)
    _damage(peer_path(tmp_path, 1, 0))
    tier = MemoryTier(tmp_path, identity, 1, 1)
    (text,) = tier._remove_damaged(choose([[5], []], [{1: [5]}, {}], 0))
    assert text == "the copy in memory of step 5 of rank 1, held by rank 0, is damaged"
    assert tier._steps() == ([], {1: []})


@pytest.mark.usefixtures("one_process")
def test_other_copies_stay_until_all_have_loaded(tmp_path: Path) -> None:
    """Kind: a load that fails, a kill in it: the next start has what this one had."""
    for number, step in enumerate((4, 5)):
        _write(slot_path(tmp_path, 0, number), step)
    copies = MemoryCopies(tmp_path, IDENTITY, _tensors, is_async=False)
    copies.prepare(0, ())
    assert steps_of(tmp_path, IDENTITY) == [4, 5], "a checkpoint is still to be loaded"
    copies.begin_training()
    assert steps_of(tmp_path, IDENTITY) == []


def test_a_large_state_is_reserved_or_said_to_be_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, state = slot_path(tmp_path, 0, 0), bytes(3 << 20)
    _write(path, 1, state=state)
    assert is_intact(path)
    assert Slot(path, TensorLayout(_tensors())).read(_tensors()) == state, "a new start keeps all of it"
    copies = MemoryCopies(tmp_path, IDENTITY, _tensors, is_async=True)
    plain = torch.save

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    def large(state: object, file: Any) -> None:
        plain(state, file)
        file.write(bytes(2 << 20))

    monkeypatch.setattr("neuron_trainer.checkpoint.memory.copies.torch.save", large)
    monkeypatch.setattr("os.posix_fallocate", full)
    copies.begin(2, {})
    with pytest.raises(InputError, match=r"the copies .* need .*No space left on device.*more shared memory"):
        copies.end_copy()
    assert 2 not in steps_of(tmp_path, IDENTITY)


def test_a_file_of_a_larger_state_gives_its_memory_back(tmp_path: Path) -> None:
    path = tmp_path / "rank-0.0"
    _write(path, 1, state=bytes(3 << 20))
    _write(path, 2)
    Slot(path, TensorLayout(_tensors()))
    assert path.stat().st_size == TensorLayout(_tensors()).end + (1 << 20)
