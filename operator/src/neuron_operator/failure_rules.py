"""Where the failure table comes from: the file that the chart mounts, read again when it changes; else the built-in.

A table that is wrong never stops an operator that runs: the last good one stays in use, the log and the metric
`neuron_operator_failure_table_valid` say so. At the start there is no last good one, and the operator ends with a
sentence.
"""

import asyncio
import logging
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Final

from .planning.failures import failure_table
from .planning.failures.failure_table import FailureTable, TableError

log = logging.getLogger(__name__)

FILE: Final = "failure-table.yaml"
SECONDS: Final = 15.0
"""Between two looks at the file; the kubelet itself brings a changed ConfigMap within about a minute."""


@cache
def built_in() -> FailureTable:
    """The table that this version of the operator comes with."""
    text = resources.files(__package__).joinpath(FILE).read_text(encoding="utf-8")
    return failure_table.parse(text, f"built-in {FILE}")


class FailureRules:
    """The table in use."""

    def __init__(self, path: str = "") -> None:
        """Read the file, or the built-in table where there is none; raises `TableError`."""
        self._path, self._text = path, ""
        self.table = built_in()
        self.is_valid = True
        if path:
            self._text = _read(path)
            self.table = failure_table.parse(self._text, path)
        log.info("failure table %s: revision %s", path or "(built in)", self.table.revision or "without a name")

    def __call__(self) -> FailureTable:
        """The table in use; for the controller."""
        return self.table

    def look(self) -> None:
        """Take up the file where it has changed; never raises."""
        try:
            text = _read(self._path)
            if text == self._text:
                self.is_valid = True  # Back to what is in use.
                return
            table = failure_table.parse(text, self._path)
        except TableError as problem:
            if self.is_valid:
                log.error("%s The table of revision %s stays in use.", problem, self.table.revision or "without a name")
            self.is_valid = False
            return
        self._text, self.table, self.is_valid = text, table, True
        log.info("failure table %s: revision %s is in use now", self._path, table.revision or "without a name")

    async def watch(self) -> None:
        """Look again and again, until it is cancelled; the built-in table does not change."""
        while self._path:
            await asyncio.sleep(SECONDS)
            await asyncio.to_thread(self.look)


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise TableError(f"{path}: it cannot be read: {problem}.") from None
