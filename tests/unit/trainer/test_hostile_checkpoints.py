"""A checkpoint is data that somebody else may have written: reading one runs nothing, leaves its directory never, and
ends in one sentence.

The kind: everything that a checkpoint brings (index of tensors, trainer state, shards, manifest, a directory of
transformers, neuronx-distributed's files) in the hands of an attacker, through each door: the newest of a run, one that
is given, `checkpoint list | verify | inspect | convert`. Tried: pickles that create a file, wherever one is
unpickled, names with `..`, absolute ones and links, wrong types, depth, size, and shards that are not what the index
says. The attacker computes checksums too, so they are of no help here.
"""

import json
import os
import pickle
import shutil
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed.checkpoint.metadata import Metadata

from neuron_api import contract
from neuron_trainer.__main__ import main
from neuron_trainer.checkpoint import catalog, hf_checkpoint, layout, manifest, reader
from neuron_trainer.checkpoint.shards import ShardReader
from neuron_trainer.checkpoint.staging import CheckpointTensor
from neuron_trainer.errors import CheckpointError, InputError
from neuron_trainer.launcher.checkpoint_selector import CheckpointSelector

from .conftest import alone, typed

pytestmark = pytest.mark.slow

MARK = "was-run"


class Bomb:
    """Unpickled it creates a file in the working directory."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (MARK,)


@pytest.fixture
def checkpoint(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The newest of a copy of the run; the working directory is one where a bomb would show."""
    shutil.copytree(trained, tmp_path / "log")
    monkeypatch.chdir(tmp_path)
    return catalog.complete(tmp_path / "log" / contract.CHECKPOINTS_DIR)[0].path


def sign(checkpoint: Path) -> None:
    """As the attacker does: sizes and checksums of what is there now."""
    path = checkpoint / contract.CHECKPOINT_MANIFEST
    values = json.loads(path.read_text())
    for name in values["files"]:
        if (checkpoint / name).is_file():
            values["files"][name] = manifest.entry(checkpoint / name).model_dump()
    path.write_text(json.dumps(values))


def index_of(checkpoint: Path) -> Metadata:
    return ShardReader(checkpoint).read_metadata()


def put_index(checkpoint: Path, index: object) -> None:
    (checkpoint / layout.TENSOR_INDEX).write_bytes(pickle.dumps(index))


# ---- what an attacker does -------------------------------------------------------------------------------------------


def bomb_for_an_index(checkpoint: Path) -> None:
    put_index(checkpoint, Bomb())


def bomb_inside_an_index(checkpoint: Path) -> None:
    index = index_of(checkpoint)
    index.planner_data = Bomb()
    put_index(checkpoint, index)


def bomb_through_an_attribute_of_torch(checkpoint: Path) -> None:
    """`torch.os` is a name of torch's, and not one of its types."""
    (checkpoint / layout.TENSOR_INDEX).write_bytes(b"\x80\x04\x8c\x05torch\x8c\x08os.mkdir\x93\x8c\x07was-run\x85R.")


def bomb_for_a_state(checkpoint: Path) -> None:
    torch.save(Bomb(), checkpoint / layout.TRAINER_STATE)


def bomb_inside_a_state(checkpoint: Path) -> None:
    state = reader.load_trainer_state(checkpoint)
    torch.save({**state, "callbacks": Bomb()}, checkpoint / layout.TRAINER_STATE)


def bare_pickle_for_a_state(checkpoint: Path) -> None:
    (checkpoint / layout.TRAINER_STATE).write_bytes(pickle.dumps(Bomb()))


def a_list_for_a_state(checkpoint: Path) -> None:
    torch.save([1, 2], checkpoint / layout.TRAINER_STATE)


def a_state_without_a_schedule(checkpoint: Path) -> None:
    state = reader.load_trainer_state(checkpoint)
    del state["lr_schedulers"]
    torch.save(state, checkpoint / layout.TRAINER_STATE)


def a_state_of_another_step(checkpoint: Path) -> None:
    state = reader.load_trainer_state(checkpoint)
    torch.save({**state, "global_step": 10**6}, checkpoint / layout.TRAINER_STATE)


def an_index_that_points_outside(checkpoint: Path) -> None:
    index = index_of(checkpoint)
    for place, name in zip(index.storage_data.values(), cycle(("../other/x", "/etc/passwd", "..")), strict=False):
        place.relative_path = name
    put_index(checkpoint, index)


def an_index_beyond_the_end_of_its_files(checkpoint: Path) -> None:
    index = index_of(checkpoint)
    next(iter(index.storage_data.values())).length = 1 << 60
    put_index(checkpoint, index)


def an_index_of_other_files(checkpoint: Path) -> None:
    index = index_of(checkpoint)
    next(iter(index.storage_data.values())).relative_path = "__7_0.distcp"
    put_index(checkpoint, index)


def an_index_of_wrong_types(checkpoint: Path) -> None:
    put_index(checkpoint, Metadata({"model.a": 3}, storage_data={}))  # type: ignore[dict-item]


def an_index_that_is_a_text(checkpoint: Path) -> None:
    put_index(checkpoint, "index")


def an_empty_index(checkpoint: Path) -> None:
    (checkpoint / layout.TENSOR_INDEX).write_bytes(b"")


def a_shard_that_is_a_link(checkpoint: Path) -> None:
    shard = next(checkpoint.glob("*.distcp"))
    shard.rename(checkpoint.parent / "elsewhere")
    shard.symlink_to(checkpoint.parent / "elsewhere")


def manifest_with(**changes: Any) -> Callable[[Path], None]:
    def change(checkpoint: Path) -> None:
        path = checkpoint / contract.CHECKPOINT_MANIFEST
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return change


ENTRY = {"size": 0, "xxh128": ""}
MANIFESTS = {
    "a path that climbs": manifest_with(files={"../../../etc/passwd": ENTRY}),
    "an absolute path": manifest_with(files={"/etc/passwd": ENTRY}),
    "the directory above": manifest_with(files={"..": ENTRY}),
    "an empty name": manifest_with(files={"": ENTRY}),
    "a name with a zero byte": manifest_with(files={"a\0b": ENTRY}),
    "files as a list": manifest_with(files=["a"]),
    "a negative size": manifest_with(files={"a": {**ENTRY, "size": -1}}),
    "a negative step": manifest_with(step=-1),
    "a step that is a text": manifest_with(step="many"),
    "a list": lambda path: (path / contract.CHECKPOINT_MANIFEST).write_text("[]"),
    "depth": lambda path: (path / contract.CHECKPOINT_MANIFEST).write_text(
        '{"step":' + "[" * 10**5 + "]" * 10**5 + "}"
    ),
    "a gigabyte": lambda path: os.truncate(path / contract.CHECKPOINT_MANIFEST, 1 << 30),
    "bytes": lambda path: (path / contract.CHECKPOINT_MANIFEST).write_bytes(b"\xff\xfe\0"),
}
ATTACKS: dict[str, Callable[[Path], Any]] = {
    **{
        attack.__name__.replace("_", " "): attack
        for attack in (
            bomb_for_an_index, bomb_inside_an_index, bomb_through_an_attribute_of_torch, bomb_for_a_state,
            bomb_inside_a_state, bare_pickle_for_a_state, a_list_for_a_state, a_state_without_a_schedule,
            a_state_of_another_step, an_index_that_points_outside, an_index_beyond_the_end_of_its_files,
            an_index_of_other_files, an_index_of_wrong_types, an_index_that_is_a_text, an_empty_index,
            a_shard_that_is_a_link,
        )
    },
    **{f"a manifest with {name}": attack for name, attack in MANIFESTS.items()},
}  # fmt: skip
attacks = pytest.mark.parametrize("attack", ATTACKS)


def strike(checkpoint: Path, attack: str) -> None:
    ATTACKS[attack](checkpoint)
    if not attack.startswith("a manifest"):
        sign(checkpoint)


def assert_one_sentence(text: str) -> None:
    assert "Traceback" not in text
    assert len(text.strip().splitlines()) == 1, text
    assert not Path(MARK).exists(), "code of the checkpoint was run"


# ---- the doors -------------------------------------------------------------------------------------------------------


@attacks
def test_as_the_newest_of_a_run_it_is_passed_over(attack: str, checkpoint: Path, tiny: Path) -> None:
    strike(checkpoint, attack)
    folder = checkpoint.parent.parent
    chosen = CheckpointSelector(typed(alone(tiny, folder, trainer__max_steps=10)), folder, "").choose()
    assert chosen.checkpoint is not None
    assert "step=4-" in chosen.checkpoint
    assert checkpoint.name in chosen.skipped
    assert_one_sentence(chosen.skipped)


@attacks
def test_a_given_one_is_refused_before_any_process_starts(attack: str, checkpoint: Path, tiny: Path) -> None:
    strike(checkpoint, attack)
    values = alone(tiny, Path("new").absolute(), exp_manager__resume_from_checkpoint=str(checkpoint))
    with pytest.raises(InputError) as refused:
        CheckpointSelector(typed(values), Path("new").absolute(), "").choose()
    assert checkpoint.name in str(refused.value)
    assert_one_sentence(str(refused.value))


@attacks
def test_the_tools_say_what_is_wrong_with_it(attack: str, checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    strike(checkpoint, attack)
    assert main(["checkpoint", "verify", str(checkpoint)]) == 1
    assert_one_sentence(capsys.readouterr().out)
    assert main(["checkpoint", "convert", str(checkpoint), "out", "--to", "hf"]) == 2
    assert_one_sentence(capsys.readouterr().err)
    code = main(["checkpoint", "inspect", str(checkpoint)])
    assert not Path(MARK).exists()
    told = capsys.readouterr()
    assert code == 0 or len(told.err.strip().splitlines()) == 1
    assert main(["checkpoint", "list", str(checkpoint.parent.parent)]) == 0
    assert "step=4" in capsys.readouterr().out, "the others are still listed"


def test_a_shard_that_lies_is_one_error_with_its_directory(checkpoint: Path, tiny: Path, one_process: None) -> None:
    """Its place and size are as the index says; what is there is a pickle that runs code."""
    shard = next(checkpoint.glob("*.distcp"))
    stored = {
        tensor.name: CheckpointTensor(torch.empty(tensor.shape), torch.float32)
        for tensor in reader.tensor_entries(checkpoint)
    }
    shard.write_bytes(pickle.dumps(Bomb()).ljust(shard.stat().st_size, b"\0"))
    sign(checkpoint)
    with pytest.raises(CheckpointError, match=rf"{checkpoint.name} cannot be loaded"):
        reader.load_tensors(checkpoint, lambda _: stored)
    assert not Path(MARK).exists()


# ---- directories of transformers and of neuronx-distributed ----------------------------------------------------------


def hugging_face(folder: Path, files: dict[str, bytes | str]) -> Path:
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def header(length: int, text: bytes) -> bytes:
    return length.to_bytes(8, "little") + text


HUGGING_FACE: dict[str, dict[str, bytes | str]] = {
    "an index that climbs": {hf_checkpoint.INDEX: json.dumps({"weight_map": {"a": "../../etc/passwd"}})},
    "an index of an absolute file": {hf_checkpoint.INDEX: json.dumps({"weight_map": {"a": "/etc/passwd"}})},
    "an index of numbers": {hf_checkpoint.INDEX: json.dumps({"weight_map": {"a": 3}})},
    "an index that is a list": {hf_checkpoint.INDEX: "[]"},
    "an index of a list": {hf_checkpoint.INDEX: '{"weight_map": []}'},
    "an index of a file that is not there": {
        hf_checkpoint.INDEX: json.dumps({"weight_map": {"a": "gone.safetensors"}})
    },
    "a deep index": {hf_checkpoint.INDEX: "[" * 10**5},
    "a header that lies about its length": {hf_checkpoint.SINGLE: header(1 << 50, b"{}")},
    "a header that lies about offsets": {
        hf_checkpoint.SINGLE: header(62, b'{"a":{"dtype":"F32","shape":[9],"data_offsets":[0,99999999]}}  ')
    },
    "a header that is no JSON": {hf_checkpoint.SINGLE: header(4, b"\xff\xff\xff\xff")},
    "an empty file": {hf_checkpoint.SINGLE: b""},
}


@pytest.mark.parametrize("case", HUGGING_FACE)
def test_a_hostile_directory_of_transformers_is_refused(
    case: str, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = hugging_face(
        tmp_path / "hf", {hf_checkpoint.CONFIG: (tiny / "model.json").read_text(), **HUGGING_FACE[case]}
    )
    values = alone(tiny, tmp_path / "new", exp_manager__resume_from_checkpoint=str(model))
    with pytest.raises(InputError, match=r"resume_from_checkpoint: .*cannot be read"):
        CheckpointSelector(typed(values), tmp_path / "new", "").choose()
    assert main(["checkpoint", "convert", str(model), str(tmp_path / "out.ckpt"), "--to", "native"]) == 2
    assert_one_sentence(capsys.readouterr().err)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "pytorch_model.bin.index.json"])
def test_pickled_weights_are_refused_with_the_way_out(
    name: str, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    model = hugging_face(tmp_path / "hf", {hf_checkpoint.CONFIG: "{}", name: pickle.dumps(Bomb())})
    values = alone(tiny, tmp_path / "new", exp_manager__resume_from_checkpoint=str(model))
    with pytest.raises(InputError, match=rf"{name} is a pickle.*safetensors"):
        CheckpointSelector(typed(values), tmp_path / "new", "").choose()
    assert main(["checkpoint", "convert", str(model), str(tmp_path / "out.ckpt"), "--to", "native"]) == 2
    told = capsys.readouterr().err
    assert "is a pickle" in told
    assert_one_sentence(told)


@pytest.mark.parametrize("content", ["bomb", "reference", "list", "bytes"])
def test_hostile_files_of_neuronx_distributed_are_refused(
    content: str, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import yaml

    from neuron_trainer.convert import nxd

    monkeypatch.chdir(tmp_path)
    (tmp_path / "nxd" / "model").mkdir(parents=True)
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(alone(tiny, tmp_path / "log")))
    file = tmp_path / "nxd" / "model" / "dp_rank_00_tp_rank_00_pp_rank_00.pt"
    with nxd._their_class():
        made: dict[str, Any] = {
            "bomb": {"lm_head.weight": Bomb()},
            "reference": {"lm_head.weight": nxd.TensorReference("../../../secret")},  # type: ignore[arg-type]
            "list": [1],
        }
        torch.save(made[content], file) if content in made else file.write_bytes(b"\0" * 100)
    config = ["--config", str(tmp_path / "run.yaml")]
    assert main(["checkpoint", "convert", str(tmp_path / "nxd"), "out", "--to", "hf", *config]) == 2
    assert_one_sentence(capsys.readouterr().err)
