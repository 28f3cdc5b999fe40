"""`kubectl_complete-neuron`: what kubectl asks for completions of `kubectl neuron …`, in bash, zsh and fish.

kubectl runs it with the words after `neuron`, the last of which is being typed, and reads a completion a line and then
a directive of cobra's (`:4`: these and no files). It must be on the PATH as kubectl-neuron is. Nothing that fails here
may reach the terminal: a cluster that is away has no completions.
"""

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

from neuron_api.platform.instances import INSTANCE_TYPES
from neuron_api.published_models import catalog
from neuron_operator.kube.errors import UserInputError

from . import completion_scripts as scripts
from .dashboard import command as dashboard
from .files import arguments
from .live import commands

_NO_FILES: Final = 4
"""ShellCompDirectiveNoFileComp."""
_FILES: Final = 0
"""ShellCompDirectiveDefault: files, where there is no completion."""
_DASHBOARD: Final = "dashboard"
_COMPLETION: Final = "completion"
_TIMEOUT: Final = 3.0
"""Seconds for which a person waits at a tab."""
_FROM_FILE: Final[Mapping[str, Callable[[], argparse.ArgumentParser]]] = {
    "plan": arguments.plan_parser,
    "convert": arguments.convert_parser,
    "submit": arguments.submit_parser,
}

Completions = tuple[list[str], int]


def main(words: Sequence[str] | None = None) -> int:
    """Entry point: print completions and the directive; always 0."""
    lines, directive = complete(list(sys.argv[1:] if words is None else words), job_names)
    sys.stdout.write("".join(f"{line}\n" for line in (*lines, f":{directive}")))
    return 0


def complete(words: Sequence[str], jobs: Callable[[argparse.Namespace], Iterable[str]]) -> Completions:
    """Return completions of the last word, and the directive; `jobs` lists the names of a cluster."""
    *before, current = words or [""]
    if not before:
        names = (*_FROM_FILE, *commands.COMMANDS, _DASHBOARD, _COMPLETION, "version", "help")
        return _starting(names, current), _NO_FILES
    parser = _parser(before[0])
    if parser is None:
        return [], _NO_FILES
    options = {flag: action for action in parser._actions for flag in action.option_strings}
    flag, equals, value = current.partition("=")
    if equals and flag in options:
        choices, directive = _values(options[flag], value)
        return [f"{flag}={choice}" for choice in choices], directive
    if before[-1] in options and _takes_value(options[before[-1]]):
        return _values(options[before[-1]], current)
    if current.startswith("-"):
        return _starting(options, current), _NO_FILES
    if before[0] in _FROM_FILE:
        return [], _FILES
    if before[0] == _DASHBOARD:
        return [], _NO_FILES
    if before[0] == _COMPLETION:
        return _starting(scripts.SCRIPTS, current), _NO_FILES
    return _starting(jobs(_cluster_flags(before[1:])), current), _NO_FILES


def job_names(options: argparse.Namespace) -> Iterator[str]:
    """Yield the jobs of the namespace that the flags so far name; none where the cluster does not answer."""
    from .live.connection import connect

    try:
        with connect(commands.access(options), timeout=_TIMEOUT) as connection:
            yield from (str(job["metadata"]["name"]) for job in connection.jobs())
    except UserInputError:
        return


def _cluster_flags(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False, allow_abbrev=False)
    commands.add_cluster_options(parser)
    try:
        return parser.parse_known_args(list(words))[0]
    except argparse.ArgumentError:
        return parser.parse_args([])


def _parser(command: str) -> argparse.ArgumentParser | None:
    command = commands.ALIASES.get(command, command)
    if command == _DASHBOARD:
        return dashboard.parser()
    if command == _COMPLETION:
        return scripts.parser()
    if command in _FROM_FILE:
        return _FROM_FILE[command]()
    return commands.parser(command) if command in commands.COMMANDS else None


def _values(action: argparse.Action, current: str) -> Completions:
    """Return what may follow a flag."""
    if action.choices is not None:
        return _starting(map(str, action.choices), current), _NO_FILES
    match action.dest:
        case "instance_type":
            return _starting(INSTANCE_TYPES, current), _NO_FILES
        case "model_config":
            return _starting(catalog.names(), current), _FILES
        case "explain":
            return _starting(_keys(), current), _NO_FILES
        case "context":
            return _starting(_contexts(), current), _NO_FILES
        case "files" | "kubeconfig":
            return [], _FILES
    return [], _NO_FILES


def _keys() -> Iterator[str]:
    from neuron_api.schema.key_path import all_paths

    yield from (path for path, _ in all_paths())


def _contexts() -> Iterator[str]:
    from .live.kubeconfig import contexts

    yield from contexts()


def _takes_value(action: argparse.Action) -> bool:
    return action.nargs != 0


def _starting(names: Iterable[str], current: str) -> list[str]:
    return [name for name in names if name.startswith(current)]


if __name__ == "__main__":
    sys.exit(main())
