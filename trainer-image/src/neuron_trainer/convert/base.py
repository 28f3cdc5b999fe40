"""The whole model below adapters: given, in their checkpoint, where the checkpoint says, or drawn from its seed.

Where it has no config.json, that is made from the architecture that the manifest has.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from neuron_trainer.checkpoint import fingerprint, hf_checkpoint, layout
from neuron_trainer.checkpoint.manifest import Manifest, read
from neuron_trainer.errors import CheckpointError
from neuron_trainer.models.family import Family, spec_of
from neuron_trainer.models.lora import names
from neuron_trainer.storage import places

from . import hugging_face, native
from .adapters import AdapterSource
from .weights import Weights, unstacked

_SAME: Final = (
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "head_dim", "rms_norm_eps", "rope_theta", "max_position_embeddings", "initializer_range",
    "tie_word_embeddings", "attention_dropout",
)  # fmt: skip


def from_architecture(family: str, architecture: Mapping[str, Any], dtype: str) -> dict[str, Any]:
    """Return the config.json that `transformers` reads; raises `CheckpointError` for a model that it has not."""
    spec = spec_of(family)
    if spec is None or not spec.hf_class:
        raise CheckpointError(f"a {family or 'model of unknown family'} has no form in transformers: it stays as it is")
    values: dict[str, Any] = {"architectures": [spec.hf_class], "model_type": family, "hidden_act": "silu"}
    values |= {key: architecture[key] for key in _SAME} | {"torch_dtype": dtype, "use_cache": True}
    values["rope_scaling"] = _rope(architecture.get("rope_scaling"))
    values |= {key: architecture.get(key) for key in spec.hf_keys}
    if spec.has_experts:
        values |= _experts(architecture["moe"])
    return values


def _rope(scaling: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if scaling is None:
        return None
    is_llama3 = scaling["rope_type"] == "llama3"
    return dict(scaling) if is_llama3 else {key: scaling[key] for key in ("rope_type", "factor")}


def _experts(moe: Mapping[str, Any]) -> dict[str, Any]:
    if moe.get("frequency", 1) != 1 or not moe.get("is_gated", True):
        raise CheckpointError("transformers' Mixtral has gated experts in every layer: this model is not one")
    return {
        "num_local_experts": moe["num_experts"],
        "num_experts_per_tok": moe["top_k"],
        "output_router_logits": moe.get("aux_loss_coef") is not None,
        "router_aux_loss_coef": moe.get("aux_loss_coef") or 0.0,
    }


def find(source: AdapterSource, own: Path | None) -> tuple[Weights, dict[str, Any]]:
    """Return the base's tensors by the names of `transformers`, and config.json; `own`: the directory of `--base`.

    Raises `CheckpointError` where it is not there, or is another one.
    """
    entry = source.entry
    if own is None and layout.is_complete(source.folder):
        manifest = read(source.folder)
        if entry.holds_base:
            return _of_native(source.folder, manifest, _without_adapters)
        if entry.base.is_drawn:
            return _drawn(manifest)
    folder = own or (places.place(entry.base.source) if entry.base.source else None)
    if folder is None or not (hf_checkpoint.is_hf_checkpoint(folder) or layout.is_complete(folder)):
        named = f" ({folder} is no model with weights)" if folder is not None else ""
        raise CheckpointError(
            f"{source.folder} has adapters and no model{named}. Give the base's directory with --base"
        )
    if entry.base.fingerprint not in ("", fingerprint.weights(folder)):
        raise CheckpointError(
            f"{folder} is not the base of {source.folder}: that is {entry.base.name}, with other weights"
        )
    if hf_checkpoint.is_hf_checkpoint(folder):
        return hugging_face.read(folder), hf_checkpoint.config(folder)
    return _of_native(folder, read(folder), dict)


def architecture(manifest: Manifest, dtype: str | None) -> dict[str, Any]:
    """Return the config.json of a checkpoint's model; raises `CheckpointError`."""
    try:
        return from_architecture(manifest.family, manifest.architecture, dtype or manifest.dtype)
    except (KeyError, TypeError) as problem:
        raise CheckpointError(f"the manifest does not describe a {manifest.family}: {problem!r}") from None


def _of_native(
    folder: Path, manifest: Manifest, select: Callable[[Weights], Weights]
) -> tuple[Weights, dict[str, Any]]:
    values = architecture(manifest, None)
    return unstacked(select(native.read(folder, masters=True)), Family.without_run(values).hf_tensors), values


def _without_adapters(every: Weights) -> Weights:
    """Trained biases stay: the base's own are not there."""
    return {name: load for name, load in every.items() if not names.is_adapter(name)}


def _drawn(manifest: Manifest) -> tuple[Weights, dict[str, Any]]:
    values = architecture(manifest, None)
    seed = _seed(manifest.config or {})
    family = replace(Family.without_run(values), seed=seed, initialize=True)
    drawn = {name: partial(family.init_parameter, name, shape) for name, shape in native.shapes(family).items()}
    return unstacked(drawn, family.hf_tensors), values


def _seed(config: Mapping[str, object]) -> int:
    seed = config.get("seed")
    if not isinstance(seed, int):
        raise CheckpointError("the manifest has no seed, from which the base was drawn: give the base with --base")
    return seed
