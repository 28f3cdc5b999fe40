"""Every block of every page: its language is named, what it shows can be read, and its commands are run or say why not.

Kind: a page whose commands nobody has tried. Those that need no cluster run in
tests/unit/trainer/test_task_pages.py; here is what holds for all of them.
"""

import json
import re
import subprocess
from typing import Final

import pytest
import yaml

from page_blocks import LANGUAGES, REASONS, ROOT, Block, all_blocks

BLOCKS: Final = all_blocks()
COMMANDS: Final = [block for block in BLOCKS if block.is_commands]


def test_pages_have_blocks_of_every_language() -> None:
    assert {block.language for block in BLOCKS} >= set(LANGUAGES) - {"sh", "python"}
    assert len(COMMANDS) > 80


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_a_block_has_a_language_that_the_site_knows_and_reads_as_such(block: Block) -> None:
    assert block.language in LANGUAGES
    if block.language == "json":
        assert [json.loads(line) for line in block.text.splitlines()]
    if block.language == "yaml":
        assert list(yaml.safe_load_all(re.sub(r"^\s+\.\.\.$", "", block.text, flags=re.MULTILINE)))
    if block.language == "python":
        compile(block.text, str(block), "exec")
    if block.language == "console":
        assert block.text.startswith("$ ")


def test_commands_of_every_page_are_shell() -> None:
    """One shell for all of them: its message has the line."""
    script = "\n".join(f"{block.text}\ntrue {block}" for block in COMMANDS)
    done = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("block", COMMANDS, ids=str)
def test_commands_run_or_the_page_says_why_not(block: Block) -> None:
    if not block.mark.startswith("not run: "):
        assert block.mark in ("", "run: cluster")
        return
    reason = block.mark.removeprefix("not run: ")
    assert reason in REASONS, f"{reason!r} is none of {sorted(REASONS)}"
    assert re.search(REASONS[reason], block.text, re.MULTILINE), f"nothing in the block needs {reason}"


def test_a_mark_stands_before_commands_alone() -> None:
    """A mark that is not directly before a block, or before one of another language, marks nothing."""
    for path in {block.page for block in BLOCKS}:
        marks = re.findall(r"^<!-- (?:not )?run: ", (ROOT / path).read_text(), re.MULTILINE)
        assert len(marks) == sum(bool(block.mark) for block in BLOCKS if block.page == path and block.is_commands), path
