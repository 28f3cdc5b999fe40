"""What the configuration says of records: which kind they are, and how long their rows."""

from dataclasses import asdict, dataclass
from typing import Any

from neuron_api.config import DpoConfig, OrpoConfig, TrainingConfig
from neuron_api.derive import alignment


@dataclass(frozen=True, slots=True)
class Recipe:
    """How records become rows; rows of equal recipes have equal tokens."""

    method: str
    """`sft`, `dpo` or `orpo`; for messages."""
    length: int
    """Tokens of a row."""
    is_pair: bool = False
    """A record has a chosen and a rejected answer, and its sample two rows."""
    packing: bool = False
    """Rows have several records, as many as fit."""
    isolates: bool = False
    """Packed records do not attend to each other, and each has its own positions."""
    max_prompt_length: int = 0
    """Tokens that the prompt of a pair is cut to where the pair is too long."""
    truncation_mode: str = "keep_start"
    """Which tokens of such a prompt stay: the first (`keep_start`) or the last (`keep_end`)."""

    @classmethod
    def from_config(cls, config: TrainingConfig) -> "Recipe":
        """Return the recipe of a configuration without findings."""
        method, length = alignment.algorithm(config), config.model.encoder_seq_length
        if (pairs := alignment.preferences(config)) is not None:
            return cls._of_pairs(method, length, pairs)
        return cls(method, length, packing=alignment.packs(config), isolates=alignment.isolates_records(config))

    @classmethod
    def _of_pairs(cls, method: str, length: int, section: DpoConfig | OrpoConfig) -> "Recipe":
        prompt = section.max_prompt_length
        assert prompt is not None, "NTJ-2902"
        return cls(method, length, is_pair=True, max_prompt_length=prompt, truncation_mode=section.truncation_mode)

    @property
    def rows_per_sample(self) -> int:
        """Return 2 for pairs, else 1."""
        return 2 if self.is_pair else 1

    def facts(self) -> dict[str, Any]:
        """Return what the tokens on disk depend on. Pairs are the same for dpo and orpo; isolation changes no token."""
        facts = asdict(self)
        return {name: value for name, value in facts.items() if name not in ("method", "isolates")}
