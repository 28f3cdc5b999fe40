"""`kubectl-neuron`: found by kubectl as a plugin, so that `kubectl neuron plan` works; or run as it is."""

import argparse
import os
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, TextIO

from neuron_api import version
from neuron_api.findings.suggestions import nearest
from neuron_operator.kube.errors import ClusterError, UserInputError

from .live import commands as live

if TYPE_CHECKING:
    from .files.platform_flags import PlatformFlags

_FILES: Final = {
    "plan": "what a NeuronTrainingJob or an NxDT configuration will be: processes, devices, memory, checkpoints",
    "convert": "an NxDT configuration as a NeuronTrainingJob",
    "completion": "a script for bash, zsh or fish that completes kubectl-neuron, where kubectl does not do it",
}
_START: Final = {
    "submit": "create a job from an NxDT file: convert, check, create, follow (--dry-run, --no-follow)",
    "dashboard": "a page in the browser: all jobs, and one job with curves, restarts, conditions, logs",
}


def _lines(commands: Mapping[str, str]) -> str:
    return "".join(f"  {name:<13}{what}\n" for name, what in commands.items())


_USAGE: Final = f"""\
usage: kubectl neuron COMMAND ...

From a file, without a cluster:
{_lines(_FILES)}
On the cluster:
{_lines(_START)}{_lines({name: command.summary for name, command in live.COMMANDS.items()})}
`kubectl neuron COMMAND --help` has the options, `kubectl neuron version` the version.

Exit codes: 0 done; 1 the cluster does not do it, or has no such job; 2 the command line, a file or a configuration is
wrong; 3 the job that was followed (--watch, --follow) has failed; 130 interrupted.
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
    commands: dict[str, Command] = {"plan": _plan, "convert": _convert, "completion": _completion}
    commands |= {"submit": _submit, "dashboard": _dashboard}
    commands |= {name: partial(live.run, name, write=_write) for name in (*live.COMMANDS, *live.ALIASES)}
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
    from .files import arguments as flags

    parser = flags.plan_parser()
    options = flags.parsed(parser, arguments, needs_file=False)
    if options.explain:
        from .files import explain

        _write(explain.text(options.explain))
        return 0
    if not options.files:
        parser.error(flags.NO_FILE)
    from .files import plan

    text, has_errors = plan.run(
        options.files, options.overrides, _platform(options), options.model_config, options.output, options.previous
    )
    _write(text)
    return _CONFIG_ERRORS if has_errors else 0


def _convert(arguments: Sequence[str]) -> int:
    from .files import arguments as flags

    parser = flags.convert_parser()
    options = flags.parsed(parser, arguments, needs_file=True)
    from .files import convert

    rewrites = [flags.rewrite(parser, text) for text in options.rewrite]
    wrapping = convert.Wrapping(
        options.name, _platform(options), options.claim, options.mount_path, options.image, rewrites
    )
    results = convert.run_all(options.files, options.overrides, wrapping)
    is_refused = any(result.is_refused for result in results)
    _write("".join(result.remarks for result in results), sys.stderr)
    if is_refused and not options.force:
        _write("kubectl neuron: no job was written, since it would be rejected; --force writes it\n", sys.stderr)
        return _CONFIG_ERRORS
    _write(convert.joined(results, options.output))
    return 0 if all(result.text for result in results) else _CONFIG_ERRORS


def _dashboard(arguments: Sequence[str]) -> int:
    from .dashboard import command

    return command.run(arguments, _write)


def _completion(arguments: Sequence[str]) -> int:
    from . import completion_scripts

    return completion_scripts.run(arguments, _write)


def _submit(arguments: Sequence[str]) -> int:
    from .files import arguments as flags
    from .submission import submit

    parser = flags.submit_parser()
    options = parser.parse_intermixed_args(arguments)
    flags.check_overrides(parser, options.overrides)
    request = submit.Request(
        file=options.file,
        overrides=options.overrides,
        name=options.name,
        nodes=options.nodes,
        platform=_platform(options),
        storage=flags.storage(parser, options.storage),
        image=options.image,
        rewrites=tuple(flags.rewrite(parser, text) for text in options.rewrite),
    )
    return submit.run(request, options, _write)


def _platform(options: argparse.Namespace) -> "PlatformFlags":
    from .files.platform_flags import PlatformFlags

    return PlatformFlags(options.accelerator, options.instance_type, options.neuron_devices, options.efa_interfaces)


def _write(text: str, stream: TextIO | None = None) -> None:
    (stream or sys.stdout).write(text)
    (stream or sys.stdout).flush()


if __name__ == "__main__":
    sys.exit(main())
