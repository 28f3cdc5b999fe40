"""Rules between keys: one module per section of the document, with the codes 20xx to 29xx of `codes.TABLE`. Pure; all
findings at once.

`check` needs the configuration alone. `check_model` needs the sizes in a Hugging Face `config.json`, so it runs where
that file is available: in `kubectl neuron plan` and in the pod.
"""

from collections.abc import Iterator

from neuron_api.config import TrainingConfig
from neuron_api.derive.architecture import Architecture, from_megatron
from neuron_api.findings.finding import Finding

from . import (
    adapters,
    alignment,
    architecture,
    checkpoints,
    data,
    exp_manager,
    model,
    optim,
    parallel,
    top_level,
    trainer,
)

_SECTIONS = (
    top_level,
    trainer,
    exp_manager,
    checkpoints,
    parallel,
    data,
    model,
    optim,
    alignment,
)


def check(config: TrainingConfig) -> tuple[Finding, ...]:
    """Return the findings of every rule that needs the configuration alone."""
    findings = [finding for section in _SECTIONS for finding in section.check(config)]
    findings += parallel.check_stages(config, config.model.num_layers)
    if config.model_source == "megatron" and (sizes := from_megatron(config)) is not None:
        findings += [*architecture.check(config, sizes), *adapters.check(config, sizes)]
    return tuple(findings)


def check_model(config: TrainingConfig, sizes: Architecture) -> tuple[Finding, ...]:
    """Return the findings of the rules that need a Hugging Face model's sizes; none for Megatron models, whose sizes
    `check` has."""
    return tuple(_of_model(config, sizes)) if config.model_source == "hf" else ()


def _of_model(config: TrainingConfig, sizes: Architecture) -> Iterator[Finding]:
    if config.model.num_layers is None:
        yield from parallel.check_stages(config, sizes.layers)
    yield from architecture.check(config, sizes)
    yield from adapters.check(config, sizes)
