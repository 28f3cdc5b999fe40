"""docs/reference/comparison-of-tools.md: its numbers are those of its commands, and our own commands can be typed.

Kind: a table whose commands change while its numbers stay, or that shows a flag that was removed. It does not prove
what the peers' programs take: their commands were read in their sources.
"""

import ast
import inspect
import io
import re
import shlex
import tokenize
import typing
from collections.abc import Iterator
from typing import Final, NamedTuple

import pytest

from neuron_client import Job, NeuronTrainingClient
from neuron_operator.cli.dashboard import command as dashboard
from neuron_operator.cli.files import arguments
from neuron_operator.cli.live import commands
from page_blocks import ROOT

PAGE: Final = (ROOT / "docs" / "reference" / "comparison-of-tools.md").read_text()
TOOLS: Final = ("kubectl neuron", "neuron_client", "kubectl", "TrainerClient", "kubectl ray", "kueuectl")
NOTHING: Final = "–"
WORDS: Final = (tokenize.NAME, tokenize.NUMBER, tokenize.STRING)


class Row(NamedTuple):
    """What a tool needs for a task."""

    task: str
    tool: str
    commands: tuple[str, ...]
    words: str

    @property
    def is_own(self) -> bool:
        """Whether the tool does it, not kubectl in its place."""
        return self.words.isdecimal()


def rows() -> Iterator[Row]:
    """Yield the rows of the tables below the summary."""
    for section in PAGE.partition("\n## The commands\n")[2].split("\n### ")[1:]:
        task = section.partition("\n")[0]
        for tool, cell, words in re.findall(r"^\| `([^`]+)` \| (.+?) \| (\(?\d+\)?|–) \| ", section, re.MULTILINE):
            yield Row(task, tool, tuple(re.findall(r"`([^`]+)`", cell)), words)


def count(command: str) -> int:
    """Words of a command as a shell splits it; names, numbers and texts of a call."""
    if is_shell(command):
        return len(shlex.split(command))
    return sum(token.type in WORDS for token in tokenize.generate_tokens(io.StringIO(command).readline))


def is_shell(command: str) -> bool:
    return command.startswith(("kubectl ", "kueuectl ", "neuron-train "))


ROWS: Final = tuple(rows())
OWN: Final = sorted({command for row in ROWS for command in row.commands if row.tool in TOOLS[:2] and row.is_own})


def test_every_task_has_a_row_for_every_tool() -> None:
    tasks = list(dict.fromkeys(row.task for row in ROWS))
    assert len(tasks) > 12
    assert [(row.task, row.tool) for row in ROWS] == [(task, tool) for task in tasks for tool in TOOLS]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.task}-{row.tool}")
def test_the_number_is_that_of_the_words(row: Row) -> None:
    total = sum(map(count, row.commands))
    assert row.words in ((str(total), f"({total})") if row.commands else (NOTHING,))
    # In brackets: kubectl in place of the tool.
    assert row.is_own or all(re.match(r"kubectl (?!neuron|ray)", command) for command in row.commands)


def test_the_summary_has_the_same_numbers() -> None:
    header, _, *lines = PAGE.partition("\n## Words\n")[2].strip().partition("\n\n")[0].splitlines()
    assert re.findall(r"`([^`]+)`", header) == list(TOOLS)
    summary = {re.sub(r"\[(.+)\]\(.+\)", r"\1", cells[0]): cells[1:] for cells in map(split, lines)}
    assert summary == {task: [row.words for row in ROWS if row.task == task] for task in {row.task for row in ROWS}}


def split(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_words_are_counted() -> None:
    assert count("""kubectl patch ntj llama --patch '{"spec": {"suspend": true}}'""") == 6
    assert count('client.logs("llama", follow=True, tail=10)') == 7


@pytest.mark.parametrize("command", [command for command in OWN if command.startswith("kubectl neuron ")])
def test_our_commands_are_parsed(command: str) -> None:
    name, *words = shlex.split(command)[2:]
    parser = {
        "plan": arguments.plan_parser,
        "convert": arguments.convert_parser,
        "submit": arguments.submit_parser,
        "dashboard": dashboard.parser,
    }.get(name, lambda: commands.parser(name))()
    parser.parse_intermixed_args(words)  # as submit does


@pytest.mark.parametrize("call", [command for command in OWN if not is_shell(command)])
def test_our_calls_have_these_arguments_and_fields(call: str) -> None:
    expression = ast.parse(call, mode="eval").body
    if isinstance(expression, ast.Attribute):
        assert expression.attr in typing.get_type_hints(Job)
        expression = expression.value
    assert isinstance(expression, ast.Call)
    function, positional = expression.func, [ast.literal_eval(argument) for argument in expression.args]
    names = {keyword.arg: ast.literal_eval(keyword.value) for keyword in expression.keywords if keyword.arg}
    if isinstance(function, ast.Attribute):
        inspect.signature(getattr(NeuronTrainingClient, function.attr)).bind(None, *positional, **names)
    else:
        assert call.startswith(f"{NeuronTrainingClient.__name__}(")
        inspect.signature(NeuronTrainingClient).bind(*positional, **names)
