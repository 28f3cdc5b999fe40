"""How the page is looked at: sizes, colours, the checker of accessibility, and a run to look at."""

import math
import random
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from api_server import ROOT
from bounds import BOUND
from neuron_trainer.metrics.history import StartRecord, StepMetrics, ValidationMetrics, open_history

SERIOUS = ("serious", "critical")
SIZES = {"wide": (1280, 860), "narrow": (390, 844)}
AXE = ROOT / "dashboard/node_modules/axe-core/axe.min.js"
REFUSED = "window.violations = []; addEventListener('securitypolicyviolation', (e) => violations.push(e.blockedURI))"


async def each_look(browser: Any) -> AsyncIterator[tuple[Any, str, str]]:
    """A page in each colour scheme and size, with its name and the end of its pictures' names; nothing on it may be
    cut off, or break its own policy."""
    for scheme in ("light", "dark"):
        for size, (width, height) in SIZES.items():
            context = await browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
            await context.add_init_script(REFUSED)
            page = await context.new_page()
            page.set_default_timeout(BOUND * 1000)
            yield page, f"{scheme}, {size}", "" if (scheme, size) == ("light", "wide") else f"-{scheme}-{size}"
            assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "nothing is cut off"
            assert await page.evaluate("violations") == []
            await context.close()


def write_run(folder: Path, steps: int, starts: tuple[int, ...] = ()) -> None:
    """A run as the trainer writes it: falling loss, warm-up, noise; started again at these steps."""
    noise = random.Random(7)
    file, begin = open_history(folder), time.time() - 4_000
    file.begin(StartRecord(0, 0, begin))
    for step in range(1, steps + 1):
        if step in starts:
            file.begin(StartRecord(step - 1, 7, begin + 10 * step))
        loss = 5.6 * math.exp(-step / 60) + 2.0 + noise.gauss(0, 0.05)
        rate = 3e-3 * min(1, step / 20) * (0.55 + 0.45 * math.cos(math.pi * step / 240))
        speed = 9_000 + noise.gauss(0, 150)
        file.append(StepMetrics(step, loss, rate, 0.5 + abs(noise.gauss(0, 0.2)), 8 * step, speed, begin + 10 * step))
        if step % 50 == 0:
            file.append(ValidationMetrics(step, loss + 0.1, begin + 10 * step))


async def check_accessibility(page: Any, what: str) -> None:
    await page.evaluate(AXE.read_text())  # By the debugger: the page's own policy stays as it is.
    findings = (await page.evaluate("axe.run()"))["violations"]
    serious = [f"{one['id']}: {one['nodes'][0]['html'][:200]}" for one in findings if one["impact"] in SERIOUS]
    assert serious == [], what
