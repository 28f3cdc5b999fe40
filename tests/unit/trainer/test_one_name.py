"""Checkpoints that have one name: the old one goes when the new one is complete, so one is whole at every instant.

The kind: `filename` without a field, the copy of `save_last`, the same step saved again, a name that another run's
checkpoint has. The process is killed before each change of the file system that a save and the tidying after it make.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from neuron_api import contract
from neuron_trainer.checkpoint import complete, layout, manifest, retention, verify, writer
from neuron_trainer.ipc.worker_channel import Start
from neuron_trainer.storage import places

from .conftest import alone, train, typed

pytestmark = [pytest.mark.usefixtures("one_process"), pytest.mark.slow]


def values(tiny: Path, folder: Path, **params: Any) -> dict[str, Any]:
    changes = {f"exp_manager__checkpoint_callback_params__{key}": value for key, value in params.items()}
    return alone(tiny, folder, trainer__max_steps=4, **changes)


@pytest.mark.parametrize("save_last", [False, True])
def test_checkpoints_of_one_name_replace_each_other(tiny: Path, tmp_path: Path, save_last: bool) -> None:
    run = values(tiny, tmp_path, filename="plain", every_n_train_steps=1, save_top_k=1, save_last=save_last)
    folder = train(run) / contract.CHECKPOINTS_DIR
    assert [(one.step, layout.is_last(one.path)) for one in complete(folder)] == [(4, False)] + [(4, True)] * save_last
    for one in complete(folder):
        verify(one.path)


class Killed(BaseException):
    """The process ends here."""


@contextmanager
def killed_at(monkeypatch: pytest.MonkeyPatch, instant: int) -> Iterator[list[str]]:
    """Before the change of that number; gives the changes that were made."""
    made: list[str] = []

    def counted(name: str, plain: Callable[..., Any]) -> Callable[..., Any]:
        def change(*arguments: Any, **named: Any) -> Any:
            if len(made) == instant:
                raise Killed
            made.append(name)
            return plain(*arguments, **named)

        return change

    with monkeypatch.context() as patched:
        for owner, name in ((places, "write"), (places, "remove_tree"), (places, "make"), (places, "copy")):
            patched.setattr(owner, name, counted(name, getattr(owner, name)))
        patched.setattr(Path, "unlink", counted("unlink", Path.unlink))
        yield made


def test_a_kill_at_any_instant_leaves_one_that_is_complete(
    trained: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With and without the copy of save_last, which has one name then, too."""
    params = typed(values(tiny, tmp_path, filename="plain", save_top_k=1, save_last=True)).exp_manager
    instants = 0
    for instant in range(1000):
        folder = tmp_path / str(instant)
        source = complete(trained / contract.CHECKPOINTS_DIR)[-1].path
        shutil.copytree(source, folder / "plain.ckpt")
        writer.copy_as_last(folder / "plain.ckpt")
        with killed_at(monkeypatch, instant) as made:
            try:
                new = folder / "plain-v1.ckpt"
                places.make(new)
                for path in source.iterdir():
                    if path.name != contract.CHECKPOINT_MARKER:
                        places.write(new / path.name, path.read_bytes())
                layout.mark_complete(new)
                writer.copy_as_last(new)
                retention.remove_replaced(new, "")
                retention.apply(folder, new, params.checkpoint_callback_params)
            except Killed:
                instants += 1
        assert complete(folder), made
        verify(complete(folder)[0].path)
        assert [one for one in complete(folder) if layout.is_last(one.path)], f"no last copy after {made}"
        if len(made) < instant:
            break
        shutil.rmtree(folder)
    assert instants > 10
    assert sorted(one.path.name for one in complete(folder)) == ["plain-v1-last.ckpt", "plain-v1.ckpt"]


def test_another_run_s_checkpoint_of_the_same_name_is_left_alone(tiny: Path, tmp_path: Path) -> None:
    """The same configuration in the same directory, with resume off: steps and names are those of the run before."""
    run = values(tiny, tmp_path, every_n_train_steps=2, save_top_k=1)
    folder = train(run, replace(Start(0), run_id="first")) / contract.CHECKPOINTS_DIR
    (before,) = complete(folder)
    content = {path.name: path.read_bytes() for path in before.path.iterdir()}
    train(run, replace(Start(0), run_id="second"))
    assert {path.name: path.read_bytes() for path in before.path.iterdir()} == content
    assert sorted(manifest.read(path).run_id for path in folder.iterdir()) == ["first", "second"]
    assert sorted(path.name for path in folder.iterdir()) == [
        before.path.name.removesuffix(".ckpt") + "-v1.ckpt", before.path.name,
    ]  # fmt: skip
