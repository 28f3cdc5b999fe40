"""What the CRD's rules cost the API server: its CPU time for a creation and for a write of the status of a job.

    .venv/bin/python benchmarks/operator/rules.py --rounds 5 --jobs 40

Each variant is a kind in a group of its own on one API server, and they work in turns: the median over the rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import copy
import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "hack"))

import shapes
import yaml
from servers import Servers, serving, until
from subjects import cpu_seconds

from controlplane.locations import REPOSITORY
from neuron_api import contract

Json = dict[str, Any]

RULES = "x-kubernetes-validations"
SECTIONS = ("", "spec", "spec.config")
"""Where the rules between keys stand."""
ADMISSION = "/apis/admissionregistration.k8s.io/v1"


MISTAKES = ("seed", "seq_length", "expert_model_parallel_size")
"""One of a key, two between sections: the words by which a refusal names them."""
POLICY_SECONDS = 5.0
"""Until a new policy is in force."""


def main() -> int:
    """Print one JSON line a variant."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=40)
    parser.add_argument("--variants", default=",".join(VARIANTS), help=f"of {','.join(VARIANTS)}")
    chosen = parser.parse_args()
    asyncio.run(_run(chosen.variants.split(","), chosen.rounds, chosen.jobs))
    return 0


async def _run(variants: list[str], rounds: int, jobs: int) -> None:
    figures: dict[str, dict[str, list[float]]] = {variant: {} for variant in variants}
    async with serving() as servers:
        reported = {}
        for variant in variants:
            await _install(servers, variant)
            reported[variant] = await _reported(servers, variant)
        for _ in range(rounds + 1):
            for variant in variants:
                for case, milliseconds in (await _round(servers, variant, jobs)).items():
                    figures[variant].setdefault(case, []).append(milliseconds)
    for variant, cases in figures.items():
        medians = {case: round(statistics.median(values[1:]), 2) for case, values in cases.items()}
        bands = {case: [round(min(values[1:]), 2), round(max(values[1:]), 2)] for case, values in cases.items()}
        line = {"variant": variant, "ms of CPU": medians, "band": bands, "findings reported": reported[variant]}
        print(json.dumps(line), flush=True)


async def _round(servers: Servers, variant: str, jobs: int) -> dict[str, float]:
    """Milliseconds of the API server's CPU time for each request."""
    path = _path(variant)
    bodies = [_job(variant, f"j{number}") for number in range(jobs)]
    spent: dict[str, float] = {}

    async def timed(case: str, request: Callable[[Json], Any]) -> None:
        before = cpu_seconds([servers.plane.status()["running"]["kube-apiserver"]])
        for body in bodies:
            await request(body)
        after = cpu_seconds([servers.plane.status()["running"]["kube-apiserver"]])
        spent[case] = (after - before) * 1000 / jobs

    async def status(body: Json, number: int) -> None:
        text = json.dumps({"status": {"phase": "Running", "startTime": f"2026-01-01T00:00:0{number}Z"}})
        await servers.call("PATCH", f"{path}/{body['metadata']['name']}/status", text, "application/merge-patch+json")

    await timed("create", lambda body: servers.call("POST", path, body))
    await timed("status write", lambda body: status(body, 1))
    await servers.call("DELETE", path)
    return spent


def _job(variant: str, name: str) -> Json:
    return shapes.job(name, 8) | {"apiVersion": f"{_group(variant)}/{contract.VERSION}"}


async def _reported(servers: Servers, variant: str) -> dict[str, list[str]]:
    """Which mistakes a refusal names: of all three, and of the two between sections alone."""
    await asyncio.sleep(POLICY_SECONDS if VARIANTS[variant] in (_policy, _joined) else 0)
    return {
        "all": await _refusal(servers, variant, MISTAKES),
        "sections": await _refusal(servers, variant, MISTAKES[1:]),
    }


async def _refusal(servers: Servers, variant: str, mistakes: tuple[str, ...]) -> list[str]:
    body = _job(variant, "wrong")
    config = body["spec"]["config"]
    if "seed" in mistakes:
        config["seed"] = 0
    config["data"]["seq_length"] = config["model"]["encoder_seq_length"] + 1
    config.setdefault("distributed_strategy", {})["expert_model_parallel_size"] = 2
    try:
        await servers.call("POST", f"{_path(variant)}?dryRun=All", body)
    except RuntimeError as error:
        words = str(error).partition(": ")[2]
        return [mistake for mistake in MISTAKES if mistake in words]
    return []


async def _install(servers: Servers, variant: str) -> None:
    crd = yaml.load((REPOSITORY / "crds" / "neurontrainingjobs.neurontraining.dev.yaml").read_text(), yaml.CSafeLoader)
    crd["metadata"] = {"name": f"{contract.PLURAL}.{_group(variant)}"}
    crd["spec"]["group"] = _group(variant)
    crd["spec"]["names"].pop("shortNames", None)
    crd["spec"]["names"].pop("categories", None)
    policy = VARIANTS[variant](crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"])
    await servers.call("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd)
    if policy:
        await _install_policy(servers, variant, policy)

    async def serves() -> bool:
        try:
            await servers.call("GET", _path(variant))
        except RuntimeError:
            return False
        return True

    await until(f"{variant} to be served", serves, 60, 0.2)


async def _install_policy(servers: Servers, variant: str, policy: Json) -> None:
    name = f"rules-{variant}"
    rule = {
        "apiGroups": [_group(variant)], "apiVersions": ["*"], "operations": ["CREATE", "UPDATE"],
        "resources": [contract.PLURAL],
    }  # fmt: skip
    constraints = {"resourceRules": [rule]}
    spec = {"failurePolicy": "Fail", "matchConstraints": constraints} | policy
    await servers.call("POST", f"{ADMISSION}/validatingadmissionpolicies", {"metadata": {"name": name}, "spec": spec})
    binding = {"metadata": {"name": name}, "spec": {"policyName": name, "validationActions": ["Deny"]}}
    await servers.call("POST", f"{ADMISSION}/validatingadmissionpolicybindings", binding)


def _group(variant: str) -> str:
    return f"{variant}.rules.example"


def _path(variant: str) -> str:
    return f"/apis/{_group(variant)}/{contract.VERSION}/namespaces/default/{contract.PLURAL}"


def _node(schema: Json, place: str) -> Json:
    for key in filter(None, place.split(".")):
        schema = schema["properties"][key]
    return schema


def _today(schema: Json) -> None:
    """As it is shipped."""


def _none(schema: Json) -> None:
    """Without any rule."""
    if isinstance(schema, dict):
        if isinstance(schema.get(RULES), list):
            del schema[RULES]
        for part in schema.values():
            _none(part)


def _keys(schema: Json) -> None:
    """Only the rules on single keys and on the deeper sections."""
    for place in SECTIONS:
        _node(schema, place).pop(RULES)


def _open_status(schema: Json) -> None:
    """A status without a schema; the rules on changes, which read it, are left out."""
    schema[RULES] = [rule for rule in schema[RULES] if "oldSelf" not in rule["rule"]]
    schema["properties"]["status"] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def _unchanged(schema: Json) -> None:
    """Each rule of `spec` and `spec.config` first asks whether its part has changed."""
    for place in SECTIONS[1:]:
        for rule in _node(schema, place)[RULES]:
            rule["rule"] = f"oldSelf.hasValue() && oldSelf.value() == self || ({rule['rule']})"
            rule["optionalOldSelf"] = True


def _policy(schema: Json) -> Json:
    """Rules of `spec` and `spec.config` in one policy; it tells the first that fails."""
    validations = [{"expression": expression, "message": message} for expression, message in _moved(copy.copy(schema))]
    return {"validations": validations}


def _joined(schema: Json) -> Json:
    """The same as one validation, whose message has all that fail."""
    findings = [f"(({rule}) ? [] : [{json.dumps(message)}])" for rule, message in _moved(schema)]
    size = 10
    variables = [
        {"name": f"part{start // size}", "expression": " + ".join(findings[start : start + size])}
        for start in range(0, len(findings), size)
    ]
    every = " + ".join(f"variables.{variable['name']}" for variable in variables)
    validation = {
        "expression": "size(variables.findings) == 0",
        "messageExpression": "variables.findings.join('; ')",
    }
    return {"variables": [*variables, {"name": "findings", "expression": every}], "validations": [validation]}


def _moved(schema: Json) -> list[tuple[str, str]]:
    found = []
    for place in SECTIONS[1:]:
        for rule in _node(schema, place).pop(RULES):
            path = "object." + place
            present = f"!has({path}) || " if place == "spec.config" else ""
            message = rule.get("message") or "a finding"
            found.append((f"{present}[{path}].all(self, {rule['rule']})", message))
    return found


VARIANTS: dict[str, Callable[[Json], Json | None]] = {
    "today": _today,
    "none": _none,
    "keys": _keys,
    "open-status": _open_status,
    "unchanged": _unchanged,
    "policy": _policy,
    "joined": _joined,
}

if __name__ == "__main__":
    sys.exit(main())
