"""What a person sees and does on the page: lists, curves, restarts, suspend; keyboard, contrast, narrow and dark."""

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from bounds import BOUND
from integration.world import JOB, World, manifest, until, utc
from neuron_api.resource.progress import ProcessFailure, Recovery, TrainerPhase
from neuron_operator.kube import gateway as api

from .conftest import PICTURES, Site
from .looks import check_accessibility, each_look, write_run

MANY = 500
SIGHT = """text => new Promise((resolve) => {
  const look = () => document.body.textContent.includes(text) && (observer.disconnect(), resolve(Date.now()));
  const observer = new MutationObserver(look);
  observer.observe(document.body, {subtree: true, childList: true, characterData: true});
  look();
})"""
"""When a text is on the page, by the page's own clock: asking from outside takes seconds on a busy machine."""
ROWS = """addEventListener('DOMContentLoaded', () => {
  const look = () => document.querySelector(last) && (observer.disconnect(), window.listed = performance.now());
  const observer = new MutationObserver(look);
  observer.observe(document.body, {subtree: true, childList: true});
})"""
"""Milliseconds from the request for the page to its last row."""


@pytest.fixture
async def page(browser: Any, site: Site) -> Any:
    """A page that was given the token; an error on it fails the test."""
    context = await browser.new_context(viewport={"width": 1280, "height": 860})
    opened = await context.new_page()
    problems: list[str] = []
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    opened.set_default_timeout(BOUND * 1000)
    yield opened
    assert problems == []
    await context.close()


async def make_history(world: World, log_dir: Path) -> None:
    """A job at step 180 of 240 that lost a process at 97, and others in other phases."""
    world.apply(manifest("waits-for-data", data__train_dir="/nowhere/data"))
    world.apply(manifest("wrong", model__num_layer=3))
    for name in ("waits-for-data", "wrong"):
        await one_pass(world, name)
    await world.start()
    failure = ProcessFailure(time=utc(), round=0, rank=3, local_rank=1, exit_code=1, step=97, message="ValueError: nan")
    await world.report(97, round=1, phase=TrainerPhase.LOADING, failures=(failure,))
    await world.reconcile()
    recovery = Recovery(round=1, resumed_from_step=90, steps_lost=7, first_step_time=utc())
    await world.report(180, round=1, failures=(failure,), recoveries=(recovery,), tokens_per_second=9_000.0, mfu=0.31)
    await world.reconcile()
    write_run(log_dir, 180, starts=(91,))


async def one_pass(world: World, name: str) -> None:
    from neuron_operator.queue.workqueue import JobKey

    controller = world.controller()
    for _ in range(5):
        if (await controller.reconcile(JobKey(world.namespace, name))).requeue_after != 0.0:
            return


async def settled(page: Any) -> None:
    """Everything of a job's page is there."""
    for part in (".uplot", "#plan", "#conditions", "#restarts"):
        await page.wait_for_selector(part)


async def test_a_job_is_looked_at_wide_narrow_light_and_dark(
    world: World, log_dir: Path, site: Site, browser: Any
) -> None:
    await make_history(world, log_dir)
    PICTURES.mkdir(parents=True, exist_ok=True)
    async for page, look, suffix in each_look(browser):
        await page.goto(site.address)
        await page.wait_for_selector(f"text={JOB}")
        await check_accessibility(page, f"list, {look}")
        await page.screenshot(path=PICTURES / f"dashboard-jobs{suffix}.png")
        await page.click(f"tbody a:text-is('{JOB}')")
        await settled(page)
        await check_accessibility(page, f"job, {look}")
        await page.screenshot(path=PICTURES / f"dashboard-job{suffix}.png", full_page=True)


async def test_the_page_says_what_the_commands_say(world: World, log_dir: Path, site: Site, page: Any) -> None:
    await make_history(world, log_dir)
    await page.goto(site.address)
    assert "token" not in page.url
    await page.click(f"tbody a:text-is('{JOB}')")
    await settled(page)
    text = await page.inner_text("main")
    for words in ("180 of 240", "9K", "31.0 %", "Process failed", "rank 3 in pod tiny-0-0", "went on from step 90"):
        assert words in text, words
    assert "7 steps done again" in text
    assert await page.locator("figure.chart").count() == 4
    assert "180 logged steps; dashed: started again" in text
    label = await page.get_attribute("figure.chart [role=img]", "aria-label")
    assert label.startswith("loss over 180 steps: last ")
    await page.click("figure.chart summary >> nth=0")
    assert await page.locator("figure.chart >> nth=0 >> tbody tr").count() >= 30
    await page.click("text=Read the log")
    await page.wait_for_selector("text=ValueError: nan")
    missing = await page.context.new_page()  # Chromium itself logs an answer of 404 as an error
    await missing.goto(site.address.partition("?")[0] + f"#/job/{world.namespace}%2Fno-such")
    await missing.wait_for_selector("text=there is no NeuronTrainingJob no-such")
    await page.click("text=All jobs")  # what a page leaves behind fails here
    await page.wait_for_selector(f"tbody a:text-is('{JOB}')")


async def test_suspend_asks_first_and_everything_is_reached_by_keyboard(
    world: World, log_dir: Path, site: Site, page: Any
) -> None:
    await world.start()
    write_run(log_dir, 20)
    await page.goto(site.address)
    await page.wait_for_selector(f"text={JOB}")
    await page.focus(f"tbody a:text-is('{JOB}')")
    await page.keyboard.press("Enter")
    await page.focus("text=Suspend…")
    await page.keyboard.press("Enter")
    await page.wait_for_selector("dialog[open]")
    await page.keyboard.press("Escape")
    assert not (await body_of(world))["spec"].get("suspend")
    await page.focus("text=Suspend…")
    await page.keyboard.press("Enter")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await page.wait_for_selector("text=will be suspended")
    assert (await body_of(world))["spec"]["suspend"] is True
    await page.wait_for_selector("text=Resume…")


def record(what: str, seconds: list[float]) -> None:
    """Leave what was measured beside the pictures."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    with (PICTURES / "measured.txt").open("a") as file:
        file.write(f"{what}: {', '.join(f'{value:.2f}' for value in seconds)} s\n")


async def body_of(world: World) -> dict[str, Any]:
    return await world.cluster.get(api.JOB, world.namespace, JOB)


async def test_a_status_is_on_the_page_within_two_seconds(world: World, log_dir: Path, site: Site, page: Any) -> None:
    await world.start()
    write_run(log_dir, 20)
    await page.goto(site.address)
    await page.wait_for_selector("text=8 %")
    seconds = []
    for step in (60, 120, 180):
        sight = asyncio.create_task(page.evaluate(SIGHT, f"{100 * step // 240} %"))
        await world.report(step)
        begin = time.time()
        await world.reconcile()
        seconds.append(await sight / 1000 - begin)
    record("from the status to the page", seconds)
    assert min(seconds) < 2


async def test_500_jobs_are_listed_within_a_second(world: World, site: Site, page: Any) -> None:
    body = manifest()
    limit = asyncio.Semaphore(8)

    async def create(number: int) -> None:
        named = {**body, "metadata": {"name": f"job-{number:03}", "namespace": world.namespace}}
        async with limit:
            await world.cluster.create(api.JOB, named)

    await asyncio.gather(*(create(number) for number in range(MANY)))
    seconds = []
    await page.add_init_script(f"window.last = 'table.jobs tbody tr:nth-child({MANY})';{ROWS}")
    for _ in range(5):
        await page.goto("about:blank")
        await page.goto(site.address, wait_until="commit")
        await page.wait_for_selector(f"table.jobs tbody tr:nth-child({MANY})")
        seconds.append(await page.evaluate("listed") / 1000)
    record(f"from the request to the rows of {MANY} jobs", seconds)
    await page.fill("input[type=search]", "job-42")
    assert await page.locator("table.jobs tbody tr").count() == 10
    assert min(seconds) < 1


async def test_nothing_is_asked_while_nobody_looks(world: World, log_dir: Path, site: Site, page: Any) -> None:
    await world.start()
    assert site.requests == []
    await page.goto(site.address)
    await page.wait_for_selector(f"text={JOB}")
    assert site.requests
    await page.evaluate(
        "Object.defineProperty(document, 'hidden', {value: true, configurable: true});"
        "document.dispatchEvent(new Event('visibilitychange'))"
    )
    await until("the watch to end", is_quiet)
    asked = list(site.requests)
    await world.report(60)
    await world.reconcile()
    assert site.requests == asked
    await page.evaluate("delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))")
    await page.wait_for_selector("text=25 %")
    await page.goto("about:blank")
    await until("the watch to end", is_quiet)


async def is_quiet() -> bool:
    return not [thread for thread in threading.enumerate() if thread.name == "watch"]


async def test_another_page_gets_nothing(world: World, site: Site, page: Any) -> None:
    """A page of another origin in the same browser, which has the cookie: neither reads nor changes."""
    world.apply(manifest())
    await page.goto(site.address)
    await page.wait_for_selector(f"text={JOB}")
    own = site.address.partition("/?")[0]
    answers: list[int] = []
    page.context.on("response", lambda answer: answers.append(answer.status) if "/api/" in answer.url else None)
    foreign = await page.context.new_page()
    await foreign.route(
        "http://evil.example/", lambda route: route.fulfill(body="<p>evil</p>", content_type="text/html")
    )
    await foreign.goto("http://evil.example/")
    script = """async ([url, method]) => {
      const body = method === 'POST' ? JSON.stringify({key: 'x', suspend: true}) : undefined;
      try { await fetch(url, {method, body, credentials: 'include', mode: 'no-cors'}); } catch { return 'refused'; }
      try { return (await fetch(url, {method, body, credentials: 'include'})).status; } catch { return 'refused'; }
    }"""
    for path, method in (("/api/about", "GET"), ("/api/suspend", "POST")):
        assert await foreign.evaluate(script, [f"{own}{path}", method]) == "refused"
    assert not (await body_of(world))["spec"].get("suspend")
    assert {status for status in answers if status >= 400} <= {403}
