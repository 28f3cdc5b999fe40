"""What is there once a plan has been carried out, where nobody needs to be asked: the next plan starts from that.

A failed pod takes three plans: its loss is written down, it is deleted, its successor is created. Each follows from
the one before within milliseconds, and what was seen for the first is as good for the last: deletions name a UID,
names are taken only once, and a status is written over the version that was read.
"""

from dataclasses import replace

from neuron_api.resource.job import NeuronTrainingJob

from .observation.observation import Observed, Pod
from .plan import Plan
from .restarts import diagnosis


def project(observed: Observed, plan: Plan, job: NeuronTrainingJob) -> Observed | None:
    """Return what will be observed once the plan is carried out; None: only the API server knows.

    A pod that is over goes with the request that deletes it. Where one has not, its name is still taken, and its
    successor has to wait for the next pass (`controller`).
    """
    if plan.creates or plan.applies or plan.releases:
        return None
    if diagnosis.suspects(job, observed.pods) - diagnosis.suspects(observed.job, observed.pods):
        return None  # the decision is about a node that nobody has looked at
    if not plan.deletes:
        return replace(observed, job=job) if plan.requeue_after == 0.0 else None
    vanish = {pod.uid for pod in observed.pods if _vanishes(pod)}
    gone = {delete.uid for delete in plan.deletes}
    if not gone <= vanish:
        return None
    return replace(observed, job=job, pods=tuple(pod for pod in observed.pods if pod.uid not in gone))


def _vanishes(pod: Pod) -> bool:
    """There is nothing that would have to end first (a pod whose phase is Failed or Succeeded gets no grace)."""
    return pod.over and not pod.occupied and not pod.terminating and not pod.finalizers
