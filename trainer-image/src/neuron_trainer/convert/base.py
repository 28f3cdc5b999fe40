"""The whole model below adapters: given, in their checkpoint, where the checkpoint says, or drawn from its seed."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from neuron_trainer.checkpoint import fingerprint, hf_checkpoint, layout
from neuron_trainer.checkpoint.manifest import Manifest, read
from neuron_trainer.errors import CheckpointError
from neuron_trainer.models.family import Family
from neuron_trainer.models.lora import names
from neuron_trainer.storage import places

from . import hf_config, hugging_face, native
from .adapters import AdapterSource
from .weights import Weights, unstacked


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
        return hf_config.from_architecture(manifest.family, manifest.architecture, dtype or manifest.dtype)
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
