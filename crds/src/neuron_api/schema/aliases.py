"""Aliases of keys: the value moves to the key that the models read; two that disagree are an error (A3, A4, A18,
A28)."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from neuron_api.config import FusionsConfig
from neuron_api.findings.finding import Finding
from neuron_api.findings.registry import make_finding

from .key_path import fields

_PAIRS: Final = (
    ("exp_manager.exp_log_dir", "exp_manager.explicit_log_dir"),
    ("async_exec_max_inflight_requests", "aync_exec_max_inflight_requests"),
    ("exp_manager.max_time_per_run", "trainer.max_time"),
    ("model.fusions.do_layer_norm_weight_decay", "model.do_layer_norm_weight_decay"),
)

CANONICAL: Final[Mapping[str, str]] = MappingProxyType(
    {
        **dict(_PAIRS),
        "fusions": "model.fusions",
        **{
            f"fusions.{key}": dict(_PAIRS).get(f"model.fusions.{key}", f"model.fusions.{key}")
            for key in fields(FusionsConfig)
        },
    }
)
"""Alias to the key that its value is read from; aliases of `data` hold only with some strategies and are not listed."""


def unify(values: dict[str, Any]) -> tuple[dict[str, Any], list[Finding]]:
    """Return a copy in which the canonical keys hold the values, and findings about contradictions."""
    tree, findings = _copy(values), _fusions(values)
    root = tree.pop("fusions", None)
    if isinstance(root, dict) and isinstance(tree.get("model"), dict):
        nested = tree["model"].get("fusions") or {}
        tree["model"]["fusions"] = {**root, **nested} if isinstance(nested, dict) else nested
    elif root is not None:
        tree["fusions"] = root
    for alias, canonical in _PAIRS:
        findings += _pair(tree, alias, canonical)
    findings += _alignment(tree)
    precision = tree.get("precision")
    if isinstance(precision, dict) and precision.get("type") == "mixed_precision_SR":
        precision["type"] = "mixed_precisionSR"
    return tree, findings


def written_keys(values: Mapping[str, Any]) -> dict[str, str]:
    """Return the alias for each canonical key whose value comes from it, so that errors name the key in the file."""
    steps = (*CANONICAL.items(), *((f"fusions.{key}", f"model.fusions.{key}") for key in fields(FusionsConfig)))
    return {
        canonical: alias
        for alias, canonical in steps
        if _get(values, alias) is not None and _get(values, canonical) is None
    }


def _fusions(values: dict[str, Any]) -> list[Finding]:
    root, model = values.get("fusions"), values.get("model")
    if not isinstance(root, dict):
        return []
    result = [make_finding(1304, "fusions", "it belongs under model; it is read from here.")]
    nested = model.get("fusions") if isinstance(model, dict) else None
    for key in fields(FusionsConfig):
        if isinstance(nested, dict) and None not in (root.get(key), nested.get(key)) and root[key] != nested[key]:
            result.append(
                make_finding(1305, f"fusions.{key}", f"{root[key]} contradicts model.fusions.{key} {nested[key]}.")
            )
    return result


def _pair(tree: dict[str, Any], alias: str, canonical: str) -> list[Finding]:
    alias_value, value = _get(tree, alias), _get(tree, canonical)
    if alias_value is None:
        return []
    if value is None:
        _set(tree, canonical, alias_value)
    elif alias_value != value:
        return [make_finding(1305, alias, f"{alias_value} contradicts {canonical} {value}.")]
    return []


def _alignment(tree: dict[str, Any]) -> list[Finding]:
    """Merge `data.use_sft_style_data_module` and `data.packing` into model_alignment_strategy.sft."""
    data = tree.get("data")
    if not isinstance(data, dict):
        return []
    strategy = tree.get("model_alignment_strategy")
    is_sft = data.get("use_sft_style_data_module") in (True, 1, "1", "true", "True")
    if strategy is None and is_sft:
        strategy = tree["model_alignment_strategy"] = {"sft": {}}
    packing = data.get("packing")
    if packing is None or not isinstance(strategy, dict) or not _is_sft(strategy, is_sft=is_sft):
        return []
    sft = strategy.get("sft")
    if sft is None or (isinstance(sft, dict) and sft.get("packing") is None):
        strategy["sft"] = {**(sft or {}), "packing": packing}
    elif isinstance(sft, dict) and sft["packing"] != packing:
        return [
            make_finding(
                1305, "data.packing", f"{packing} contradicts model_alignment_strategy.sft.packing {sft['packing']}."
            )
        ]
    return []


def _is_sft(strategy: Mapping[str, Any], *, is_sft: bool) -> bool:
    """Return whether a strategy is sft, which `sft:` without a value and peft alone are; `is_sft`: without one it
    would be."""
    if any(strategy.get(name) is not None for name in ("dpo", "orpo")):
        return False
    return is_sft or "sft" in strategy or strategy.get("peft") is not None


def _get(tree: Mapping[str, Any], path: str) -> Any:
    node: Any = tree
    for part in path.split("."):
        node = node.get(part) if isinstance(node, dict) else None
    return node


def _set(tree: dict[str, Any], path: str, value: Any) -> None:
    *parents, name = path.split(".")
    node: Any = tree
    for part in parents:
        if not isinstance(node.get(part), dict):
            if node.get(part) is not None:
                return  # a wrong type, reported elsewhere
            node[part] = {}
        node = node[part]
    node[name] = value


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list) else value
