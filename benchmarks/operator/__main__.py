"""The operator against its limit and its peers, in one run on one API server. `make bench-operator`.

    O1 one job, O2 bursts        seconds until all pods are there, against a bare client that only POSTs them
    O3 writes per job            from the audit log
    O4 CPU time, O5 memory       until all pods run; the operator's, and etcd's and the API server's
    O6 failures                  a pod's successor, 1,000 times; a whole gang
    O7 restart, O8 idle          the operator is killed with many live jobs; nothing happens

Rounds are interleaved: each subject in turn, alone, in a process of its own. There are no kubelets: kwok makes pods run
(not in O1 and O2, which end with the creation), their progress reports come from one small server. One JSON line per
case: medians, ratio, band of the rounds, the bar; a run whose bare client moved by more than 1.5 is thrown away.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "hack"))

import bursts
import failures
import peers
import pictures
import standing
import writes
from reports import reporting
from results import MOST_DRIFT, Results
from servers import Servers, kwok, serving
from subjects import running
from work import Field

from controlplane.shell import tail
from controlplane.toolchain import KUBERNETES

ALL = ("created", "running", "writes", "failures", "restart", "idle", "curves")
PEERS = ("tuned", "shipped")


def main() -> int:
    """0 when every bar that was measured is met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="without the peers, small, under 3 minutes")
    parser.add_argument("--only", default=",".join(ALL), help=f"parts, of {','.join(ALL)}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="file that the lines are added to")
    parser.add_argument("--pictures", type=Path, help="folder for the curves")
    chosen = parser.parse_args()
    results = Results(peers.versions() | {"kubernetes": KUBERNETES}, chosen.out)
    asyncio.run(_run(chosen, results))
    missed = [line["case"] for line in results.lines if line.get("met") is False]
    if missed:
        print(f"not met: {'; '.join(missed)}", file=sys.stderr)
    return 1 if missed else 0


async def _run(chosen: argparse.Namespace, results: Results) -> None:
    parts = [part for part in ALL if part in chosen.only.split(",")]
    others = () if chosen.quick else PEERS
    programs = peers.programs(*(peers.QUICK if chosen.quick else peers.PACKAGES))
    async with serving() as servers, reporting() as reports:
        _progress("servers are up")
        field = await _field(servers, programs["floor"])
        _progress("warmed up")
        rounds = 2 if chosen.quick else chosen.rounds
        if "created" in parts:
            _progress("created")
            await _created(field, results, rounds, others)
        if "curves" in parts and not chosen.quick:
            _progress("curves")
            await _curves(field, results, chosen.pictures)
        with ExitStack() as stack:
            if set(parts) - {"created", "curves"}:
                stack.enter_context(kwok(servers, programs["kwok"], reports.address))
            if "running" in parts:
                _progress("running")
                await _running(field, results, 1 if chosen.quick else min(3, rounds), others)
            if "writes" in parts:
                _progress("writes")
                await _writes(field, results, others)
            if "failures" in parts:
                _progress("failures")
                await _failures(field, results, others)
            if "restart" in parts:
                _progress("restart")
                await standing.restarted(field, results, 100 if chosen.quick else 1000)
            if "idle" in parts:
                _progress("idle")
                await standing.idle(field, results, reports, 100 if chosen.quick else 500, 20 if chosen.quick else 60)


def _progress(text: str) -> None:
    """For whoever waits."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


async def _field(servers: Servers, floor: Path) -> Field:
    """With one of our pods as the bare client and the peers are to make them."""
    field = Field(servers, floor, {})
    async with running("ours", servers):
        await field.learn()
    return field


async def _created(field: Field, results: Results, rounds: int, others: Sequence[str]) -> None:
    """O1 and O2."""
    small, large = [(1, 1), (1, 8), (1, 64), (10, 8), (10, 64), (100, 8)], [(1000, 8)]
    for _ in range(rounds):
        await bursts.created(field, results, "floor", small)
        await bursts.created(field, results, "limit", small[2:])
        await bursts.created(field, results, "ours", small)
        if "tuned" in others:
            await bursts.created(field, results, "tuned", small)
    if others:
        try:
            await bursts.created(field, results, "shipped", [(1, 64), (10, 8)])
        except RuntimeError as problem:  # What was measured of the others is not lost for it.
            said = tail(field.servers.audit_log.parent / "shipped.log")[-600:]
            results.say(case="created shipped", not_measured=f"{problem}: {said}")
        for _ in range(min(3, rounds)):
            await bursts.created(field, results, "floor", large)
            await bursts.created(field, results, "limit", large)
            await bursts.created(field, results, "ours", large)
        await bursts.created(field, results, "ours", [(500, 8)])
        if "tuned" in others:
            await bursts.created(field, results, "tuned", [(500, 8)])
    drift = results.drift("created 100x8")
    results.say(case="floor's drift at 100x8", ratio=round(drift, 2), bar=MOST_DRIFT, met=drift <= MOST_DRIFT)
    for shape, bar in {
        "1x1": None,
        "1x8": None,
        "1x64": 2.0,
        "10x8": None,
        "10x64": None,
        "100x8": 2.0,
        "1000x8": 1.3,
    }.items():
        results.compare(f"created {shape}", "ours", "floor", bar, "s")
    for shape in ("1x64", "10x8", "10x64", "100x8", "1000x8"):
        results.compare(f"created {shape}", "limit", "floor", None, "s")
        results.compare(f"created {shape}", "ours", "limit", None, "s")
    for shape, bar in {"1x1": None, "1x8": 1.1, "1x64": 0.35, "10x64": None, "100x8": 0.5}.items():
        results.compare(f"created {shape}", "ours", "tuned", bar, "s")
    for shape in ("1x64", "10x8"):
        results.compare(f"created {shape}", "ours", "shipped", None, "s")
    for who in ("ours", *others):
        results.tell("create CPU/1000 pods 100x8", who, "s")
        for pods in ("0 pods", "4000 live pods", "8000 live pods"):
            results.tell(f"MB with {pods}", who, "MB")
    results.compare("MB with 4000 live pods", "ours", "tuned", 1.1, "MB")


async def _running(field: Field, results: Results, rounds: int, others: Sequence[str]) -> None:
    """O4 and O5."""
    shape = (50, 8) if not others else (100, 8)
    name = f"{shape[0]}x{shape[1]}"
    for _ in range(rounds):
        for who in ("floor", "ours", *(["tuned"] if others else [])):
            await bursts.to_running(field, results, who, shape)
    results.compare(f"Running {name}", "ours", "floor", None, "s")
    results.compare(f"Running {name}", "ours", "tuned", None, "s")
    results.compare(f"CPU/1000 pods {name}", "ours", "tuned", 0.6, "s")
    results.compare(f"server CPU/1000 pods {name}", "ours", "tuned", 0.6, "s")
    results.compare(f"server CPU/1000 pods {name}", "ours", "floor", None, "s")
    for who in ("ours", "tuned"):
        results.tell(f"CPU/1000 pods {name}", who, "s")
        results.tell(f"MB with {shape[0] * shape[1]} pods", who, "MB")


async def _writes(field: Field, results: Results, others: Sequence[str]) -> None:
    """O3."""
    for who in ("ours", *(["tuned"] if others else [])):
        await writes.counted(field, results, who, 20, 8)
    results.tell("writes per job of 8 pods to Running", "ours", "requests", 12)
    results.tell("writes per job of 8 pods in all", "ours", "requests")
    results.compare("writes per job of 8 pods to Running", "ours", "tuned", 0.4, "requests")


async def _failures(field: Field, results: Results, others: Sequence[str]) -> None:
    """O6."""
    times = 1000 if others else 50
    await failures.single(field, results, "ours", times)
    if others:
        await failures.single(field, results, "tuned", 200)
        results.compare("replacement ms", "ours", "tuned", 1.0, "ms")
    for pods in (8, 64, 256) if others else (8, 64):
        await failures.gang(field, results, pods)
        results.tell(f"gang restart of {pods}", "ours", "s")


async def _curves(field: Field, results: Results, folder: Path | None) -> None:
    """Seconds against size."""
    await bursts.created(field, results, "floor", [(1, 256), (1, 1024)])
    await bursts.created(field, results, "ours", [(1, 256), (1, 1024)])
    if folder is None:
        return
    jobs = [(float(n), f"created {n}x8") for n in (1, 10, 100, 1000)]
    pods = [(float(n), f"created 1x{n}") for n in (1, 8, 64, 256, 1024)]
    subjects = ("floor", "limit", "ours", "tuned")
    pictures.draw(results, folder, "jobs", "Jobs of 8 pods: all pods created", "seconds", dict.fromkeys(subjects, jobs))
    pictures.draw(results, folder, "pods", "One job: all pods created", "seconds", dict.fromkeys(subjects, pods))


if __name__ == "__main__":
    sys.exit(main())
