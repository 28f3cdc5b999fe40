"""O3: how many requests that change something a job takes, counted from the API server's audit log."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

from results import Results
from servers import until
from subjects import running
from work import Field


async def counted(field: Field, results: Results, who: str, jobs: int, each: int) -> None:
    """Writes per job from its creation until every pod runs, and 15 s later (the fake kubelet is up)."""
    async with running(who, field.servers):
        namespace = await field.namespace()
        await field.submit(who, namespace, jobs, each)
        await field.created(namespace, jobs * each)
        path = f"/api/v1/namespaces/{namespace}/pods?fieldSelector=status.phase%3DRunning&limit=1000"

        async def all_run() -> bool:
            return len((await field.servers.call("GET", path))["items"]) >= min(jobs * each, 1000)

        await until("all pods to run", all_run, 300, 0.1)
        moment = datetime.now(UTC)
        await asyncio.sleep(15)  # status writes are spaced out by 10 s, and the log comes in batches of 1 s
    name = f"writes per job of {each} pods"
    for case, end in ((f"{name} to Running", moment), (f"{name} in all", None)):
        found = written(field.servers.audit_log, namespace, end)
        results.add(case, who, sum(found.values()) / jobs)
        kinds = {f"{verb} {what}": round(number / jobs, 2) for (verb, what), number in sorted(found.items())}
        results.say(case=f"{case}, {who}", by_kind=kinds, jobs=jobs)
    await field.clear(who, namespace)


def written(log: Path, namespace: str, end: datetime | None = None) -> Counter[tuple[str, str]]:
    """By verb and resource; what the bench and the fake kubelet do is left out."""
    found: Counter[tuple[str, str]] = Counter()
    with log.open() as lines:
        for line in lines:
            event = json.loads(line)
            target = event.get("objectRef", {})
            agent = event.get("userAgent", "")
            if target.get("namespace") != namespace or agent.startswith(("Go-http-client", "Python", "kwok")):
                continue
            if end is not None and datetime.fromisoformat(event["requestReceivedTimestamp"]) > end:
                continue
            resource = target["resource"] + (f"/{target['subresource']}" if target.get("subresource") else "")
            found[event["verb"], resource] += 1
    return found
