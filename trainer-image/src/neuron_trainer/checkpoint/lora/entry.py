"""What a manifest says of adapters: which they are, and of what base. Imports no torch."""

from pydantic import BaseModel, ConfigDict

from neuron_api.config import PeftConfig


class BaseEntry(BaseModel):
    """The weights that an adapter was trained beside."""

    model_config = ConfigDict(frozen=True)

    source: str = ""
    """The directory that they came from; empty: they were drawn from the run's seed."""
    fingerprint: str = ""
    """See `checkpoint.fingerprint`; empty where it is unknown, as of an adapter that PEFT wrote."""

    @property
    def is_drawn(self) -> bool:
        """Return whether it is no directory's."""
        return not self.source and bool(self.fingerprint)

    @property
    def name(self) -> str:
        """Return what a message calls it."""
        return self.source or "a base without a name"


class AdapterEntry(BaseModel):
    """Of a manifest: what its checkpoint has of a model with adapters."""

    model_config = ConfigDict(frozen=True)

    rank: int
    alpha: float
    dropout: float
    bias: str
    targets: tuple[str, ...]
    base: BaseEntry
    holds_base: bool = False
    """`save_lora_base`: the tensors of the base are there, too."""
    is_merged: bool = False
    """`merge_lora`: they are the sums of base and adapter; the adapter alone is beside the optimizer's state."""

    @property
    def is_alone(self) -> bool:
        """Return whether the checkpoint is no model without another directory."""
        return not self.holds_base

    @classmethod
    def from_config(cls, config: PeftConfig, base: BaseEntry) -> "AdapterEntry":
        """Return that of a run."""
        return cls(
            rank=config.lora_rank,
            alpha=config.lora_alpha,
            dropout=config.lora_dropout,
            bias=config.lora_bias,
            targets=tuple(dict.fromkeys(config.target_modules)),
            base=base,
            holds_base=config.save_lora_base,
            is_merged=config.merge_lora,
        )

    def differences(self, config: PeftConfig, *, of_peft: bool = False) -> list[str]:
        """Return how a run's adapters differ from these, a phrase each; of PEFT's the tensors tell the targets."""
        pairs = {
            "lora_rank": (self.rank, config.lora_rank),
            "lora_alpha": (self.alpha, config.lora_alpha),
            "lora_bias": (self.bias, config.lora_bias),
            "target_modules": (sorted(self.targets), sorted(set(config.target_modules))),
        }
        return [
            f"{key} {theirs} there, {own} here"
            for key, (theirs, own) in pairs.items()
            if theirs != own and not (of_peft and key == "target_modules")
        ]
