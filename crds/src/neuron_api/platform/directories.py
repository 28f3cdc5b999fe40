"""Names of directories that follow from the configuration, shared by trainer and checks."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from neuron_api.config import CheckpointCallbackParams, TrainingConfig
from neuron_api.contract import CHECKPOINT_SUFFIX

DEFAULT_FILENAME: Final = "{epoch}-{step}"
LAST_SUFFIX: Final = "-last"
"""Suffix of the copy that `save_last` refreshes."""

FIELDS: Final[Mapping[str, float]] = {
    "step": 100,
    "epoch": 1,
    "global_step": 100.0,
    "consumed_samples": 1600.0,
    "reduced_train_loss": 2.5,
    "val_loss": 2.5,
}
"""Fields that `filename` may use, each with an example value of its type."""

MAX_NAME: Final = 200
"""Bytes of a checkpoint's name; file systems take 255, and a directory that is moved aside has a longer name."""

_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]")
_FIELD: Final = re.compile(r"\{(.*?)\}")


def as_path_part(name: str) -> str:
    """Return a name as one part of a path, never `..`: letters, digits and `. _ -` stay (NTJ-2001)."""
    part = _UNSAFE.sub("_", name)
    return part.replace(".", "_") if set(part) <= {"."} else part


def experiment_path(config: TrainingConfig, version: str | None) -> str:
    """Return the log directory below `exp_dir`: `name`, and the version if any."""
    name = as_path_part(config.exp_manager.name or config.name)
    return name if version is None else f"{name}/{as_path_part(version)}"


def template_fields(template: str) -> list[str]:
    """Return the fields of `filename`, with their formats (`step:04d`)."""
    return _FIELD.findall(template)


@dataclass(frozen=True, slots=True)
class CheckpointNaming:
    """The naming of checkpoint directories: Lightning's formatting of `filename`, with prefix and postfix.

    `{x}` and `{x:fmt}` become `x=` and the value (without the name, the value alone); `/` in names becomes `_`.
    Integers stay integers and floats are written in full: `hf--step=10-consumed_samples=10240.0.ckpt`.
    """

    template: str | None = None
    prefix: str | None = None
    postfix: str | None = None
    with_names: bool = True

    @classmethod
    def from_params(cls, params: CheckpointCallbackParams) -> "CheckpointNaming":
        """Return the configured naming."""
        return cls(params.filename, params.prefix, params.postfix, params.auto_insert_metric_name)

    def stem(self, values: Mapping[str, float]) -> str:
        """Return the name without suffix; raise `ValueError` for a format that its value does not take."""

        def insert(match: re.Match[str]) -> str:
            key, _, form = match[1].partition(":")
            label = f"{key.replace('/', '_')}=" if self.with_names else ""
            return f"{label}{format(values.get(key, 0), form)}"

        stem = _FIELD.sub(insert, self.template or DEFAULT_FILENAME)
        postfix = (self.postfix or "").removesuffix(CHECKPOINT_SUFFIX)
        return "-".join(filter(None, (self.prefix, stem))) + postfix

    def name(self, values: Mapping[str, float], version: int = 0) -> str:
        """Return the name with suffix; `version` distinguishes directories of one name."""
        return self.stem(values) + (f"-v{version}" if version else "") + CHECKPOINT_SUFFIX
