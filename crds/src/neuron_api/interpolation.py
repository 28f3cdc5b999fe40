"""Overrides and interpolation with OmegaConf: `${a.b}`, `${multiply:x,y}`, `a.b=v`, `+a.b=v`, `~a.b`.

`eval` is not offered (code from a custom resource), and `oc.env` resolves in the pod only (B-1).
"""

from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from .findings import Finding, error


def _multiply(*factors: Any) -> Any:
    result: Any = 1
    for factor in factors:
        result = result * factor
    return result


def _register() -> None:
    OmegaConf.register_resolver("multiply", _multiply, replace=True)
    OmegaConf.register_resolver("add", lambda *terms: sum(terms), replace=True)


def resolve(
    values: dict[str, Any], overrides: Sequence[str] = (), *, in_pod: bool = False
) -> tuple[dict[str, Any], tuple[Finding, ...]]:
    """Apply the overrides, then the interpolations; returns plain containers and what could not be resolved."""
    _register()
    tree = OmegaConf.create(values)
    findings = [*_apply(tree, overrides)]
    resolved: dict[str, Any] = {}
    for key in list(tree):
        try:
            node = tree._get_node(key)
            if not in_pod and _reads_environment(values.get(str(key))):
                findings.append(
                    error(
                        str(key),
                        "oc.env is resolved in the pod, where the operator cannot check it.",
                        "Write the value itself.",
                    )
                )
                continue
            if isinstance(node, DictConfig):
                resolved[str(key)] = OmegaConf.to_container(node, resolve=True)
            else:
                value = tree[key]
                is_config = OmegaConf.is_config(value)
                resolved[str(key)] = OmegaConf.to_container(value, resolve=True) if is_config else value
        except (OmegaConfBaseException, RecursionError, TypeError, ValueError) as problem:
            where = getattr(problem, "full_key", None) or str(key)
            sentence = str(problem).split("\n", maxsplit=1)[0]
            findings.append(
                error(
                    str(where),
                    f"the interpolation cannot be resolved: {sentence}.",
                    "Name a key that exists, from the top of the file: ${trainer.max_steps}.",
                )
            )
    return resolved, tuple(findings)


def _reads_environment(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_reads_environment(item) for item in value.values())
    if isinstance(value, list):
        return any(_reads_environment(item) for item in value)
    return isinstance(value, str) and "${oc.env" in value.replace(" ", "")


def _apply(tree: DictConfig, overrides: Sequence[str]) -> list[Finding]:
    from .yaml_text import parse

    findings = []
    for text in overrides:
        if text.startswith("~"):
            if not _delete(tree, text[1:]):
                findings.append(error(text[1:], "cannot be deleted: there is no such key."))
            continue
        key, equals, value = text.removeprefix("+").partition("=")
        if not equals or not key:
            findings.append(error(text, "an override is written key=value, +key=value or ~key."))
            continue
        parsed = parse(f"v: {value}")
        if parsed.findings:
            findings.append(error(key, f"the override's value {value!r} is not YAML."))
            continue
        OmegaConf.update(tree, key, parsed.value.get("v"), force_add=True)
    return findings


def _delete(tree: DictConfig, key: str) -> bool:
    parent_key, _, name = key.rpartition(".")
    parent = OmegaConf.select(tree, parent_key) if parent_key else tree
    if not isinstance(parent, DictConfig) or name not in parent:
        return False
    del parent[name]
    return True
