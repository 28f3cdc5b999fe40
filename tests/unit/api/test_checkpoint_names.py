"""`filename`, `prefix` and `postfix` make the name of one directory, or are refused with NTJ-2223.

The kind: a name that listing, retention and resume would not take for a checkpoint of this run. Tried: separators,
`..`, absolute paths, fields that are not there, formats that a value does not take, control characters, the name of the
copy that `save_last` keeps, and names that no file system takes.
"""

from pathlib import Path
from typing import Any

import pytest
import yaml

from neuron_api.findings.finding import Finding
from neuron_api.loading.loader import load_text
from neuron_api.platform.directories import FIELDS, CheckpointNaming

CONFIG = Path(__file__).parents[2] / "data" / "configs" / "hf_llama3_8B_config.yaml"


def findings(**params: Any) -> list[Finding]:
    values = yaml.safe_load(CONFIG.read_text())
    values["exp_manager"]["checkpoint_callback_params"] |= params
    return [one for one in load_text(yaml.safe_dump(values)).findings if one.code == "NTJ-2223"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("params", "key", "message"),
    [
        ({"filename": "a/b-{step}"}, "filename", "'a/b-{step}' is no name of one directory"),
        ({"filename": "/abs-{step}"}, "filename", "is no name of one directory"),
        ({"filename": "../{step}"}, "filename", "is no name of one directory"),
        ({"filename": "a\\b{step}"}, "filename", "is no name of one directory"),
        ({"filename": "a\nb{step}"}, "filename", "is no name of one directory"),
        ({"filename": ".."}, "filename", "a checkpoint cannot be named '..'"),
        ({"filename": "x-{stpe}"}, "filename", "there is no value 'stpe' to insert: there are step, epoch"),
        ({"filename": "{}"}, "filename", "there is no value ''"),
        ({"filename": "{val/loss}"}, "filename", "there is no value 'val/loss'"),
        ({"filename": "{step:.2q}"}, "filename", "has a format that its value does not take"),
        ({"filename": "{consumed_samples:d}"}, "filename", "has a format that its value does not take"),
        ({"filename": "run-last"}, "filename", "a checkpoint cannot be named 'run-last'"),
        ({"filename": "{step}", "postfix": "-last.ckpt"}, "postfix", "cannot be named 'step=100-last'"),
        ({"filename": "x" * 300}, "filename", "has more than 200 bytes"),
        ({"filename": "\u4e2d" * 100}, "filename", "has more than 200 bytes"),
        ({"prefix": "a/b"}, "prefix", "'a/b' is no name of one directory"),
        ({"postfix": "/../../x"}, "postfix", "is no name of one directory"),
    ],
)  # fmt: skip
def test_a_name_that_would_be_lost_is_refused(params: dict[str, Any], key: str, message: str) -> None:
    (found,) = findings(**params)
    assert found.key == f"exp_manager.checkpoint_callback_params.{key}"
    assert message in found.message


@pytest.mark.parametrize(
    "filename",
    [None, "{epoch}-{step}", "hf--{step}-{consumed_samples}", "{step:06d}", "{val_loss:.3f}-{step}", "plain", "{step",
     "a.b_c d", "Modell-\u00fc-{step}"],
)  # fmt: skip
def test_every_other_name_is_one_directory(filename: str | None) -> None:
    assert findings(filename=filename) == []
    name = CheckpointNaming(filename).name(FIELDS, version=2)
    assert Path(name).name == name
    assert name.endswith("-v2.ckpt")


def test_what_only_the_pod_knows_is_not_judged() -> None:
    assert findings(filename="${oc.env:NAME}-{step}") == []
