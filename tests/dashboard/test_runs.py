"""The page of runs without Kubernetes in a real browser, on files as the trainer writes them."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bounds import BOUND
from neuron_dashboard import server
from neuron_trainer.cli.run_source import RunSource
from neuron_trainer.metrics.history import StartRecord, StepMetrics, open_history

from .conftest import PICTURES
from .looks import check_accessibility, each_look, write_run


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "tiny"
    run.mkdir()
    write_run(run, 180, starts=(91,))
    (run / "config.resolved.yaml").write_text("name: tiny\ntrainer: {max_steps: 240, devices: 2, num_nodes: 1}\n")
    return run


@pytest.fixture
async def address(folder: Path) -> AsyncIterator[str]:
    said: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    listener = socket.create_server((server.LOOPBACK, 0))
    task = asyncio.create_task(
        server.serve(RunSource({"tiny": folder}), listener, opens_browser=False, say=said.set_result)
    )
    yield (await asyncio.wait_for(said, BOUND)).strip()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_run_is_looked_at_wide_narrow_light_and_dark(address: str, browser: Any) -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    async for page, look, suffix in each_look(browser):
        await page.goto(address)
        await page.wait_for_selector("tbody a")
        await check_accessibility(page, f"runs, {look}")
        await page.click("tbody a")
        await page.wait_for_selector(".uplot")
        await page.wait_for_selector("#plan")
        await check_accessibility(page, f"run, {look}")
        await page.screenshot(path=PICTURES / f"dashboard-run{suffix}.png", full_page=True)
        text = await page.inner_text("main")
        for words in ("180 of 240", "The run was started again.", "went on from step 90, 7 steps done again"):
            assert words in text, words
        assert await page.locator("figure.chart").count() == 4
        assert await page.locator("text=Suspend…").count() == 0, "a run of this machine cannot be suspended here"


async def test_a_step_is_on_the_page_as_it_is_written(folder: Path, address: str, browser: Any) -> None:
    page = await browser.new_page()
    page.set_default_timeout(BOUND * 1000)
    await page.goto(address)
    await page.wait_for_selector("text=75 %")
    history = open_history(folder)
    history.begin(StartRecord(180, 0, time.time()))
    history.append(StepMetrics(216, 2.0, 1e-3, 0.5, 8 * 216, 9_000.0, time.time()))
    await page.wait_for_selector("text=90 %")
    await page.close()


async def test_curves_appear_though_steps_come_faster_than_they_are_read(
    folder: Path, address: str, browser: Any
) -> None:
    """Each answer comes after the next step is on the page: it was dropped for that."""
    page = await browser.new_page()
    page.set_default_timeout(BOUND * 1000)
    history = open_history(folder)
    history.begin(StartRecord(180, 0, time.time()))
    numbers = iter(range(181, 240))

    async def hold_back(route: Any) -> None:
        number = next(numbers)
        history.append(StepMetrics(number, 2.0, 1e-3, 0.5, 8 * number, 9_000.0, time.time()))
        await page.wait_for_selector(f"text={number} of 240")
        await route.continue_()

    await page.route("**/api/curves**", hold_back)
    await page.goto(address)
    await page.click("tbody a")
    await page.wait_for_selector(".uplot")
    await page.unroute_all(behavior="ignoreErrors")
    await page.close()
