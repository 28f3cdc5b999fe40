"""Names that the configuration gives to directories: what becomes of them in a path. Trainer and checks share it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from neuron_api.config import CheckpointCallbackParams, TrainingConfig
from neuron_api.contract import CHECKPOINT_SUFFIX

DEFAULT_FILENAME: Final = "{epoch}-{step}"
LAST: Final = "-last"
"""Ends the name of the copy that `save_last` refreshes."""

FIELDS: Final[Mapping[str, float]] = {
    "step": 100, "epoch": 1, "global_step": 100.0, "consumed_samples": 1600.0, "reduced_train_loss": 2.5,
    "val_loss": 2.5,
}  # fmt: skip
"""What `filename` may name, with a value of the type that it has."""

MAX_NAME: Final = 200
"""Bytes of a checkpoint's name; file systems take 255, and what is moved aside has a longer one."""

_OTHERS: Final = re.compile(r"[^A-Za-z0-9._-]")
_FIELD: Final = re.compile(r"\{(.*?)\}")


def one_part(name: str) -> str:
    """A name as one part of a path, which neither goes up nor down: letters, digits and `. _ -` stay (NTJ-2001)."""
    part = _OTHERS.sub("_", name)
    return part.replace(".", "_") if set(part) <= {"."} else part


def experiment(config: TrainingConfig, version: str | None) -> str:
    """The log directory below `exp_dir`: `name`, and the version where there is one."""
    name = one_part(config.exp_manager.name or config.name)
    return name if version is None else f"{name}/{one_part(version)}"


def fields(template: str) -> list[str]:
    """Of `filename`, with their formats (`step:04d`)."""
    return _FIELD.findall(template)


@dataclass(frozen=True, slots=True)
class Naming:
    """How a checkpoint directory is named: Lightning's formatting of `filename`, and what stands around it.

    `{x}` and `{x:fmt}` become `x=` and the value (without the name, the value alone); `/` in names becomes `_`.
    Integers stay integers and floats are written in full: `hf--step=10-consumed_samples=10240.0.ckpt`.
    """

    template: str | None = None
    prefix: str | None = None
    postfix: str | None = None
    with_names: bool = True

    @classmethod
    def of(cls, params: CheckpointCallbackParams) -> "Naming":
        """As configured."""
        return cls(params.filename, params.prefix, params.postfix, params.auto_insert_metric_name)

    def stem(self, values: Mapping[str, float]) -> str:
        """Without suffix; raises `ValueError` of a format that its value does not take."""

        def insert(match: re.Match[str]) -> str:
            key, _, form = match[1].partition(":")
            label = f"{key.replace('/', '_')}=" if self.with_names else ""
            return f"{label}{format(values.get(key, 0), form)}"

        stem = _FIELD.sub(insert, self.template or DEFAULT_FILENAME)
        postfix = (self.postfix or "").removesuffix(CHECKPOINT_SUFFIX)
        return "-".join(filter(None, (self.prefix, stem))) + postfix

    def name(self, values: Mapping[str, float], version: int = 0) -> str:
        """With suffix; `version` tells directories of one name apart."""
        return self.stem(values) + (f"-v{version}" if version else "") + CHECKPOINT_SUFFIX
