"""What a recovery costs the operator at up to 1,000 pods, step by step, and how it grows. `make bench-recovery`.

The planner on a cluster in memory (tests/unit/operator/simulation.py), with the real parsing of pods and reports and
the real status document; no API server, no network. The slope is that of the logarithms from 32 pods on: 1 is linear.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "support")]

from builders import OPTIONS, make_job  # noqa: E402
from neuron_api.resource.progress import from_json, to_json  # noqa: E402
from neuron_operator.planning.observation import pods  # noqa: E402
from neuron_operator.planning.outcome import finalize_status  # noqa: E402
from neuron_operator.planning.plan import PlanOutcome  # noqa: E402
from neuron_operator.planning.planner import plan  # noqa: E402
from unit.operator.simulation import Cluster  # noqa: E402

SIZES = (10, 32, 100, 320, 1000)
ROUNDS = 15
BAR = 1.1
Numbers = dict[str, float]


def main() -> int:
    """0 when nothing grows faster than linearly."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the numbers here")
    given = parser.parse_args()
    found = {size: measure(size) for size in SIZES}
    print("| step | " + " | ".join(f"{size} pods" for size in SIZES) + " | slope |")
    print("|---|" + "---|" * (len(SIZES) + 1))
    worst = 0.0
    for name in found[SIZES[0]]:
        values = [found[size][name] for size in SIZES]
        slope = _slope(values)
        worst = max(worst, slope)
        print(f"| {name} | " + " | ".join(f"{value:.3g}" for value in values) + f" | {slope:.2f} |")
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0 if worst <= BAR else 1


def measure(size: int) -> Numbers:
    """Milliseconds of CPU, bytes and requests, by step."""
    job = make_job().nodes(size).config("data.global_batch_size", size).restart_policy(maxGangRestarts=5).build()
    cluster, found = Cluster(job), Numbers()
    for _ in range(3):
        found["the pass that creates the pods, ms"] = _pass(cluster)
        if cluster.reconcile() and cluster.pods:
            break
    _settle(cluster)
    for _ in range(2):
        cluster.finish_step()
        cluster.save_checkpoint()
        _settle(cluster)
    bodies = [pod.body() for pod in cluster.pods.values()]
    found["pods read, ms"] = _least(lambda: [pods.read(body) for body in bodies])
    found["a pass while it trains, ms"] = _pass(cluster)
    found["reports asked for while it trains"] = len(cluster.observe().reports)
    found["status, bytes"] = len(cluster.status.model_dump_json(by_alias=True, exclude_none=True))
    cluster.process_fails(size // 2)
    reports = [to_json(report) for report in cluster.observe().reports.values()]
    found["reports asked for after a rank died"] = len(reports)
    found["these reports read, ms"] = _least(lambda: [from_json(text) for text in reports])
    found["the pass that tells of the rank, ms"] = _pass(cluster)
    _settle(cluster)
    cluster.vanishes(size // 2)
    found["the pass that sees a pod lost, ms"] = _pass(cluster)
    cluster.reconcile()
    found["the pass that replaces it, ms"] = _pass(cluster)
    _settle(cluster)
    cluster.exits(1, 1)
    found["the pass that sees a pod failed, ms"] = _pass(cluster)
    cluster.reconcile()
    found["the pass that removes all pods, ms"] = _pass(cluster)
    found["status in the end, bytes"] = len(cluster.status.model_dump_json(by_alias=True, exclude_none=True))
    return found


def _settle(cluster: Cluster) -> None:
    """Until nothing is left to do, kubelets and launchers included; then a step."""
    for _ in range(2):
        while cluster.reconcile()[1]:
            pass
        cluster.kubelet()
    cluster.finish_step()
    while cluster.reconcile()[1]:
        pass


def _pass(cluster: Cluster) -> float:
    """Planning and the new status; nothing is changed by it."""
    seen = cluster.observe()

    def once() -> None:
        planned = plan(seen, OPTIONS, cluster.now)
        finalize_status(planned, PlanOutcome({one.index: "uid" for one in planned.creates}), cluster.now)

    return _least(once)


def _least(action: Callable[[], object]) -> float:
    """Milliseconds of CPU; the least of some rounds, since others work here, too."""
    times = []
    for _ in range(ROUNDS):
        start = time.process_time()
        action()
        times.append(time.process_time() - start)
    return 1000 * min(times)


def _slope(values: list[float]) -> float:
    """Least squares of the logarithms."""
    points = [
        (math.log(size), math.log(value)) for size, value in zip(SIZES, values, strict=True) if size >= 32 and value > 0
    ]
    mean_x, mean_y = (sum(column) / len(points) for column in zip(*points, strict=True))
    above = sum((x - mean_x) * (y - mean_y) for x, y in points)
    return above / sum((x - mean_x) ** 2 for x, _ in points)


if __name__ == "__main__":
    sys.exit(main())
