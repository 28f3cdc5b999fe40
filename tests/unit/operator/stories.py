"""Stories for the simulated cluster: events by name, and passes until nothing is left to do."""

from datetime import timedelta

import pytest

from neuron_operator.planning.restarts.budget import MAX_BACKOFF_SECONDS
from unit.operator.simulation import LAST_STEP, Cluster

Event = tuple[str, int]
"""A name and a number, which is a pod's index or how far the operator gets."""


def happen(cluster: Cluster, name: str, number: int) -> None:
    cluster.now += timedelta(seconds=1)
    match name:
        case "delete":
            cluster.deleted(number)
        case "evict":
            cluster.deleted(number, "EvictionByEvictionAPI")
        case "evict by kubelet":
            cluster.evicted_by_kubelet(number)
        case "lose node":
            cluster.loses_node(number)
        case "vanish":
            cluster.vanishes(number)
        case "out of memory":
            cluster.exits(number, 137, "OOMKilled")
        case "fail":
            cluster.process_fails(number, victims=number > 1)
        case "crash":
            cluster.process_fails(number, 1, victims=number > 1, message="ValueError: bad token")
        case "hardware":
            said = "RuntimeError: nrt_execute failed, status_code=1202"
            cluster.process_fails(number, 1, victims=number > 1, message=said)
        case "sick":
            cluster.sickens(number)
        case "silent":
            cluster.falls_silent(number)
        case "answer":
            cluster.all_answer()
        case "step":
            cluster.finish_step()
        case "checkpoint":
            cluster.save_checkpoint()
        case "rendezvous":
            cluster.rendezvous()
        case "mute":
            cluster.toggle_report(number)
        case "kubelet":
            cluster.kubelet()
        case "start":
            cluster.start(number)
        case "claim":
            cluster.claim_missing = not cluster.claim_missing
        case "reconcile":
            cluster.reconcile()
        case "kill":
            cluster.reconcile(kill_after=number)
        case "behind":
            cluster.reconcile(behind=True)
        case "conflict":
            cluster.reconcile(conflict=True)
        case "hang":
            cluster.hangs()
        case "suspend" | "unsuspend":
            cluster.suspend(wanted=name == "suspend")
        case "go on":
            settle_down(cluster)
            cluster.finish_step()
            converge(cluster)
        case "finish":
            finish(cluster)
        case _:
            cluster.exits(number, int(name.removeprefix("exit ")))


def converge(cluster: Cluster, kills: list[int] | None = None) -> None:
    """Passes with nothing happening between them until there is nothing to do, also after the longest pause."""
    left = list(kills or [])
    for _ in range(30):
        _, worked = cluster.reconcile(left.pop() if left else None)
        if not worked and not left:
            cluster.now += timedelta(seconds=MAX_BACKOFF_SECONDS + 1)
            if not cluster.reconcile()[1]:
                return
    pytest.fail("no fixed point")


def settle_down(cluster: Cluster) -> None:
    """Operator and kubelets until neither has anything to do."""
    for _ in range(6):
        converge(cluster)
        before = cluster.status, sorted(cluster.pods)
        cluster.kubelet()
        converge(cluster)
        if before == (cluster.status, sorted(cluster.pods)):
            return
    pytest.fail("never settles down")


def finish(cluster: Cluster) -> None:
    """Training gets to its end, and every pod ends with it."""
    cluster.suspend(wanted=False)
    cluster.all_answer()
    settle_down(cluster)
    for _ in range(LAST_STEP):
        cluster.finish_step()
    for index in range(cluster.size):
        cluster.exits(index, 0)
    converge(cluster)
