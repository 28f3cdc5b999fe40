"""The command line of `neuron-train doctor`; every help text says what the default means."""

import argparse
import os
from pathlib import Path
from typing import Any, Final

from neuron_api import contract
from neuron_api.resource.accelerator import Accelerator, Stack

NAMES: Final = tuple(
    dict.fromkeys([*(accelerator.device for accelerator in Accelerator), *(stack.device for stack in Stack)])
)
"""Of devices: what the operator hands to a pod, `xla` on Trn1."""


def add_doctor(commands: Any) -> None:
    """Add the command and its options."""
    doctor = commands.add_parser(
        "doctor", help="can a training run here? devices, versions, network, limits, a collective, a compilation"
    )
    add = doctor.add_argument
    # fmt: off
    add("--accelerator", choices=NAMES, metavar="NAME",
        default=os.environ.get(contract.ENV_ACCELERATOR, "cpu"),
        help="cpu, neuron, cuda or, on Trn1, xla; default: what the operator says, else cpu")
    add("--processes", type=_positive, metavar="N",
        help="processes of the collective; default: the logical cores that neuron-ls lists, 2 without any; with it the "
        "devices are used even where none is seen")
    add("--timeout", type=_positive, default=300, metavar="SECONDS",
        help="for each use of the devices, which is ended after that; default 300")
    add("--no-trials", action="store_true", help="look only, and use no device")
    add("--cache", type=Path, default=Path("compile-cache"), metavar="DIR",
        help="where the compiled graphs of a run are to be kept; default ./compile-cache")
    add("--report", type=Path, metavar="FILE",
        help="write what was seen, without secrets, to send it back; JSON for .json, else lines with JSON below")
    # fmt: on


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no positive number")
    return int(text)
