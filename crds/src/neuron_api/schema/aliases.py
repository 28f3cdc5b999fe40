"""Other spellings of a key: the value moves to the key that the models read; two that disagree are an error.

A3, A4, A18, A28.
"""

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
        **{f"fusions.{key}": dict(_PAIRS).get(f"model.fusions.{key}", f"model.fusions.{key}")
           for key in fields(FusionsConfig)},
    }
)  # fmt: skip
"""Other spellings whose value is always read from another key; those of `data` only with some strategies."""


def unify(values: dict[str, Any]) -> tuple[dict[str, Any], list[Finding]]:
    """A copy in which the canonical keys hold the values."""
    tree, findings = _copy(values), _fusions(values)
    root = tree.pop("fusions", None)
    if isinstance(root, dict) and isinstance(tree.get("model"), dict):
        below = tree["model"].get("fusions") or {}
        tree["model"]["fusions"] = {**root, **below} if isinstance(below, dict) else below
    elif root is not None:
        tree["fusions"] = root
    for other, canonical in _PAIRS:
        findings += _pair(tree, other, canonical)
    findings += _alignment(tree)
    precision = tree.get("precision")
    if isinstance(precision, dict) and precision.get("type") == "mixed_precision_SR":
        precision["type"] = "mixed_precisionSR"
    return tree, findings


def written(values: Mapping[str, Any]) -> dict[str, str]:
    """Keys whose value comes from another spelling, and that spelling: a wrong value is told where it is written."""
    steps = (*CANONICAL.items(), *((f"fusions.{key}", f"model.fusions.{key}") for key in fields(FusionsConfig)))
    return {
        canonical: other
        for other, canonical in steps
        if _get(values, other) is not None and _get(values, canonical) is None
    }


def _fusions(values: dict[str, Any]) -> list[Finding]:
    root, model = values.get("fusions"), values.get("model")
    if not isinstance(root, dict):
        return []
    result = [make_finding(1304, "fusions", "it belongs under model; it is read from here.")]
    below = model.get("fusions") if isinstance(model, dict) else None
    for key in fields(FusionsConfig):
        if isinstance(below, dict) and None not in (root.get(key), below.get(key)) and root[key] != below[key]:
            result.append(
                make_finding(1305, f"fusions.{key}", f"{root[key]} contradicts model.fusions.{key} {below[key]}.")
            )
    return result


def _pair(tree: dict[str, Any], other: str, canonical: str) -> list[Finding]:
    a, b = _get(tree, other), _get(tree, canonical)
    if a is None:
        return []
    if b is None:
        _set(tree, canonical, a)
    elif a != b:
        return [make_finding(1305, other, f"{a} contradicts {canonical} {b}.")]
    return []


def _alignment(tree: dict[str, Any]) -> list[Finding]:
    """`data.use_sft_style_data_module` and `data.packing` mean model_alignment_strategy.sft."""
    data = tree.get("data")
    if not isinstance(data, dict):
        return []
    strategy = tree.get("model_alignment_strategy")
    if strategy is None and data.get("use_sft_style_data_module") in (True, 1, "1", "true", "True"):
        strategy = tree["model_alignment_strategy"] = {"sft": {}}
    packing = data.get("packing")
    if packing is None or not isinstance(strategy, dict) or "sft" not in strategy:
        return []
    sft = strategy["sft"]
    if sft is None or (isinstance(sft, dict) and sft.get("packing") is None):
        strategy["sft"] = {**(sft or {}), "packing": packing}
    elif isinstance(sft, dict) and sft["packing"] != packing:
        return [
            make_finding(
                1305, "data.packing", f"{packing} contradicts model_alignment_strategy.sft.packing {sft['packing']}."
            )
        ]
    return []


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
                return  # a wrong type, told elsewhere
            node[part] = {}
        node = node[part]
    node[name] = value


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list) else value
