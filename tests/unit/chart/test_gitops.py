"""Argo CD's Lua in a real interpreter, and what Flux's CEL must be: over statuses recorded from a real API server."""

import json
from pathlib import Path
from typing import Any

import lupa.lua51
import lupa.lua54
import pytest
import yaml

from .test_chart import CHART

Json = dict[str, Any]

ROOT = Path(__file__).parents[3]
SIGHTINGS = ROOT / "tests" / "data" / "sightings"
LUA = (CHART / "files" / "argocd-health.lua").read_text()
HEALTH = {
    "created": "Progressing",
    "starting": "Progressing",
    "image": "Degraded",
    "loading": "Progressing",
    "running": "Healthy",
    "restarting": "Progressing",
    "succeeded": "Healthy",
    "failed": "Degraded",
    "claim": "Degraded",
    "invalid": "Degraded",
}
"""Stage to Argo CD's word."""


def recorded(stage: str) -> Json:
    found: Json = json.loads((SIGHTINGS / f"{stage}.json").read_text())["job"]
    return found


def assess(job: Json, runtime: Any) -> Json:
    """As Argo CD does: the script's result with `obj` as a global."""
    lua = runtime.LuaRuntime(unpack_returned_tuples=True)
    lua.globals().obj = lua.table_from(job, recursive=True)
    return dict(lua.execute(LUA))


def test_every_recorded_stage_has_a_health() -> None:
    assert {path.stem for path in SIGHTINGS.glob("*.json")} == set(HEALTH)


@pytest.mark.parametrize("runtime", [lupa.lua51, lupa.lua54], ids=["Lua 5.1, Argo CD's", "Lua 5.4"])
@pytest.mark.parametrize("stage", HEALTH)
def test_the_lua_gives_health_and_reason(stage: str, runtime: Any) -> None:
    job = recorded(stage)
    found = assess(job, runtime)
    assert found["status"] == HEALTH[stage]
    ours = {one["type"]: one for one in job.get("status", {}).get("conditions", ())}
    true = [
        one for kind, one in ours.items() if kind in ("Ready", "Reconciling", "Stalled") and one["status"] == "True"
    ]
    expected = f"{true[0]['reason']}: {true[0]['message']}" if true else "Waiting for the operator."
    assert found["message"] == expected


@pytest.mark.parametrize("runtime", [lupa.lua51, lupa.lua54], ids=["Lua 5.1, Argo CD's", "Lua 5.4"])
def test_the_lua_does_not_believe_a_status_of_an_older_spec(runtime: Any) -> None:
    job = recorded("running")
    job["metadata"]["generation"] = 2
    assert assess(job, runtime)["status"] == "Progressing"


def test_the_page_shows_the_expressions_that_the_chart_ships() -> None:
    text = (ROOT / "docs" / "gitops.md").read_text()
    blocks = [part.partition("```")[0] for part in text.split("```yaml\n")[1:]]
    (block,) = [one for one in blocks if "healthCheckExprs" in one]
    shown = yaml.safe_load(block)["spec"]["healthCheckExprs"]
    assert shown == yaml.safe_load((CHART / "files" / "flux-health.yaml").read_text())
