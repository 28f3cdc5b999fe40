"""What a run does with its model, on random tokens in the shape of its data, so that all it needs is compiled."""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import torch
from torch import Tensor

from neuron_api.config import TrainingConfig
from neuron_api.derive import alignment
from neuron_trainer import accelerators, optim
from neuron_trainer.loop import reference
from neuron_trainer.loop.module import TrainingModule
from neuron_trainer.loop.step import parameter_norm
from neuron_trainer.metrics.step_results import Pending
from neuron_trainer.parallel import Share

_STEPS: Final = 1000
"""Of the schedule, which only gives rates here."""


def passes(module: TrainingModule) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield the passes by name, in the order of a run."""
    config, backend = module.config, module.backend
    batch = _batch(config, backend.share, module.vocabulary, backend.device)
    if reference.is_used(config):
        yield "reference", lambda: _reference(module, batch)
        if alignment.reference(config) is alignment.Reference.PRECOMPUTED:
            dtype = accelerators.get(backend.device.type).widest
            shape = batch["input_ids"].shape[:2]
            batch = {**batch, "reference_log_probs": torch.zeros(shape, dtype=dtype, device=backend.device)}
    scheduler = optim.schedule(config.model.optim, module.optimizer, optim.Extent(_STEPS, lambda: _STEPS, 1))
    updates = 0

    def step() -> None:
        """Do as `TrainingModule.training_step`: on a lazy device, what is read of a step is a part of its graph."""
        nonlocal updates
        sums = module.gradients.compute(batch)
        module.optimizer.step()
        updates += 1
        backend.end_step(updates)
        scheduler.step()  # a rate of 0, as in the first step of a warm-up, is a graph of its own
        norm = parameter_norm(backend) if config.exp_manager.log_parameter_norm else None
        module.results.add(Pending(updates, sums, 0.0, 0, 0.0, time.time(), norm))
        module.results.read_all()

    yield "training step", step
    if config.trainer.limit_val_batches:
        module.model.eval()
        yield "validation", lambda: _validation(module, batch)


def _validation(module: TrainingModule, batch: dict[str, Tensor]) -> None:
    module.validation_step(batch, 0)
    module.means()


def _reference(module: TrainingModule, batch: Mapping[str, Tensor]) -> None:
    """Do what `Reference.prepare` does."""
    if alignment.reference(module.config) is not alignment.Reference.PRECOMPUTED:
        module.backend.keep_reference()
        return
    module.model.eval()
    with module.backend.without_adapters():
        module.backend.log_probs(batch).cpu()
    module.model.train()


def _batch(config: TrainingConfig, share: Share, vocabulary: int, device: torch.device) -> dict[str, Tensor]:
    """Return a process's part of a global batch in the shape that the run's data has, of random tokens."""
    rows, length = config.data.global_batch_size // share.size, config.model.encoder_seq_length
    has_pairs = alignment.rows_per_sample(alignment.strategy(config)) > 1
    shape = (rows, 2, length) if has_pairs else (rows, length)
    tokens = torch.randint(0, vocabulary, shape, generator=torch.Generator().manual_seed(share.rank))
    batch = {"input_ids": tokens, "labels": tokens.clone()}
    positions, documents = torch.arange(length).expand(shape).clone(), torch.zeros_like(tokens)
    is_isolated, is_records = alignment.isolates_records(config), alignment.reads_records(config)
    has_documents = config.model_source == "megatron" and not is_records and not config.data.data_module
    if is_isolated or (has_documents and config.data.reset_position_ids):
        batch["position_ids"] = positions
    if is_isolated or (has_documents and config.data.reset_attention_mask):
        batch["document_ids"] = documents
    return {name: values.to(device) for name, values in batch.items()}
