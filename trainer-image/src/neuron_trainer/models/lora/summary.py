"""What is trained of a model with adapters, counted without storage."""

from dataclasses import dataclass

from torch import nn

from neuron_api.config import PeftConfig

from .adapter import attach


@dataclass(frozen=True, slots=True)
class Summary:
    """Of a whole model."""

    shapes: dict[str, tuple[int, ...]]
    """Of the trained parameters by name."""
    modules: tuple[str, ...]
    """That have an adapter."""
    trained: int
    """Elements of the trained parameters."""
    total: int
    """Those of all parameters, adapters included, a shared one once."""

    @property
    def sentence(self) -> str:
        """Return the share in a line of a log."""
        share = 100 * self.trained / self.total
        return (
            f"LoRA trains {self.trained:,} of {self.total:,} parameters ({share:.3g} %), in {len(self.modules)} modules"
        )


def summary(module: nn.Module, config: PeftConfig) -> Summary:
    """Return that of a model without storage, which gets its adapters here."""
    adapters = attach(module, config)
    trained = {name: parameter.shape for name, parameter in module.named_parameters() if parameter.requires_grad}
    total = sum(parameter.numel() for parameter in module.parameters())
    modules = tuple(name for group in adapters.groups for name in group.names)
    return Summary(
        {name: tuple(shape) for name, shape in trained.items()},
        modules,
        sum(shape.numel() for shape in trained.values()),
        total,
    )
