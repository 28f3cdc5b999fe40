"""A data module of one's own: a class that is named by `data.data_module`, as package.module:Class.

Contract. `Class(cfg)` is made on each process for each part that is read, where `cfg` is the resolved configuration:
`cfg.data` has the known keys, and keys of one's own as attributes. `samples(part)`, of `train`, `validation` or `test`,
gives `Samples`: any sample by its number, the same on every process and in every start. Who takes which sample when,
and where a resume goes on, is not the class's business, so both hold for any class.
"""

import importlib
from collections.abc import Sequence
from typing import Any, Final

import torch

from neuron_api.config import TrainingConfig
from neuron_api.derive import alignment
from neuron_api.findings.finding import Finding, error
from neuron_trainer.errors import InputError

from .samples import Samples

KEY: Final = "data.data_module"


def samples(config: TrainingConfig, part: str) -> Samples:
    """Return the samples of the class that is chosen; raises `InputError` where it does not keep the contract."""
    name = config.data.data_module
    assert name is not None
    module = _class(name)
    if not hasattr(module, "samples"):
        raise _fault(f"{name} has no method samples(part).", "See neuron_trainer.data.custom.")
    samples_of_part = module(config).samples(part)
    for attribute in ("__len__", "take", "labels_are_targets"):
        if not hasattr(samples_of_part, attribute):
            raise _fault(
                f"samples({part!r}) of {name} gave a {type(samples_of_part).__name__} without {attribute}.",
                "See neuron_trainer.data.samples.Samples.",
            )
    return samples_of_part  # type: ignore[no-any-return]  # a protocol, looked at above


def check(config: TrainingConfig, parts: Sequence[str]) -> list[Finding]:
    """Return what would go wrong later, by the first sample of each part that is read."""
    try:
        return [finding for part in parts for finding in _check_part(config, part)]
    except InputError as problem:
        return list(problem.findings)
    except Exception as problem:  # of the class's own
        return [
            error(
                KEY,
                f"{config.data.data_module} failed: {type(problem).__name__}: {problem}.",
                "Fix the class; samples(part) and take([0]) of it are called here.",
            )
        ]


def _check_part(config: TrainingConfig, part: str) -> list[Finding]:
    name = config.data.data_module
    opened, length, batch = samples(config, part), config.model.encoder_seq_length, config.data.global_batch_size
    if len(opened) < batch:
        return [
            error(
                KEY,
                f"{name} has {len(opened)} samples for {part}, fewer than one global batch of {batch}.",
                "Give it more data, or use a smaller data.global_batch_size.",
            )
        ]
    taken, rows = opened.take([0]), alignment.rows_per_sample(alignment.strategy(config))
    expected = (1, length) if rows == 1 else (1, rows, length)
    for column in ("input_ids", "labels"):
        values = taken.get(column)
        if not isinstance(values, torch.Tensor) or values.dtype != torch.int64 or values.shape != expected:
            shape = f"{values.dtype} {list(values.shape)}" if isinstance(values, torch.Tensor) else repr(values)
            return [
                error(
                    KEY,
                    f"{name}: {column} of one sample for {part} is {shape}.",
                    f"Needed is torch.int64 {list(expected)}, S is model.encoder_seq_length.",
                )
            ]
    return []


def _class(name: str) -> type[Any]:
    module, _, attribute = name.partition(":")
    if not module or not attribute:
        raise _fault(f"{name!r} is no class.", "Write package.module:Class.")
    try:
        target = getattr(importlib.import_module(module), attribute)
    except ImportError as problem:
        raise _fault(
            f"{module} cannot be imported: {problem}.", "Install it in the image, or set PYTHONPATH."
        ) from None
    except AttributeError:
        raise _fault(f"{module} has no {attribute}.", "Write package.module:Class.") from None
    if not isinstance(target, type):
        raise _fault(f"{name} is a {type(target).__name__}, not a class.", "Write package.module:Class.")
    return target


def _fault(message: str, remedy: str) -> InputError:
    return InputError([error(KEY, message, remedy)])
