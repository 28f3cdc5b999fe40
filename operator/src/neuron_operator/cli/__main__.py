"""`kubectl-neuron`: found by kubectl as a plugin, so that `kubectl neuron plan` works; or run as it is."""

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final, TextIO

from neuron_api.spec import Accelerator
from neuron_operator.errors import UserInputError

from . import live

_FILES: Final = {
    "plan": "what a NeuronTrainingJob or an NxDT configuration will be: processes, devices, memory, checkpoints",
    "convert": "an NxDT configuration as a NeuronTrainingJob",
}


def _lines(commands: Mapping[str, str]) -> str:
    return "".join(f"  {name:<13}{what}\n" for name, what in commands.items())


_USAGE: Final = f"""\
usage: kubectl neuron COMMAND ...

From a file, without a cluster:
{_lines(_FILES)}
Of a job on the cluster:
{_lines(live.COMMANDS)}
`kubectl neuron COMMAND --help` has the options.
"""

Command = Callable[[Sequence[str]], int]

_CONFIG_ERRORS: Final = 2
"""Also what argparse ends with when it is called wrongly."""


_INTERRUPTED: Final = 130
"""128 + SIGINT, as a shell has it: the way out of `--watch`."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point: 0, 1 when a file or a cluster cannot be read, 2 when the configuration has errors."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    commands: dict[str, Command] = {"plan": _plan, "convert": _convert}
    commands |= {name: partial(live.run, name, write=_write) for name in live.COMMANDS}
    if not given or given[0] not in commands:
        is_help = bool(given) and given[0] in ("-h", "--help", "help")
        _write(_USAGE, sys.stdout if is_help else sys.stderr)
        return 0 if is_help else _CONFIG_ERRORS
    try:
        return commands[given[0]](given[1:])
    except UserInputError as problem:
        _write(f"kubectl neuron: {problem}\n", sys.stderr)
        return 1
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # `| head`: the reader has what it wanted; nothing may be written when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _plan(arguments: Sequence[str]) -> int:
    parser = _parser("plan", "What a job will be, worked out from its configuration without a cluster.")
    parser.add_argument("-o", "--output", choices=("table", "json", "yaml"), default="table", help="default: table")
    parser.add_argument("--model-config", metavar="FILE", help="stands in for model.model_config where it is not here")
    parser.add_argument(
        "--explain",
        metavar="KEY",
        help="what a key means, its type and default, or what a code (NTJ-2302) means; needs no file",
    )
    given = parser.parse_intermixed_args(arguments)
    if given.explain:
        from . import explain

        _write(explain.text(given.explain))
        return 0
    if not given.file:
        parser.error("the following arguments are required: -f/--file")
    from . import plan

    text, has_errors = plan.run(given.file, given.overrides, _platform(given), given.model_config, given.output)
    _write(text)
    return _CONFIG_ERRORS if has_errors else 0


def _convert(arguments: Sequence[str]) -> int:
    parser = _parser("convert", "Wrap an NxDT file into a NeuronTrainingJob; its interpolations stay, comments do not.")
    parser.add_argument("--name", help="metadata.name; default: the configuration's name")
    parser.add_argument("--claim", default="training", help="PersistentVolumeClaim; default: training")
    parser.add_argument("--mount-path", default="/training", help="where it is mounted; default: /training")
    parser.add_argument("--image", help="trainer image; default: the operator's")
    given = parser.parse_intermixed_args(arguments)
    if not given.file:
        parser.error("the following arguments are required: -f/--file")
    from . import convert

    wrapping = convert.Wrapping(given.name, _platform(given), given.claim, given.mount_path, given.image)
    result = convert.run(given.file, given.overrides, wrapping)
    _write(result.remarks, sys.stderr)
    _write(result.text)
    return 0 if result.text else _CONFIG_ERRORS


def _parser(command: str, description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(f"kubectl neuron {command}", description=description)
    parser.add_argument(
        "-f", "--file", help="a NeuronTrainingJob, also among other documents, or an NxDT file; - reads stdin"
    )
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="changes of the configuration, +key=value, ~key"
    )
    parser.add_argument(
        "--instance-type", help="EC2 instance type, trn1.32xlarge; default: the job's, or by trainer.lnc"
    )
    parser.add_argument(
        "--accelerator", type=_accelerator, choices=tuple(Accelerator), metavar="NAME",
        help="Neuron or CPU; default: the job's, or Neuron",
    )  # fmt: skip
    return parser


def _accelerator(text: str) -> str:
    """As the API writes it; the command line takes `cpu`, too."""
    return next((one for one in Accelerator if one.device == text.lower()), text)


def _platform(given: argparse.Namespace) -> tuple[str | None, str | None]:
    return given.accelerator, given.instance_type


def _write(text: str, stream: TextIO | None = None) -> None:
    (stream or sys.stdout).write(text)
    (stream or sys.stdout).flush()


if __name__ == "__main__":
    sys.exit(main())
