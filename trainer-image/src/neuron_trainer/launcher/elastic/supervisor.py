"""Agent after agent: when node 0, which holds the rendezvous store, is lost, the others find the new one."""

import logging
import time
from collections.abc import Callable
from typing import Final

import torch.distributed as dist
from torch.distributed.elastic.agent.server.api import RunResult
from torch.distributed.elastic.rendezvous import RendezvousError

from neuron_api.resource.progress import TrainerPhase
from neuron_api.timeline import Activity
from neuron_trainer.errors import PeerLostError, PreemptedError
from neuron_trainer.launcher.node import NodeIdentity
from neuron_trainer.run_directory.resume import ResumeChoice
from neuron_trainer.worker import Job

from . import rendezvous
from .agent import Agent
from .shared_state import SharedState

log = logging.getLogger(__name__)

_PAUSE: Final = 0.2
_STALE_DNS_SECONDS: Final = 2.5
"""After the loss of node 0 its name is not resolved for so long: until its pod is quite gone, the DNS of the cluster
returns the old address, and for 5 s more to whoever has resolved it (7 s lost). A new pod takes 4 s to start."""
_START_TIMEOUT: Final = 900
"""Seconds that the first rendezvous may take, while images are being pulled elsewhere."""


def run(node: NodeIdentity, job: Job, shared: SharedState, choose: Callable[[], ResumeChoice]) -> RunResult:
    """Run rounds until the workers have ended for good; raises `PeerLostError` when a peer does not come in time."""
    deadline = time.monotonic() + max(_START_TIMEOUT, node.rejoin_timeout)
    while True:
        if shared.stop.is_requested:  # while the store was lost, or in the pause: nobody else asks
            raise PreemptedError(f"{shared.stop.signal.name} before the processes were started")
        rounds = shared.budget.rounds
        try:
            shared.status.set(phase=TrainerPhase.RENDEZVOUS)
            shared.status.time.enter(Activity.RENDEZVOUS)
            shared.stop.is_waiting = True
            rendezvous.wait_for_store(node, deadline)
            result: RunResult = Agent(rendezvous.handler(node), job, shared, choose).run()
            return result
        except (RendezvousError, dist.DistError) as problem:
            # Nothing else shows that the store is gone: its clients get a connection error in whatever they do next.
            now, was_up = time.monotonic(), shared.budget.rounds > rounds
            if was_up:
                deadline = now + node.rejoin_timeout
            if now > deadline:
                raise PeerLostError(f"the other nodes did not come within {node.rejoin_timeout} s: {problem}") from None
            log.info("the rendezvous was lost (%s); joining it again", type(problem).__name__)
            shared.phases.begin_again()
        time.sleep(_STALE_DNS_SECONDS if was_up and not node.is_host else _PAUSE)
