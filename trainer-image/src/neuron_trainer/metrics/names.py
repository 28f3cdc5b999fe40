"""Names of runs that are shown side by side."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from neuron_api import contract

_VERSION: Final = re.compile(r"\d{4}-\d\d-\d\d|version_\d+|[0-9a-f]{8}-[0-9a-f]{4}")
"""Last part of a log directory that says when or which time a run was started, and not which run it is."""


def by_run(folders: Sequence[Path]) -> dict[str, Path]:
    """Return log directories (or their metrics.jsonl) by the last parts of the path that distinguish them, and by the
    run before a date."""
    runs = [path.parent if path.name == contract.METRICS_FILE else path for path in folders]
    runs = list(dict.fromkeys(path.absolute() for path in runs))
    for depth in range(1, max(len(path.parts) for path in runs) + 1):
        names = ["/".join(path.parts[-depth:]) for path in runs]
        has_version = any(_VERSION.match(name) for name in names) and depth == 1
        if len(set(names)) == len(names) and not has_version:
            break
    return dict(zip(names, runs, strict=True))
