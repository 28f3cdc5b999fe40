"""A directory of PEFT (adapter_config.json, adapter_model.safetensors): what is in it, under our names, and a new one.

PEFT's names are `base_model.model.<module>.lora_A.weight`, of a bias of an adapted module `….base_layer.bias`. It has
an A for each linear; where ours share one (`qkv_proj`, `gate_up_proj`) it is written for each of them, and read if they
are equal.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from safetensors.torch import save
from torch import Tensor

from neuron_trainer.checkpoint import hf_checkpoint, layout
from neuron_trainer.checkpoint.hf_checkpoint import TensorLocation
from neuron_trainer.checkpoint.manifest import Manifest, of_weights
from neuron_trainer.errors import CheckpointError
from neuron_trainer.models.lora import FUSED, names
from neuron_trainer.storage import places

from .entry import AdapterEntry, BaseEntry

CONFIG: Final = "adapter_config.json"
WEIGHTS: Final = "adapter_model.safetensors"
_PICKLED: Final = "adapter_model.bin"
_PREFIX: Final = "base_model.model."
_BASE: Final = ".base_layer"
_OTHER_METHODS: Final = {
    "use_dora": "DoRA",
    "use_rslora": "rank-stabilized scaling",
    "use_qalora": "QA-LoRA",
    "modules_to_save": "whole modules",
    "rank_pattern": "ranks by module",
    "alpha_pattern": "alphas by module",
    "layers_to_transform": "some layers only",
    "layer_replication": "replicated layers",
    "target_parameters": "targets that are parameters",
    "trainable_token_indices": "trained tokens",
    "lora_bias": "biases of B",
    "exclude_modules": "excluded modules",
    "use_bdlora": "block-diagonal LoRA",
    "alora_invocation_tokens": "activated LoRA",
}
"""Keys of PEFT's configuration that make an adapter something else than ours are."""


def is_peft(folder: Path) -> bool:
    """Return whether it is such a directory, of a file system, and no checkpoint of ours."""
    is_there = not places.is_remote(folder) and (folder / CONFIG).is_file()
    return is_there and not (folder / layout.TENSOR_INDEX).is_file()


def read(folder: Path) -> AdapterEntry:
    """Return what adapter_config.json says; raises `CheckpointError` for what no adapter of ours is."""
    values = hf_checkpoint.mapping(folder / CONFIG)
    if (kind := values.get("peft_type")) != "LORA":
        raise CheckpointError(f"{folder / CONFIG} is of peft_type {kind!r}: only LORA is read")
    if foreign := [f"{word} ({key})" for key, word in _OTHER_METHODS.items() if values.get(key)]:
        raise CheckpointError(f"{folder / CONFIG} has {', '.join(foreign)}, which this trainer has not: it is not read")
    if not (folder / WEIGHTS).is_file() and (folder / _PICKLED).is_file():
        raise CheckpointError(hf_checkpoint.REFUSAL.format(folder / _PICKLED))
    return _entry(folder, values)


def _entry(folder: Path, values: Mapping[str, Any]) -> AdapterEntry:
    targets = values.get("target_modules")
    targets = [targets] if isinstance(targets, str) else targets
    try:
        return AdapterEntry(
            rank=values["r"],
            alpha=values["lora_alpha"],
            dropout=values.get("lora_dropout", 0.0),
            bias=values.get("bias", "none"),
            targets=tuple(sorted(targets or ())),
            base=BaseEntry(source=values.get("base_model_name_or_path") or ""),
        )
    except (KeyError, ValueError, TypeError) as problem:
        raise CheckpointError(
            f"{folder / CONFIG} cannot be read: r, lora_alpha or target_modules ({problem})"
        ) from None


def manifest(folder: Path, family: str, architecture: dict[str, object]) -> Manifest:
    """Return it as of a checkpoint of weights alone, of the model that it is taken up by; raises `CheckpointError`."""
    entry, dtypes = read(folder), [str(tensor.dtype) for tensor in tensors(folder).values()]
    return of_weights([folder / WEIGHTS], dtypes, family, architecture, entry)


def tensors(folder: Path) -> dict[str, TensorLocation]:
    """Return the tensors by our names; raises `CheckpointError`. Weights of the base that PEFT adds are left out."""
    stored = hf_checkpoint.file_tensors(folder / WEIGHTS)
    result = {}
    for name, location in stored.items():
        own = name.removeprefix(_PREFIX).replace(_BASE, "").replace(".default", "")
        if names.is_adapter(own) or own.endswith(".bias"):
            result[own] = location
        elif _BASE not in name:
            raise CheckpointError(f"{folder / WEIGHTS} has {name}, which is no adapter")
    return result


def selected(folder: Path, parameters: Sequence[str]) -> dict[str, TensorLocation]:
    """Return the tensors by the names of a model's adapters and biases, where one A may stand for several linears.

    Raises `CheckpointError` where what would be one A is several, and for a tensor that the model has no place for.
    """
    stored, every = tensors(folder), set(parameters)
    result = {name: stored[name] for name in parameters if name in stored}
    for name in stored.keys() - result.keys():
        module = name.removesuffix(f".{names.A}.weight")
        if module == name or f"{module}.{names.B}.weight" not in every:
            raise CheckpointError(
                f"{folder / WEIGHTS} has {name}, and this run no such adapter: set "
                "model_alignment_strategy.peft.target_modules and lora_bias as they were"
            )
        shared = names.shared_a(module, every)
        if shared in stored and not _are_equal(stored[shared], stored[name]):
            raise CheckpointError(
                f"{folder / WEIGHTS} has another A for {module} than {shared}: name the linears in target_modules "
                f"({', '.join(_parts(module))}) and not the fused one, whose parts share A"
            )
        result.setdefault(shared, stored[name])
    return result


def _parts(module: str) -> Sequence[str]:
    last = module.rpartition(".")[2]
    return next((parts for parts in FUSED.values() if last in parts), (last,))


def _are_equal(first: TensorLocation, second: TensorLocation) -> bool:
    return bool((hf_checkpoint.load(first) == hf_checkpoint.load(second)).all())


def targets(entry: AdapterEntry) -> tuple[str, ...]:
    """Return PEFT's `target_modules`: the parts of fused ones."""
    return tuple(dict.fromkeys(part for target in entry.targets for part in _of_target(target)))


def _of_target(target: str) -> Iterator[str]:
    parent, dot, last = target.rpartition(".")
    yield from (f"{parent}{dot}{part}" for part in FUSED.get(last, (last,)))


def config(entry: AdapterEntry, base: str | None) -> bytes:
    """Return adapter_config.json in the least form that PEFT reads; `base`: directory or name of the base model."""
    values = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": entry.rank,
        "lora_alpha": entry.alpha,
        "lora_dropout": entry.dropout,
        "bias": entry.bias,
        "target_modules": list(targets(entry)),
        "fan_in_fan_out": False,
        "inference_mode": True,
    }
    return json.dumps(values, indent=2).encode() + b"\n"


def weights(parameters: Mapping[str, Callable[[], Tensor]]) -> bytes:
    """Return adapter_model.safetensors of whole adapters and trained biases by our names."""
    every, result = list(parameters), {}
    adapted = {name.removesuffix(f".{names.B}.weight") for name in every if name.endswith(f".{names.B}.weight")}
    for name, load in parameters.items():
        module = name.removesuffix(".bias")
        theirs = f"{module}{_BASE}.bias" if module in adapted else name
        if not name.endswith(f".{names.A}.weight"):
            result[_PREFIX + theirs] = load().contiguous()
    for module in sorted(adapted):
        result[f"{_PREFIX}{module}.{names.A}.weight"] = parameters[names.shared_a(module, every)]().contiguous().clone()
    return bytes(save(result, metadata={"format": "pt"}))
