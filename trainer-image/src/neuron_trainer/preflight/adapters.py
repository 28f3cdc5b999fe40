"""LoRA and the model: targets that are there, something to train on each pipeline stage, and room for the rank."""

from collections.abc import Iterator
from typing import Final

from neuron_api.config import PeftConfig, TrainingConfig
from neuron_api.derive.sharding import block_sizes
from neuron_api.findings.finding import Finding, error
from neuron_api.findings.registry import make_finding
from neuron_trainer.models import lora
from neuron_trainer.models.family import Family

SECTION: Final = "model_alignment_strategy.peft"


def check(config: TrainingConfig, model: Family) -> Iterator[Finding]:
    """Yield the findings of `peft`; none without it."""
    peft = section(config)
    if peft is None:
        return
    wrong = list(lora.unmatched(model.on_meta(), peft.target_modules))
    for _, problem in wrong:
        yield make_finding(2907, f"{SECTION}.target_modules", problem, "Name linears of the model by their ends.")
    if wrong:
        return
    yield from _stages(config, model, lora.summary(model.on_meta(), peft))
    yield from _tied(model, peft)


def section(config: TrainingConfig) -> PeftConfig | None:
    """Return the section `peft`; None without one."""
    strategy = config.model_alignment_strategy
    return strategy.peft if strategy is not None else None


def _stages(config: TrainingConfig, model: Family, summary: lora.Summary) -> Iterator[Finding]:
    """A stage without anything to train has no optimizer, and may have no gradient to hand back."""
    strategy = config.distributed_strategy
    blocks = strategy.pipeline_model_parallel_size * strategy.virtual_pipeline_model_parallel_size
    sizes = block_sizes(len(model.layers), blocks, config.model.pipeline_cuts or ()) if blocks > 1 else None
    start = 0
    for number, size in enumerate(sizes or ()):
        own = tuple(f"{layer}." for layer in model.layers[start : start + size])
        start += size
        if not any(name.startswith(own) for name in summary.shapes):
            message = f"nothing is trained in the layers of pipeline block {number}, counted from 0."
            yield error(f"{SECTION}.target_modules", message, "Add a target of every layer, such as q_proj.")
            return


def _tied(model: Family, peft: PeftConfig) -> Iterator[Finding]:
    """One weight cannot be the sum with the adapter of one of its two uses."""
    ends = {target.rpartition(".")[2] for target in peft.target_modules}
    if peft.merge_lora and getattr(model.config, "tie_word_embeddings", False) and ends & {"embed_tokens", "lm_head"}:
        message = "embedding and head share one weight, and the adapter is of one of them alone."
        yield error(f"{SECTION}.merge_lora", message, "Set it to False, or leave embed_tokens and lm_head out.")
