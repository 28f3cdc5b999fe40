"""Stands in for the launchers of all pods: one HTTP server on an address of the loopback network that answers every
`GET /progress` alike. Simulated: a job that runs and whose report stays the same. Not simulated: network and its delay.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import web

from neuron_api import contract
from neuron_api.resource.progress import Progress, TrainerPhase


@dataclass
class Reports:
    """Where it is, and how often it was asked."""

    address: str
    asked: int = 0


@asynccontextmanager
async def reporting() -> AsyncIterator[Reports]:
    """On an address that nobody else is likely to use, since the port is the contract's."""
    made = Reports(f"127.{random.randrange(16, 250)}.{random.randrange(1, 250)}.{random.randrange(1, 250)}")
    report = Progress(phase=TrainerPhase.LOADING).model_dump_json()

    async def answer(_request: web.Request) -> web.Response:
        made.asked += 1
        return web.Response(text=report, content_type="application/json")

    application = web.Application()
    application.router.add_get(contract.PROGRESS_PATH, answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, made.address, contract.PROGRESS_PORT).start()
    try:
        yield made
    finally:
        await runner.cleanup()
