"""What ran on the CPU in place of the device is reported, once after the first step and at the end, or ends the run."""

import logging
import os
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

import lightning.pytorch as pl

from neuron_api import contract
from neuron_api.findings.finding import error
from neuron_trainer import accelerators
from neuron_trainer.accelerators import Accelerator, device
from neuron_trainer.errors import InputError

log = logging.getLogger(__name__)

_MAX_NAMES: Final = 8


class CpuFallbacks(pl.Callback):  # type: ignore[misc]
    """Counts operators of the steps; those of the build and of loading are not a step's time."""

    def __init__(self, accelerator: Accelerator, environ: Mapping[str, str] = os.environ) -> None:
        self._accelerator = accelerator
        self._is_refused = environ.get(contract.ENV_REFUSE_FALLBACKS, "").lower() not in ("", "0", "false", "no")
        self._is_first = True
        self.ops: Counter[str] = Counter()
        """By name, how often in this start; those of steps in between are in it at the end."""

    def on_train_start(self, *_: Any) -> None:
        """Begin to count."""
        device.clear_fallbacks(self._accelerator)

    def on_train_batch_end(self, _: pl.Trainer, pl_module: Any, *__: Any) -> None:
        """Look after the first step, which has the operators of all; `InputError` where fallbacks are refused."""
        if self._is_first:
            self._is_first = False
            message = self._read("the first step")
            if message and self._is_refused:
                remedy = "Unset it, or leave out what needs these operators."
                raise InputError([error(contract.ENV_REFUSE_FALLBACKS, message, remedy)])
            pl_module.cpu_fallbacks = len(self.ops)

    def on_train_end(self, _: pl.Trainer, pl_module: Any) -> None:
        """A validation, or a rare batch, may have brought others; the run has not ended for them."""
        self._read("this start")
        pl_module.cpu_fallbacks = len(self.ops)

    def _read(self, when: str) -> str:
        """Log operators that are news; return what is said of them, empty where there are none."""
        before, self.ops = self.ops, device.fallback_ops(self._accelerator)
        if self.ops.keys() <= before.keys():
            return ""
        count = len(self.ops)
        message = f"{count} operator{'s' * (count > 1)} of {when} ran on the CPU: {_names(self.ops)}."
        log.warning(
            "%s: %s Each is a wait and two copies. Set %s=1 to end a run whose steps have any.",
            self._accelerator.name,
            message,
            contract.ENV_REFUSE_FALLBACKS,
        )
        return message


def callbacks(device_type: str) -> list[pl.Callback]:
    """Return the callback of a device; none on the CPU."""
    accelerator = accelerators.get(device_type)
    return [] if accelerator.is_host else [CpuFallbacks(accelerator)]


def _names(ops: Counter[str]) -> str:
    names = [f"{name} ({count})" for name, count in ops.most_common(_MAX_NAMES)]
    more = len(ops) - len(names)
    return ", ".join(names) + (f" and {more} more" if more else "")
