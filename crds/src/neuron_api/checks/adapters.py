"""`model_alignment_strategy.peft` against the model's sizes: targets that it has, ranks that they can have."""

import difflib
from collections.abc import Iterator
from typing import Final

from neuron_api.config import PeftConfig, TrainingConfig
from neuron_api.derive import adapters, alignment, sharding
from neuron_api.derive.architecture import Architecture
from neuron_api.derive.sharding import Sharding
from neuron_api.findings.finding import Finding
from neuron_api.findings.registry import make_finding

SECTION: Final = "model_alignment_strategy.peft"
TARGETS: Final = (
    "qkv_proj",
    "q_proj",
    "k_proj",
    "v_proj",
    "o_proj",
    "gate_up_proj",
    "gate_proj",
    "up_proj",
    "down_proj",
    "embed_tokens",
    "lm_head",
)
"""Values of `target_modules`; a module's path may stand before them."""
_TARGETS_KEY: Final = f"{SECTION}.target_modules"
_MAX_NAME: Final = 60
_CLOSE: Final = 0.5
"""Similarity of `qkv` and `qkv_proj`; the names are few, so that a guess is rarely wrong."""


def check(config: TrainingConfig, sizes: Architecture) -> Iterator[Finding]:
    """Yield the findings of adapters in a model of these sizes."""
    peft = alignment.adapters(config)
    if peft is None:
        return
    for name in dict.fromkeys(peft.target_modules):
        if is_known(name) and adapters.find(sizes, name) is None:
            message = f"no module of this model ends with {name[:_MAX_NAME]!r}{_experts(sizes, name)}."
            yield make_finding(2907, _TARGETS_KEY, message, _remedy(name, adapters.targets(sizes)))
    yield from _twice(peft, sizes)
    yield from _blocks(config, peft, sizes)
    yield from _rank(peft, sizes)
    yield from _tied(peft, sizes)


def check_names(peft: PeftConfig) -> Iterator[Finding]:
    """Yield the findings of targets that no model has, and of linears that two targets name."""
    if not peft.target_modules:
        yield make_finding(
            2907, _TARGETS_KEY, "it is empty, so that no adapter would be trained.", _remedy("", TARGETS)
        )
    for name in peft.target_modules:
        if not is_known(name):
            message = f"no module's name ends with {name[:_MAX_NAME]!r}."
            yield make_finding(2907, _TARGETS_KEY, message, _remedy(name, TARGETS))
    names = [name.rpartition(".")[2] for name in peft.target_modules if not adapters.names_layer(name)]
    for path, parts in adapters.JOINED.items():
        joined, twice = path.rpartition(".")[2], [part for part in parts if part.rpartition(".")[2] in names]
        if joined in names and twice:
            first = twice[0].rpartition(".")[2]
            yield make_finding(2910, _TARGETS_KEY, f"{joined} has an adapter for {first}, and {first} another one.")


def is_known(name: str) -> bool:
    """Return whether a model may have a module of this name."""
    return name.rpartition(".")[2] in TARGETS


def _remedy(name: str, names: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(name.rpartition(".")[2], names, n=1, cutoff=_CLOSE)
    return f"{f'Did you mean {near[0]}? ' if near else ''}Use {', '.join(names)}."


def _experts(sizes: Architecture, name: str) -> str:
    """Return why the feed-forward part of a model with experts has no such linear."""
    is_inner = name.rpartition(".")[2] in ("gate_up_proj", "gate_proj", "up_proj", "down_proj")
    return ": experts are stacked weights, which get no adapters" if sizes.experts and is_inner else ""


def _twice(peft: PeftConfig, sizes: Architecture) -> Iterator[Finding]:
    """Yield a finding for a linear of one layer that a target of all layers names, too."""
    targets = {name: adapters.find(sizes, name) for name in peft.target_modules}
    for name, target in targets.items():
        if target is None or target.layer is None:
            continue
        others = (
            other
            for other, of_all in targets.items()
            if of_all is not None and of_all.layer is None and set(adapters.parts(of_all)) & set(adapters.parts(target))
        )
        for other in others:
            yield make_finding(2910, _TARGETS_KEY, f"{other} has an adapter for {name[:_MAX_NAME]}, too.")


def _blocks(config: TrainingConfig, peft: PeftConfig, sizes: Architecture) -> Iterator[Finding]:
    """Yield a finding for the first pipeline block of which nothing is trained: it has no optimizer, and may have no
    gradient to hand back."""
    strategy = config.distributed_strategy
    blocks = strategy.pipeline_model_parallel_size * (strategy.virtual_pipeline_model_parallel_size or 1)
    spans = sharding.layer_spans(sizes.layers, blocks, config.model.pipeline_cuts or ()) if blocks > 1 else ()
    for number, span in enumerate(spans or ()):
        if not adapters.trained(sizes, peft, Sharding(), [span], is_first=False, is_last=False).total:
            message = f"nothing is trained in the layers of pipeline block {number}, counted from 0."
            yield make_finding(2916, _TARGETS_KEY, message)
            return


def _rank(peft: PeftConfig, sizes: Architecture) -> Iterator[Finding]:
    """Yield one finding for the smallest linear that the rank exceeds."""
    linears = adapters.linears(sizes)
    limits = {
        path: min(linears[path].inputs, linears[path].outputs)
        for name in peft.target_modules
        if (target := adapters.find(sizes, name)) is not None
        for path in adapters.parts(target)
        if linears[path].inputs and linears[path].outputs
    }
    path = min(limits, key=limits.__getitem__, default=None)
    if path is not None and peft.lora_rank > limits[path]:
        matrix = f"{linears[path].inputs} x {linears[path].outputs}"
        message = f"{peft.lora_rank} is above the rank of {path}, a matrix of {matrix}."
        yield make_finding(2911, f"{SECTION}.lora_rank", message, f"Use {limits[path]} or less.")


def _tied(peft: PeftConfig, sizes: Architecture) -> Iterator[Finding]:
    chosen = [target.path for name in peft.target_modules if (target := adapters.find(sizes, name)) is not None]
    names = [path.rpartition(".")[2] for path in (adapters.EMBEDDING, adapters.HEAD) if path in chosen]
    if sizes.is_tied and names:
        message = f"embedding and head are one weight in this model, and {' and '.join(names)} will make two of it."
        yield make_finding(2912, _TARGETS_KEY, message)
        if peft.merge_lora:
            message = f"embedding and head are one weight, and the adapter is of {' and '.join(names)} alone."
            yield make_finding(2915, f"{SECTION}.merge_lora", message)
