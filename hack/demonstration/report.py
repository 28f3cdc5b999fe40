"""What the faults cost, and whether the numbers are those of a run that nothing happened to."""

import json
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from .kubectl import DemoError


def ledger(job: dict[str, Any], console: Console) -> None:
    """The restart ledger as a table."""
    table = Table(title="restart ledger (status.restarts)", title_justify="left", box=box.SIMPLE)
    for column in ("restarted", "cause", "where", "at step", "resumed from", "steps lost", "seconds"):
        justify = "left" if column in ("restarted", "cause", "where") else "right"
        table.add_column(column, justify=justify, no_wrap=True)
    for entry in job["status"].get("restarts", []):
        where = entry.get("pod", "") + (f" rank {entry['rank']}" if "rank" in entry else "")
        numbers = [entry.get(key) for key in ("step", "resumedFromStep", "stepsLost", "recoverySeconds")]
        texts = ["-" if n is None else f"{float(n):.1f}" if isinstance(n, str) else str(n) for n in numbers]
        table.add_row(entry["restartScope"], entry["cause"], where, *texts)
    console.print(table)


def parse_metrics(text: str) -> dict[int, dict[str, float]]:
    """`metrics.jsonl` by step: of one that was done again, what was done last."""
    rows = [json.loads(line) for line in text.splitlines() if line.endswith("}")]
    return {row["step"]: row for row in rows}


def compare(interrupted: dict[int, dict[str, float]], unbroken: dict[int, dict[str, float]]) -> int:
    """Number of steps whose losses and gradient norms are equal, bit for bit; raises at the first that is not."""
    if interrupted.keys() != unbroken.keys():
        raise DemoError(f"the runs have {len(interrupted)} and {len(unbroken)} steps")
    for step in sorted(interrupted):
        for key in ("loss", "gradient_norm", "lr", "consumed_samples"):
            a, b = interrupted[step].get(key), unbroken[step].get(key)
            if a != b:
                raise DemoError(f"step {step}: {key} is {a!r} in the interrupted run and {b!r} in the unbroken one")
    return len(interrupted)
