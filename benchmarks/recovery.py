"""From a fault to the next step, on the real local cluster, and where the time goes. `make bench-recovery`."""

import argparse
import json
import os
import sys
from pathlib import Path

from rich.console import Console

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "hack"))

from trials import cluster_fixture, recovery  # noqa: E402


def main() -> int:
    """0 when every target is met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tries", type=int, default=12, help="of each fault; default: 12")
    parser.add_argument("--only", default="", help="a part of the faults' names")
    parser.add_argument("--json", type=Path, help="write every try here")
    given = parser.parse_args()
    place = cluster_fixture.prepare(Console(highlight=False, soft_wrap=True))
    causes = [cause for cause in recovery.CAUSES if given.only in cause.name]
    series = [recovery.measure(place, cause, given.tries) for cause in causes]
    print("\n".join(recovery.table(series)))
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    if given.json:
        given.json.write_text(json.dumps(recovery.as_json(series), indent=1) + "\n")
    missed = [
        one for one in series if one.cause.target and sorted(one.totals())[len(one.tries) // 2] > one.cause.target
    ]
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
