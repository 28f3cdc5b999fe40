"""Read what the processes of a run did with the stand-in (`NEURON_STANDIN_REPORT`)."""

import json
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Event:
    """Something that was seen as often as `count` says."""

    phase: str
    """build, load, step n, save or evaluate."""
    kind: str
    """wait, late_wait, int64 (an eager operator that takes it through the host), to_host, to_device,
    dynamic, view_write, strided_copy, fallback, rule or collective."""
    detail: str
    line: str
    count: int


@dataclass(frozen=True)
class Report:
    """Of one process."""

    rank: int
    events: list[Event]
    operators: dict[str, dict[str, int]]
    """How often each operator ran, by phase."""

    @cached_property
    def steps(self) -> list[int]:
        """Return the steps that it trained."""
        phases = {one.phase for one in self.events} | set(self.operators)
        return sorted(int(phase.partition(" ")[2]) for phase in phases if phase.startswith("step "))

    def counts(self, phase: str) -> Counter[str]:
        """Return how often each kind was seen in a phase."""
        counts: Counter[str] = Counter()
        for one in self.events:
            if one.phase == phase:
                counts[one.kind] += one.count
        return counts

    def of_kind(self, *kinds: str) -> list[Event]:
        """Return the events of some kinds."""
        return [one for one in self.events if one.kind in kinds]


def read(folder: Path) -> list[Report]:
    """Return the reports of all processes, by rank; of a rank that was started again the later one is the last."""
    files = sorted(folder.glob("rank*.json"), key=lambda file: file.stat().st_mtime_ns)
    reports = [_report(json.loads(file.read_text())) for file in files]
    return sorted(reports, key=lambda one: one.rank)


def _report(values: dict[str, Any]) -> Report:
    events = [Event(**one) for one in values["events"]]
    return Report(values["rank"], events, values["operators"])


def table(reports: list[Report], phase: str, *kinds: str) -> str:
    """Return the lines that caused events of some kinds in a phase, most frequent first; for messages of tests."""
    lines: Counter[tuple[str, str, str]] = Counter()
    for report in reports:
        for one in report.of_kind(*kinds):
            if one.phase == phase:
                lines[(one.kind, one.detail, one.line)] += one.count
    return "\n".join(f"{count:5} {' | '.join(line)}" for line, count in lines.most_common())
