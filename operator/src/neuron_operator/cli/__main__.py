"""`kubectl-neuron`: found by kubectl as a plugin, so that `kubectl neuron plan` works; or run as it is."""

import argparse
import os
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Final, TextIO

from neuron_api import version
from neuron_api.findings.suggestions import nearest
from neuron_api.resource.spec import Accelerator
from neuron_operator.kube.errors import ClusterError, UserInputError

from .live import commands as live

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
`kubectl neuron COMMAND --help` has the options, `kubectl neuron version` the version.
"""

Command = Callable[[Sequence[str]], int]

_CLUSTER_ERRORS: Final = 1
_CONFIG_ERRORS: Final = 2
"""Also what argparse ends with when it is called wrongly."""
_HELP: Final = ("-h", "--help", "help")
_VERSION: Final = ("--version", "version")


_INTERRUPTED: Final = 130
"""128 + SIGINT, as a shell has it: the way out of `--watch`."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point: 0, 1 when the cluster does not do it, 2 when the configuration or the command line is wrong."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    commands: dict[str, Command] = {"plan": _plan, "convert": _convert}
    commands |= {name: partial(live.run, name, write=_write) for name in live.COMMANDS}
    if not words or words[0] not in commands:
        return _without_command(words[0] if words else "", commands)
    try:
        return commands[words[0]](words[1:])
    except UserInputError as problem:
        _write(f"kubectl neuron: {problem}\n", sys.stderr)
        return _CLUSTER_ERRORS if isinstance(problem, ClusterError) else _CONFIG_ERRORS
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # `| head`: the reader has what it wanted; nothing may be written when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _without_command(word: str, commands: Collection[str]) -> int:
    """Help, the version, or what is wrong with the first word."""
    if word in _HELP:
        _write(_USAGE)
    elif word in _VERSION:
        _write(f"kubectl-neuron {version()}\n")
    elif not word:
        _write(_USAGE, sys.stderr)
    else:
        near = nearest(word, commands)
        hint = f"did you mean {near}?" if near else f"commands: {', '.join(commands)}"
        _write(f"kubectl neuron: unknown command {word!r}; {hint}\n", sys.stderr)
    return 0 if word in (*_HELP, *_VERSION) else _CONFIG_ERRORS


def _plan(arguments: Sequence[str]) -> int:
    parser = _parser("plan", "What a job will be, worked out from its configuration without a cluster.")
    parser.add_argument("-o", "--output", choices=("table", "json", "yaml"), default="table", help="default: table")
    parser.add_argument("--model-config", metavar="FILE|NAME", help="stands in for model.model_config where it is not here: a config.json, or a published model such as meta-llama/Llama-3.1-8B")
    parser.add_argument(
        "--explain",
        metavar="KEY",
        help="what a key means, its type and default, or what a code (NTJ-2302) means; needs no file",
    )
    options = _parsed(parser, arguments, needs_file=False)
    if options.explain:
        from .files import explain

        _write(explain.text(options.explain))
        return 0
    if not options.files:
        parser.error(_NO_FILE)
    from .files import plan

    text, has_errors = plan.run(
        options.files, options.overrides, _platform(options), options.model_config, options.output
    )
    _write(text)
    return _CONFIG_ERRORS if has_errors else 0


def _convert(arguments: Sequence[str]) -> int:
    parser = _parser("convert", "Wrap an NxDT file into a NeuronTrainingJob; its interpolations stay, comments do not.")
    parser.add_argument("--name", help="metadata.name; default: the configuration's name")
    parser.add_argument("--claim", help="PersistentVolumeClaim; default: training")
    parser.add_argument("--mount-path", help="where it is mounted; default: /training")
    parser.add_argument("--image", help="trainer image; default: the operator's")
    parser.add_argument(
        "--rewrite",
        metavar="OLD=NEW",
        action="append",
        default=[],
        help="move paths: /home/ubuntu=/fsx makes /fsx/data of /home/ubuntu/data; may be given several times",
    )
    parser.add_argument("--force", action="store_true", help="write a job that has errors, too")
    options = _parsed(parser, arguments, needs_file=True)
    from .files import convert

    rewrites = [_rewrite(parser, text) for text in options.rewrite]
    wrapping = convert.Wrapping(
        options.name, _platform(options), options.claim, options.mount_path, options.image, rewrites
    )
    results = convert.run_all(options.files, options.overrides, wrapping)
    is_refused = any(result.is_refused for result in results)
    _write("".join(result.remarks for result in results), sys.stderr)
    if is_refused and not options.force:
        _write("kubectl neuron: no job was written, since it would be rejected; --force writes it\n", sys.stderr)
        return _CONFIG_ERRORS
    _write("---\n".join(result.text for result in results if result.text))
    return 0 if all(result.text for result in results) else _CONFIG_ERRORS


def _rewrite(parser: argparse.ArgumentParser, text: str) -> tuple[str, str]:
    old, _, new = text.partition("=")
    if not (old.startswith("/") and new.startswith("/")):
        parser.error(f"--rewrite {text}: two absolute paths are required, for example /home/ubuntu=/fsx")
    return old, new


_NO_FILE: Final = "-f FILE is required"


def _parsed(parser: argparse.ArgumentParser, arguments: Sequence[str], *, needs_file: bool) -> argparse.Namespace:
    """The arguments; a file that is given without -f is not taken for an override."""
    options = parser.parse_intermixed_args(arguments)
    for word in options.overrides:
        if "=" not in word and not word.startswith("~"):
            parser.error(f"{word!r} is neither key=value nor ~key; give a file with -f {word}")
    if needs_file and not options.files:
        parser.error(_NO_FILE)
    return options


def _parser(command: str, description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(f"kubectl neuron {command}", description=description)
    parser.add_argument(
        "-f",
        "--file",
        dest="files",
        action="append",
        metavar="FILE",
        help="a NeuronTrainingJob, also among other documents, or an NxDT file; - reads stdin; a folder: its YAML and "
        "JSON files; may be given several times",
    )
    parser.add_argument(
        "overrides", nargs="*", default=[], metavar="key=value", help="changes of the configuration, +key=value, ~key"
    )
    parser.add_argument(
        "--instance-type", help="EC2 instance type, trn2.48xlarge; default: the job's, or by trainer.lnc"
    )
    parser.add_argument(
        "--accelerator",
        type=_accelerator,
        choices=tuple(map(str, Accelerator)),
        metavar="NAME",
        help="Neuron, CPU or CUDA; default: the job's, or Neuron",
    )
    return parser


def _accelerator(text: str) -> str:
    """Return the name as the API writes it; the command line takes `cpu`, too."""
    return next((accelerator for accelerator in Accelerator if accelerator.device == text.lower()), text)


def _platform(options: argparse.Namespace) -> tuple[str | None, str | None]:
    return options.accelerator, options.instance_type


def _write(text: str, stream: TextIO | None = None) -> None:
    (stream or sys.stdout).write(text)
    (stream or sys.stdout).flush()


if __name__ == "__main__":
    sys.exit(main())
